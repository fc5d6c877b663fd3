#!/usr/bin/env bash
# The tests of the bindings, each over the real library and a real relay process.
#
#   bindings/test.sh                      all of them
#   bindings/test.sh python kotlin swift  some of them
#   bindings/test.sh bench                what a key stroke and an edit cost, through Kotlin and Swift
#
# DINH_ROUNDS=10000: the whole count of rounds in the tests for leaks (200 otherwise).
# Needs Python 3.11, a JDK 17 and Maven, and root for Swift's toolchain (see swift-toolchain.sh); what is missing is installed
# on Debian. A suite that cannot run is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- python kotlin swift
export DINH_ROUNDS=${DINH_ROUNDS:-200}

# As `cargo test --release` has built them already.
cargo build --locked --release -q -p dinh-ffi -p dinh-server
native=$(realpath "${CARGO_TARGET_DIR:-target}")/release
export DINH_RELAY=$native/dinh-relay DINH_TESTDATA=$PWD/bindings/testdata

install() { # packages
  echo "installing $*"
  (command -v sudo >/dev/null && [ "$(id -u)" != 0 ] && SUDO=sudo || SUDO=
   $SUDO apt-get update -q >/dev/null && DEBIAN_FRONTEND=noninteractive $SUDO apt-get install -y -q --no-install-recommends "$@" >/dev/null) ||
    { echo "$* cannot be installed: install them, then run this again"; exit 1; }
}

python() {
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    { echo "python3 is missing or older than 3.11"; exit 1; }
  ln -sf "$native/libdinh_ffi.so" bindings/python/dinh/
  PYTHONPATH=bindings/python python3 -m unittest discover -s bindings/python/tests
}

kotlin() {
  if ! command -v mvn >/dev/null || ! command -v javac >/dev/null; then install openjdk-17-jdk-headless maven; fi
  if ! command -v readelf >/dev/null || ! command -v zip >/dev/null || ! command -v unzip >/dev/null; then install binutils unzip zip; fi
  bindings/kotlin/android/test.sh
  mvn -B -ntp -f bindings/kotlin/pom.xml -Ddinh.native="$native" install
  mvn -B -q -f examples/kotlin-minutes/pom.xml package
  examples/test-minutes.sh "$kotlin_minutes" "$kotlin_minutes"
}

# What runs in the toolchain sees one folder: the repository, or where the library is if that is outside.
case $native in "$PWD"/*) export SWIFT_WORK=$PWD ;; *) export SWIFT_WORK=/ ;; esac
export SWIFT_LIB_DIR=$native
kotlin_minutes="java -Djna.library.path=$native -jar $PWD/examples/kotlin-minutes/target/kotlin-minutes.jar"
swift_minutes="$PWD/bindings/swift-toolchain.sh run $PWD/examples/swift-minutes/.build/debug/swift-minutes"

swift() {
  bindings/swift-toolchain.sh test bindings/swift --disable-swift-testing
  bindings/swift-toolchain.sh build examples/swift-minutes
  mkdir -p "$native/minutes"
  WORK=$native/minutes examples/test-minutes.sh "$swift_minutes" "$swift_minutes"
  if [ -f examples/kotlin-minutes/target/kotlin-minutes.jar ]; then
    WORK=$native/minutes examples/test-minutes.sh "$kotlin_minutes" "$swift_minutes"
  else
    echo "NOT PLAYED: a meeting of Kotlin and Swift (bindings/test.sh kotlin builds the other half)"
  fi
}

bench() {
  mvn -B -q -f bindings/kotlin/pom.xml -Ddinh.native="$native" -Dgroups=bench -DexcludedGroups= install
  bindings/swift-toolchain.sh build bindings/swift -c release --product DinhBench
  bindings/swift-toolchain.sh run "$PWD/bindings/swift/.build/release/DinhBench"
}

for suite in "$@"; do
  case $suite in
    python | kotlin | swift | bench) ;;
    *) echo "no suite $suite: python, kotlin, swift or bench"; exit 2 ;;
  esac
  printf '\n== bindings: %s\n' "$suite"
  "$suite"
done
