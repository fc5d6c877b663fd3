#!/usr/bin/env bash
# Tests the Android packaging without the Android SDK, the NDK, Rust and the network: on stubs that export what the library exports,
# made by the assembler and the linker of an x86-64 Linux. The scripts run in a copy, which the tests may spoil.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
for tool in as ld readelf objcopy strip zip unzip; do
  command -v "$tool" >/dev/null || { echo "$tool is missing: apt-get install binutils unzip zip"; exit 1; }
done
[ "$(uname -sm)" = "Linux x86_64" ] || { echo "the stubs are made by the assembler of x86-64 Linux"; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bindings=$work/repository/bindings
kotlin=$bindings/kotlin
android=$kotlin/android
generated=ffi/src/main/kotlin/dinh/ffi/dinh.kt rules=sdk/src/main/resources/META-INF/proguard/dinh.pro
mkdir -p "$kotlin"
cp "$here"/../../*.sh "$bindings/"
cp "$here/../pom.xml" "$kotlin/"
(cd "$here/.." && cp --parents -r android "$generated" "$rules" "$kotlin/")
unset READELF STRIP CARGO_TARGET_DIR ANDROID_HOME ANDROID_NDK_HOME ANDROID_NDK_ROOT

passed=0 failed=0
result() { # what, whether
  if [ "$2" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $1"; fi
}
passes() { # what, command
  local what=$1 rc=0
  shift
  "$@" >"$work/said" 2>&1 || { rc=1; cat "$work/said"; }
  result "$what" $rc
}
refuses() { # what it must say, command
  local say=$1 rc=0
  shift
  if "$@" >"$work/said" 2>&1; then rc=1; elif ! grep -F -- "$say" "$work/said" >/dev/null; then rc=1; fi
  [ $rc = 0 ] || cat "$work/said"
  result "refused with: $say" $rc
}

sed -nE 's/^ *external fun ([A-Za-z0-9_]+)\($/\1/p' "$kotlin/$generated" | sort -u >"$work/functions"
stub() { # file, architecture, arguments of the linker. BITS=32 makes it of 32 bits, EXTRA is more assembler, MISSING a function left out
  local file=$1 machine bits=${BITS:-64} emulation=elf_x86_64
  case $2 in aarch64) machine='\xb7' ;; arm) machine='\x28' ;; x86) machine='\x3e' ;; esac
  shift 2
  [ "$bits" = 64 ] || emulation=elf_i386
  mkdir -p "$(dirname "$file")"
  {
    grep -vxF "${MISSING:-none}" "$work/functions" | sed 's/.*/.globl &\n.type &, @function\n&: .byte 0/'
    printf '.data\n.quad 1\n.text\n%s\n' "${EXTRA:-}"
  } | as "--$bits" -o "$work/stub.o" -
  ld -m "$emulation" -shared -z relro "$@" -o "$file" "$work/stub.o"
  # The architecture is two bytes of the header: no other tool chains are needed for stubs of the others.
  printf '%b\x00' "$machine" | dd of="$file" bs=1 seek=18 conv=notrunc status=none
}
pages=(-z max-page-size=16384 -z common-page-size=16384)
natives=$work/natives
stub "$natives/arm64-v8a/libdinh_ffi.so" aarch64 "${pages[@]}" -s
BITS=32 stub "$natives/armeabi-v7a/libdinh_ffi.so" arm "${pages[@]}" -s
stub "$natives/x86_64/libdinh_ffi.so" x86 "${pages[@]}" -s

check=$android/check-elf.sh bad=$work/bad/x86_64/libdinh_ffi.so
passes "three good libraries" "$check" "$natives"/*/libdinh_ffi.so
passes "a good library in another folder" "$check" --abi x86_64 "$natives/x86_64/libdinh_ffi.so"
refuses "Devices X86-64 in a folder for arm64-v8a" "$check" --abi arm64-v8a "$natives/x86_64/libdinh_ffi.so"
refuses "ELF32 ARM in a folder for arm64-v8a" "$check" --abi arm64-v8a "$natives/armeabi-v7a/libdinh_ffi.so"
refuses "1 of 2 libraries" "$check" --abi x86_64 "$natives"/{x86_64,arm64-v8a}/libdinh_ffi.so
refuses "the folder 'work' is none of" "$check" --abi work "$natives/x86_64/libdinh_ffi.so"
refuses "no such file" "$check" --abi x86_64 "$natives/x86_64/no.so"
refuses "not an ELF file" "$check" --abi x86_64 "$android/AndroidManifest.xml"
refuses "not a shared library" "$check" --abi x86_64 "$work/stub.o"
stub "$bad" x86 -z max-page-size=4096 -z common-page-size=4096 -s
refuses "is aligned to 0x1000: link with -z max-page-size=16384" "$check" "$bad"
# GNU's linker always ends it at a page, others do not: the header says so here, 64 bytes into the file and 56 bytes an entry.
stub "$bad" x86 "${pages[@]}" -s
entry=$(readelf -lW "$bad" | awk '/^  [A-Z]/ && $1 != "Type" { n++ } $1 == "GNU_RELRO" { print n - 1 }')
printf '\x08' | dd of="$bad" bs=1 seek=$((64 + 56 * entry + 40)) conv=notrunc status=none
refuses "ends inside a page: link with -z common-page-size=16384" "$check" "$bad"
EXTRA=".quad $(head -n 1 "$work/functions")" stub "$bad" x86 "${pages[@]}" -s -z notext
refuses "relocations: there are some in code" "$check" "$bad"
MISSING=$(tail -n 1 "$work/functions") stub "$bad" x86 "${pages[@]}" -s
refuses "1 not exported, $(tail -n 1 "$work/functions") first" "$check" "$bad"
stub "$bad" x86 "${pages[@]}"
refuses "stripped: it has symbols" "$check" "$bad"

# build-natives.sh with an NDK of this machine's tools and a cargo that hands out the stub and writes down how it was called.
ndk=$work/ndk tools=$work/tools sysroot=$work/sysroot
bin=$ndk/toolchains/llvm/prebuilt/linux-x86_64/bin
mkdir -p "$bin" "$tools" "$sysroot"
for tool in ar objcopy readelf strip; do ln -s "$(command -v $tool)" "$bin/llvm-$tool"; done
cat >"$tools/rustc" <<END
#!/bin/sh
case \$1 in --print) echo "$sysroot" ;; -vV) echo "host: this-machine" ;; esac
END
cat >"$tools/cargo" <<END
#!/bin/sh
{ echo "\$@"; env; } >>"$work/called"
while [ "\$1" != --target ]; do shift; done
mkdir -p "\$CARGO_TARGET_DIR/\$2/mobile"
cp "$bad" "\$CARGO_TARGET_DIR/\$2/mobile/libdinh_ffi.so"
END
chmod +x "$tools"/*
with_tools() { env PATH="$tools:$PATH" "$@"; }
made=$work/repository/target/android
called() { grep -F -- "$1" "$work/called"; }
refuses "no Android NDK found: install one" with_tools "$android/build-natives.sh"
refuses "is not a whole NDK" with_tools ANDROID_NDK_HOME="$tools" "$android/build-natives.sh"
refuses "no ABI of ours: x86" with_tools ANDROID_NDK_HOME="$ndk" "$android/build-natives.sh" x86
refuses "rustup target add aarch64-linux-android armv7-linux-androideabi x86_64-linux-android" \
  with_tools ANDROID_NDK_HOME="$ndk" "$android/build-natives.sh"
mkdir -p "$sysroot/lib/rustlib/x86_64-linux-android/lib"
refuses "x86_64-linux-android24-clang: take one that supports API 24" with_tools ANDROID_NDK_HOME="$ndk" "$android/build-natives.sh" x86_64
ln -s "$(type -P true)" "$bin/x86_64-linux-android24-clang"
passes "a library of one ABI" with_tools ANDROID_NDK_HOME="$ndk" "$android/build-natives.sh" x86_64
passes "cargo builds the phones' library alone" called "--lib --profile mobile --target x86_64-linux-android --crate-type cdylib"
passes "the NDK links" called "CARGO_TARGET_X86_64_LINUX_ANDROID_LINKER=$bin/x86_64-linux-android24-clang"
passes "the NDK compiles" called "CC_x86_64_linux_android=$bin/x86_64-linux-android24-clang"
passes "pages of 16 KB" called "max-page-size=16384"
passes "no paths of this machine" called "--remap-path-prefix=$work/repository=dinh"
passes "the library knows its symbols" bash -c "readelf -SW '$made/jniLibs/x86_64/libdinh_ffi.so' | grep gnu_debuglink"
passes "the symbols are kept" bash -c "readelf -SW '$made/.debug/x86_64/libdinh_ffi.so' | grep -F ' .symtab '"

passes "sizes of the library with and without TLS" with_tools "$bindings/size.sh" --check
passes "both were measured" [ "$(grep -cE '^ +[0-9]+ +1%  .*/size/(tls|no-tls)/libdinh_ffi.so' "$work/said")" = 2 ]
passes "one is without TLS" called "--target this-machine --crate-type cdylib --no-default-features"
passes "a size below the ceiling" "$bindings/size.sh" --check --of "$natives/x86_64/libdinh_ffi.so"
EXTRA=".fill 11600000" stub "$work/large.so" x86 "${pages[@]}"
refuses "1 of 2 over the ceiling of 11600000 bytes" "$bindings/size.sh" --check --of "$natives/x86_64/libdinh_ffi.so" "$work/large.so"
refuses "there is no $work/no.so" "$bindings/size.sh" --of "$work/no.so"

# Jars with files named like classes: nothing reads them here.
version=$(sed -n 's|.*<version>\(.*\)</version>.*|\1|p' "$kotlin/pom.xml" | head -n 1)
jar() { # module, artifact, files
  local module=$1 artifact=$2 folder=$work/jar name
  shift 2
  rm -rf "$folder" "$kotlin/$module/target"
  for name in "$@" META-INF/MANIFEST.MF "META-INF/maven/dinh/$artifact/pom.xml" "META-INF/$artifact.kotlin_module"; do
    mkdir -p "$folder/$(dirname "$name")" && echo "$artifact" >"$folder/$name"
  done
  mkdir -p "$kotlin/$module/target"
  (cd "$folder" && zip -q -r "$kotlin/$module/target/$artifact-$version.jar" .)
}
jars() {
  jar ffi dinh-ffi dinh/ffi/Dinh.class
  jar sdk dinh dinh/Client.class dinh/model/Minutes.class META-INF/proguard/dinh.pro
}
assemble=("$android/assemble-aar.sh" --natives "$natives")
jars
passes "an AAR" "${assemble[@]}" --out "$work/first"
sleep 1
find "$natives" -type f -exec touch {} +
passes "the AAR again, with another umask and time zone" bash -c 'umask 077; TZ=Asia/Ho_Chi_Minh "$@"' - "${assemble[@]}" --out "$work/second"
passes "both are the same" diff -r "$work/first" "$work/second"
aar=$work/first/dinh/dinh-android/$version/dinh-android-$version
mkdir "$work/unpacked"
unzip -q "$aar.aar" -d "$work/unpacked"
passes "what is in it" diff <(cd "$work/unpacked" && find . -type f | LC_ALL=C sort) <(printf './%s\n' AndroidManifest.xml R.txt classes.jar \
  jni/{arm64-v8a,armeabi-v7a,x86_64}/libdinh_ffi.so proguard.txt)
passes "its classes" diff <(unzip -Z1 "$work/unpacked/classes.jar" | LC_ALL=C sort) \
  <(printf '%s\n' META-INF/dinh{-ffi,}.kotlin_module META-INF/proguard/dinh.pro dinh/{Client,ffi/Dinh,model/Minutes}.class | LC_ALL=C sort)
passes "its rules" cmp "$work/unpacked/proguard.txt" "$kotlin/$rules"
passes "its libraries" diff -r "$work/unpacked/jni" "$natives"
passes "its XML" python3 -c 'import sys, xml.dom.minidom as x; [x.parse(f) for f in sys.argv[1:]]' "$aar.pom" "$work/unpacked/AndroidManifest.xml"
jna=$(sed -n 's|.*<jna.version>\(.*\)</jna.version>.*|\1|p' "$kotlin/pom.xml")
passes "JNA's AAR in the POM" grep -F "<version>$jna</version><type>aar</type>" "$aar.pom"
passes "the sample's version of Dinh" grep -F "\"dinh:dinh-android:$version\"" "$android/sample/build.gradle.kts"
passes "the sample's version of JNA" grep -F "\"net.java.dev.jna:jna:$jna@aar\"" "$android/sample/build.gradle.kts"

rm "$kotlin/sdk/target/dinh-$version.jar"
refuses "dinh-$version.jar: mvn -f bindings/kotlin package" "${assemble[@]}"
jar sdk dinh dinh/Client.class
refuses "no class of the package dinh.model in the jars" "${assemble[@]}"
jar sdk dinh dinh/Client.class dinh/model/Minutes.class dinh/ffi/Dinh.class
refuses "both jars have dinh/ffi/Dinh.class" "${assemble[@]}"
echo none >"$kotlin/sdk/target/dinh-$version.jar"
refuses "or nothing is in it" "${assemble[@]}"
jars
echo "# another" >>"$kotlin/$rules"
refuses "consumer-rules.pro and sdk/src/main/resources/META-INF/proguard/dinh.pro differ" "${assemble[@]}"
cp "$android/consumer-rules.pro" "$kotlin/$rules"
cp "$bad" "$natives/x86_64/libdinh_ffi.so"
refuses "1 of 3 libraries are not as Android needs them" "${assemble[@]}"
rm "$natives/armeabi-v7a/libdinh_ffi.so"
refuses "there is no $natives/armeabi-v7a/libdinh_ffi.so: bindings/kotlin/android/build-natives.sh" "${assemble[@]}"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
