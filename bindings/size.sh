#!/usr/bin/env bash
# How many bytes the SDK adds to an app: the phones' library as it is shipped, linked and stripped.
#
#   size.sh [--check] [--tls]         builds it for this Linux machine, with and without TLS, and measures; --tls: only with
#   size.sh [--check] --of FILE...    measures libraries that are there
#
# --check fails if one of them is over the ceiling: what was measured with TLS on 2026-11-23, and a twentieth. It keeps the library
# from growing unseen; it is not the goal, which is not reached (bindings/README.md, "Size"). STRIP names another strip, for libraries of other machines (llvm-strip).
# What was built stays in target/size/{tls,no-tls}, stripped.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=phone-build.sh
. "$(dirname "$0")/phone-build.sh"

goal=4000000 ceiling=11600000

measure() { # file: its bytes without symbols
  local copy
  copy=$(mktemp)
  "${STRIP:-strip}" -o "$copy" "$1" || { rm -f "$copy"; die "$1 cannot be stripped: see the line above"; }
  wc -c <"$copy"
  rm -f "$copy"
}

report() { # files
  local file bytes over=0
  printf '%12s  %5s  %s\n' bytes goal library
  for file in "$@"; do
    [ -f "$file" ] || die "there is no $file"
    bytes=$(measure "$file")
    printf '%12d  %4d%%  %s\n' "$bytes" $((bytes * 100 / goal)) "$file"
    [ "$bytes" -le "$ceiling" ] || over=$((over + 1))
  done
  if [ "$check" = 1 ]; then
    [ "$over" = 0 ] || die "$over of $# over the ceiling of $ceiling bytes"
    echo "sizes: none of $# over the ceiling of $ceiling bytes; the goal is $goal"
  fi
}

check=0 files=() variants=(tls no-tls)
while [ $# -gt 0 ]; do
  case $1 in
    --check) check=1 ;;
    --tls) variants=(tls) ;;
    --of)
      shift
      [ $# -gt 0 ] || die "--of: which libraries?"
      files=("$@")
      break
      ;;
    --help | -h) usage; exit ;;
    *) die "unknown argument $1: see --help" ;;
  esac
  shift
done
need "${STRIP:-strip}"

if [ "${#files[@]}" = 0 ]; then
  triple=$(rustc -vV | sed -n 's/^host: //p')
  for variant in "${variants[@]}"; do
    features=()
    [ "$variant" = tls ] || features=(--no-default-features)
    build_library "$triple" cdylib ${features[@]+"${features[@]}"}
    mkdir -p "$target/size/$variant"
    cp "$target/$triple/mobile/libdinh_ffi.so" "$target/size/$variant/"
    files+=("$target/size/$variant/libdinh_ffi.so")
  done
fi
report "${files[@]}"
