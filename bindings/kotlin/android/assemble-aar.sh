#!/usr/bin/env bash
# Packs the Android library (AAR) out of the native libraries and the two Kotlin modules, without Gradle and the Android SDK:
# an AAR is a zip with known names. The same input gives the same bytes.
#
#   assemble-aar.sh [--natives DIR] [--jars DIR] [--out DIR]
#
#   --natives   the folder of arm64-v8a, armeabi-v7a and x86_64  (default: target/android/jniLibs, by build-natives.sh)
#   --jars      where ffi/target and sdk/target have the jars    (default: bindings/kotlin, by mvn package)
#   --out       a Maven repository that gets the AAR and its POM (default: target/android/repository)
#
# A release of the Kotlin SDK, on a machine with the NDK:
#
#   1. Set the version in Cargo.toml, bindings/kotlin/pom.xml and its modules' pom.xml; .ci/run passes; tag the commit.
#   2. cargo build -p dinh-ffi && mvn -f bindings/kotlin package       the jars, tested on this machine
#   3. bindings/kotlin/android/build-natives.sh
#   4. bindings/kotlin/android/assemble-aar.sh
#   5. Run an app with R8 on against target/android/repository (sample/build.gradle.kts), on a phone with pages of 16 KB too.
#   6. Sign and upload that folder, or host it as it is: Gradle takes it as `maven { url = uri("…") }`.
#   7. Keep target/android/.debug with the release.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../../phone-build.sh
. "$(dirname "$0")/../../phone-build.sh"

kotlin=$root/bindings/kotlin
here=$kotlin/android
natives=$target/android/jniLibs jars=$kotlin out=$target/android/repository
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage; exit ;;
    --natives) natives=${2:?--natives: which folder?} ;;
    --jars) jars=${2:?--jars: which folder?} ;;
    --out) out=${2:?--out: which folder?} ;;
    *) die "unknown argument $1: see --help" ;;
  esac
  shift 2
done

of_pom() { # element: its first value in the modules' common pom.xml
  local value
  value=$(sed -n "s|.*<$1>\(.*\)</$1>.*|\1|p" "$kotlin/pom.xml" | head -n 1)
  [ -n "$value" ] || die "$kotlin/pom.xml has no <$1>"
  echo "$value"
}

# What both jars have under one name would be lost of one of them.
merge_jars() { # into
  local into=$1 module jar part name
  mkdir "$into"
  for module in dinh-ffi dinh; do
    jar=$jars/$([ $module = dinh ] && echo sdk || echo ffi)/target/$module-$version.jar
    [ -f "$jar" ] || die "there is no $jar: mvn -f bindings/kotlin package"
    part=$work/$module
    mkdir "$part"
    # What Maven says of the jar itself is not true of the AAR.
    unzip -q -o "$jar" -d "$part" -x META-INF/MANIFEST.MF 'META-INF/maven/*' ||
      die "$jar cannot be unpacked, or nothing is in it: mvn -f bindings/kotlin clean package"
    (cd "$part" && find . -type f) >"$work/names"
    while read -r name; do
      [ ! -e "$into/$name" ] || die "both jars have ${name#./}"
      mkdir -p "$(dirname "$into/$name")"
      mv "$part/$name" "$into/$name"
    done <"$work/names"
  done
  for module in dinh dinh/ffi dinh/model; do
    compgen -G "$into/$module/*.class" >/dev/null || die "no class of the package ${module//\//.} in the jars: mvn -f bindings/kotlin package"
  done
}

write_pom() {
  cat <<END
<?xml version="1.0" encoding="UTF-8"?>
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>dinh</groupId>
  <artifactId>dinh-android</artifactId>
  <version>$version</version>
  <packaging>aar</packaging>
  <name>Dinh: offline-first shared documents, for Android</name>
  <dependencies>
$(write_dependency org.jetbrains.kotlin kotlin-stdlib "$kotlin_version" compile)
$(write_dependency org.jetbrains.kotlinx kotlinx-coroutines-core-jvm "$coroutines" compile)
$(write_dependency org.jetbrains.kotlinx kotlinx-serialization-json-jvm "$serialization" compile)
$(write_dependency net.java.dev.jna jna "$jna" runtime aar)
  </dependencies>
</project>
END
}

write_dependency() { # group, artifact, version, scope, type
  echo "    <dependency><groupId>$1</groupId><artifactId>$2</artifactId><version>$3</version>${5:+<type>$5</type>}<scope>$4</scope></dependency>"
}

need zip unzip cmp
version=$(of_pom version) kotlin_version=$(of_pom kotlin.version) coroutines=$(of_pom coroutines.version)
serialization=$(of_pom serialization.version) jna=$(of_pom jna.version)

# R8 reads the one in the AAR and the one in the jar, and apps get either.
cmp -s "$here/consumer-rules.pro" "$kotlin/sdk/src/main/resources/META-INF/proguard/dinh.pro" ||
  die "consumer-rules.pro and sdk/src/main/resources/META-INF/proguard/dinh.pro differ: copy the newer one over the other"

libraries=()
for abi in arm64-v8a armeabi-v7a x86_64; do
  library=$natives/$abi/libdinh_ffi.so
  [ -f "$library" ] || die "there is no $library: bindings/kotlin/android/build-natives.sh"
  libraries+=("$library")
done
"$here/check-elf.sh" "${libraries[@]}"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
merge_jars "$work/classes"
aar=$work/aar
mkdir "$aar"
pack "$work/classes" "$aar/classes.jar"
for abi in arm64-v8a armeabi-v7a x86_64; do
  mkdir -p "$aar/jni/$abi"
  cp "$natives/$abi/libdinh_ffi.so" "$aar/jni/$abi/"
done
cp "$here/AndroidManifest.xml" "$aar/"
cp "$here/consumer-rules.pro" "$aar/proguard.txt"
# No resources; the Android plugin wants the file all the same.
: >"$aar/R.txt"

folder=$out/dinh/dinh-android/$version
pack "$aar" "$folder/dinh-android-$version.aar"
write_pom >"$folder/dinh-android-$version.pom"
echo "$folder/dinh-android-$version.aar: $(wc -c <"$folder/dinh-android-$version.aar" | tr -d ' ') bytes"
