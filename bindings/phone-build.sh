# shellcheck shell=bash
# What the scripts share that build, measure and pack the phones' library. Only sourced, by the bash 3.2 of macOS too.
# CI measures on its own machine what size.sh builds with these flags: what is shipped differs in the target alone.

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
case $target in /*) ;; *) target=$PWD/$target ;; esac

die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# The comment at the top of the script that runs.
usage() { sed -n '2,/^set -e/{/^set -e/!s/^# \{0,1\}//p;}' "$0"; }

need() { # tools
  local tool
  for tool in "$@"; do
    command -v "$tool" >/dev/null || die "$tool is missing: install it (on Debian: apt-get install binutils unzip zip)"
  done
}

# Names what is missing before cargo does, whose message does not say how to get it.
need_targets() { # triples
  local sysroot triple missing=()
  command -v cargo >/dev/null || die "cargo is missing: install Rust from rustup.rs"
  sysroot=$(rustc --print sysroot)
  for triple in "$@"; do
    [ -d "$sysroot/lib/rustlib/$triple/lib" ] || missing+=("$triple")
  done
  [ "${#missing[@]}" = 0 ] || die "Rust has no ${missing[*]} here: rustup target add ${missing[*]}"
}

# The library is at $target/TRIPLE/mobile afterwards. The machine's paths stay out of it: they name who built it, and the same
# sources would not give the same bytes elsewhere. RUSTFLAGS of the caller have no effect.
build_library() { # triple, crate type, further arguments of cargo
  local triple=$1 kind=$2 home=${CARGO_HOME:-$HOME/.cargo} flags
  shift 2
  flags=("--remap-path-prefix=$root=dinh" "--remap-path-prefix=$home=cargo")
  # Android's loader refuses or tears segments of 4 KB on phones with pages of 16 KB. Both: without the second, what is made
  # read-only after loading may end inside a page.
  case $kind-$triple in
    cdylib-*-linux-*)
      flags+=("-Clink-arg=-Wl,-z,max-page-size=16384" "-Clink-arg=-Wl,-z,common-page-size=16384" "-Clink-arg=-Wl,--build-id=sha1") ;;
  esac
  (
    cd "$root"
    export "CFLAGS_${triple//-/_}=-ffile-prefix-map=$root=dinh -ffile-prefix-map=$home=cargo"
    CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f' && printf %s "${flags[*]}")
    export CARGO_ENCODED_RUSTFLAGS CARGO_TARGET_DIR=$target
    cargo rustc --locked -p dinh-ffi --lib --profile mobile --target "$triple" --crate-type "$kind" "$@"
  )
}

# The same bytes for the same files, whenever and by whomever it is packed.
pack() { # folder, archive
  local archive
  mkdir -p "$(dirname "$2")"
  archive=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
  rm -f "$archive"
  (
    cd "$1"
    export TZ=UTC LC_ALL=C
    find . -type f -exec chmod 644 {} +
    find . -exec touch -t 198001010000 {} +
    find . -type f | sort | zip -q -X -D -@ "$archive"
  )
}
