#!/usr/bin/env bash
# Builds the native library for Android with the NDK's compiler and linker, and checks it.
#
#   build-natives.sh [ABI...]    of arm64-v8a, armeabi-v7a, x86_64: all three if none is named
#
# It needs an NDK (ANDROID_NDK_HOME, ANDROID_NDK_ROOT, or the newest below ANDROID_HOME/ndk) and Rust's Android targets.
# It makes, below target/android:
#
#   jniLibs/ABI/libdinh_ffi.so    what apps get: stripped, for Android 7 (API 24) and newer, for pages of 4 and 16 KB
#   .debug/ABI/libdinh_ffi.so     its symbols. Keep those of every release: `ndk-stack -sym .debug/ABI` reads a crash with
#                                 them, and Play takes a zip of the folder as native debug symbols.
#
# assemble-aar.sh packs the result.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../../phone-build.sh
. "$(dirname "$0")/../../phone-build.sh"

api=24
here=$root/bindings/kotlin/android
out=$target/android

rust_target() { # abi
  case $1 in
    arm64-v8a) echo aarch64-linux-android ;;
    armeabi-v7a) echo armv7-linux-androideabi ;;
    x86_64) echo x86_64-linux-android ;;
    *) die "no ABI of ours: $1 (arm64-v8a, armeabi-v7a, x86_64)" ;;
  esac
}

find_ndk() {
  local ndk=${ANDROID_NDK_HOME:-${ANDROID_NDK_ROOT:-}} bin
  if [ -z "$ndk" ] && [ -n "${ANDROID_HOME:-}" ]; then
    ndk=$(find "$ANDROID_HOME/ndk" -mindepth 1 -maxdepth 1 -type d 2>/dev/null | sort -V | tail -n 1)
  fi
  [ -n "$ndk" ] || die "no Android NDK found: install one (sdkmanager 'ndk;28.2.13676358') and set ANDROID_NDK_HOME to its folder"
  for bin in "$ndk"/toolchains/llvm/prebuilt/*/bin; do
    [ -x "$bin/llvm-strip" ] || die "$ndk is not a whole NDK: it has no toolchains/llvm/prebuilt/*/bin/llvm-strip; see ANDROID_NDK_HOME"
    echo "$bin"
    return
  done
}

build() { # abi
  local abi=$1 triple name clang built symbols=$out/.debug/$1/libdinh_ffi.so library=$out/jniLibs/$1/libdinh_ffi.so
  triple=$(rust_target "$abi")
  name=${triple//-/_}
  # The NDK names its compiler of ARM 7 after the architecture, Rust after the family.
  clang=$bin/${triple/#armv7-/armv7a-}$api-clang
  [ -x "$clang" ] || die "the NDK has no $clang: take one that supports API $api"
  echo "== $abi"
  export "CC_$name=$clang" "AR_$name=$bin/llvm-ar"
  export "CARGO_TARGET_$(tr '[:lower:]' '[:upper:]' <<<"$name")_LINKER=$clang"
  # The symbols are for .debug, and are taken out of the library below.
  CARGO_PROFILE_MOBILE_STRIP=none CARGO_PROFILE_MOBILE_DEBUG=line-tables-only build_library "$triple" cdylib

  built=$target/$triple/mobile/libdinh_ffi.so
  mkdir -p "$(dirname "$symbols")" "$(dirname "$library")"
  "$bin/llvm-objcopy" --only-keep-debug "$built" "$symbols"
  "$bin/llvm-strip" --strip-all -o "$library" "$built"
  "$bin/llvm-objcopy" --add-gnu-debuglink="$symbols" "$library"
}

case ${1:-} in --help | -h) usage; exit ;; esac
[ $# -gt 0 ] || set -- arm64-v8a armeabi-v7a x86_64
triples=() libraries=()
for abi in "$@"; do
  triple=$(rust_target "$abi")
  triples+=("$triple")
  libraries+=("$out/jniLibs/$abi/libdinh_ffi.so")
done
bin=$(find_ndk)
need_targets "${triples[@]}"
for abi in "$@"; do build "$abi"; done

READELF=$bin/llvm-readelf "$here/check-elf.sh" "${libraries[@]}"
STRIP=$bin/llvm-strip "$root/bindings/size.sh" --of "${libraries[@]}"
