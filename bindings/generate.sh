#!/usr/bin/env bash
# Generates the foreign sources from the library. They are in git: reviewers see what changes, and SwiftPM reads them from there.
#
#   bindings/generate.sh            writes them
#   bindings/generate.sh --check    writes them, and fails if that changes anything
set -euo pipefail
cd "$(dirname "$0")/.."
python=bindings/python/dinh kotlin=bindings/kotlin/ffi/src/main/kotlin swift=bindings/swift/Sources

# Unstripped: the generators read what the macros left among the symbols.
cargo build --locked --release -q -p dinh-ffi
target=${CARGO_TARGET_DIR:-target}
library=$target/release/libdinh_ffi.so
bindgen() { # which, arguments
  local bin=$1
  shift
  cargo run --locked -q --manifest-path bindings/bindgen/Cargo.toml --target-dir "$target/bindgen" --bin "$bin" -- "$@"
}

rm -rf "$kotlin/dinh/ffi" && mkdir -p "$kotlin" "$python"
bindgen bindgen generate --language kotlin --no-format --out-dir "$kotlin" "$library"
bindgen bindgen generate --language python --no-format --out-dir "$python" "$library"
mv "$python/dinh.py" "$python/_native.py"
bindgen bindgen-swift --swift-sources "$library" "$swift/DinhFFI"
bindgen bindgen-swift --headers "$library" "$swift/DinhFFIC"

# uniffi 0.32.2 throws an exception of Java's for half of a surrogate pair, after it has taken a reference to the object which nobody
# gives back. An app that cuts a string in an emoji gets the replacement character in its place, which is as long.
sed -i 's/onMalformedInput(CodingErrorAction.REPORT)/onMalformedInput(CodingErrorAction.REPLACE).replaceWith(byteArrayOf(0xEF.toByte(), 0xBF.toByte(), 0xBD.toByte()))/' \
  "$kotlin/dinh/ffi/dinh.kt"
grep -q 'CodingErrorAction.REPLACE' "$kotlin/dinh/ffi/dinh.kt" || { echo "the generated code for strings is another: look at this script"; exit 1; }

# uniffi 0.32.2 puts comments of the library into comments of Kotlin as they are.
if grep -rnE '^\s*///.*(/\*|\*/)' bindings/src; then
  echo "the lines above would end a comment in Kotlin"; exit 1
fi
if [ "${1:-}" = --check ]; then
  git diff --exit-code --stat -- "$kotlin" "$python" "$swift/DinhFFI" "$swift/DinhFFIC" ||
    { echo "the generated sources are not those of the library: run bindings/generate.sh and commit them"; exit 1; }
  [ -z "$(git status --porcelain -- "$kotlin" "$python" "$swift/DinhFFI" "$swift/DinhFFIC")" ] ||
    { echo "generated sources are not in git: commit them"; exit 1; }
  echo "generated sources: as in git"
fi
