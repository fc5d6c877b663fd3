#!/usr/bin/env bash
# Builds DinhFFIC.xcframework, the native library for Apple's systems, and its zip. On a Mac with Xcode.
#
#   build-xcframework.sh
#
# Slices: iOS (arm64), iOS simulator (arm64, x86_64), macOS (arm64, x86_64), for iOS 15 and macOS 12. Static libraries, with the
# header and module map that Package.swift uses on Linux, and the privacy manifest. SIGN_IDENTITY signs it, so that Xcode does not
# warn of an unsigned binary. Package.swift takes the framework from here as long as it names a path.
#
# A release of the Swift SDK:
#
#   1. Set the version in Cargo.toml; .ci/run passes; tag the commit.
#   2. SIGN_IDENTITY="Apple Distribution: …" bindings/swift/build-xcframework.sh
#   3. Run the tests in an iOS simulator and on macOS:
#      xcodebuild test -scheme Dinh -destination 'platform=iOS Simulator,name=iPhone 16'     (in bindings/swift)
#   4. Upload DinhFFIC.xcframework.zip to the release's page.
#   5. SwiftPM and the Swift Package Index want Package.swift and .spi.yml at the top of a repository, so the package has one of its
#      own: git subtree split --prefix bindings/swift. There, give the binaryTarget the url and checksum that are printed here
#      instead of its path, and tag the version.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../phone-build.sh
. "$(dirname "$0")/../phone-build.sh"

here=$root/bindings/swift
framework=$here/DinhFFIC.xcframework
slices=("aarch64-apple-ios" "aarch64-apple-ios-sim x86_64-apple-ios" "aarch64-apple-darwin x86_64-apple-darwin")

case ${1:-} in
  --help | -h) usage; exit ;;
  ?*) die "unknown argument $1: see --help" ;;
esac
[ "$(uname -s)" = Darwin ] || die "needs macOS and Xcode: Apple's SDKs are nowhere else. On Linux, swift-toolchain.sh tests the package"
xcodebuild -version >/dev/null 2>&1 ||
  die "needs Xcode, not its command line tools alone: install it, then sudo xcode-select -s /Applications/Xcode.app"
need lipo zip
# shellcheck disable=SC2068 # A slice is one or two words.
need_targets ${slices[@]}

# The oldest systems of Package.swift. Without these, C code in the library is for the system of the SDK, and apps get warnings.
export IPHONEOS_DEPLOYMENT_TARGET=15.0 MACOSX_DEPLOYMENT_TARGET=12.0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# In a folder named after the module: clang looks there, and Xcode copies the headers of all of an app's static frameworks into one
# folder, where two module maps at the top are an error.
headers=$work/headers
mkdir -p "$headers/DinhFFIC"
cp "$here/Sources/DinhFFIC/DinhFFIC.h" "$headers/DinhFFIC/"
# What to link is said by the framework here; the line is for Linux.
sed '/^ *link /d' "$here/Sources/DinhFFIC/module.modulemap" >"$headers/DinhFFIC/module.modulemap"

parts=()
for slice in "${slices[@]}"; do
  libraries=()
  for triple in $slice; do
    echo "== $triple"
    build_library "$triple" staticlib
    libraries+=("$target/$triple/mobile/libdinh_ffi.a")
  done
  mkdir -p "$work/${slice%% *}"
  lipo -create "${libraries[@]}" -output "$work/${slice%% *}/libdinh_ffi.a"
  parts+=(-library "$work/${slice%% *}/libdinh_ffi.a" -headers "$headers")
done

rm -rf "$framework"
xcodebuild -create-xcframework "${parts[@]}" -output "$framework"
for folder in "$framework"/*/; do cp "$here/PrivacyInfo.xcprivacy" "$folder"; done
[ -z "${SIGN_IDENTITY:-}" ] || codesign --timestamp --sign "$SIGN_IDENTITY" "$framework"

# The zip has the framework's folder at its top.
mkdir "$work/zip"
cp -R "$framework" "$work/zip/"
pack "$work/zip" "$framework.zip"
cat <<END
$framework.zip: $(wc -c <"$framework.zip" | tr -d ' ') bytes. For Package.swift of the release:

    .binaryTarget(
        name: "DinhFFIC",
        url: "https://…/DinhFFIC.xcframework.zip",
        checksum: "$(shasum -a 256 "$framework.zip" | cut -d ' ' -f 1)"
    )
END
