#!/usr/bin/env bash
# Checks that native libraries are as Android needs them. Runs on any Linux; CI runs it on a library of its own machine.
#
#   check-elf.sh [--abi ABI] FILE...
#
# The ABI is the name of the file's folder, as in jniLibs, unless --abi says it: arm64-v8a, armeabi-v7a or x86_64. Checked is:
#
#   architecture   that of the ABI
#   pages          segments, and the part that becomes read-only after loading, keep to pages of 16 KB
#   relocations    none in code: Android refuses them
#   stripped       neither symbols nor debug information
#   functions      every one that the generated Kotlin calls is exported
#
# READELF names another readelf (the NDK's is llvm-readelf).
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../../phone-build.sh
. "$(dirname "$0")/../../phone-build.sh"

generated=$root/bindings/kotlin/ffi/src/main/kotlin/dinh/ffi/dinh.kt
page=16384
elf=${READELF:-readelf}

called() { sed -nE 's/^ *external fun ([A-Za-z0-9_]+)\($/\1/p' "$generated" | LC_ALL=C sort -u; }
exported() { "$elf" --dyn-syms -W "$1" | awk '$7 ~ /^[0-9]+$/ { sub(/@.*/, "", $8); print $8 }' | LC_ALL=C sort -u; }

bad() {
  echo "  $*"
  wrong=1
}

check_architecture() { # abi, what the header says
  local want
  case $1 in
    arm64-v8a) want='ELF64 AArch64' ;;
    armeabi-v7a) want='ELF32 ARM' ;;
    x86_64) want='ELF64 Advanced Micro Devices X86-64' ;;
    *) bad "architecture: the folder '$1' is none of arm64-v8a, armeabi-v7a, x86_64"; return ;;
  esac
  [ "$2" = "$want" ] || bad "architecture: $2 in a folder for $1"
}

check_pages() { # file
  local kind offset address size align loads=0
  while read -r kind offset address size align; do
    if [ "$kind" = LOAD ]; then
      loads=$((loads + 1))
      if ((align < page || align % page || (address - offset) % page)); then
        bad "pages: a segment at $address is aligned to $align: link with -z max-page-size=$page"
      fi
    elif (((address + size) % page)); then
      bad "pages: what becomes read-only at $address ends inside a page: link with -z common-page-size=$page"
    fi
  done < <("$elf" -lW "$1" | awk '$1 == "LOAD" || $1 == "GNU_RELRO" { print $1, $2, $3, $6, $NF }')
  [ "$loads" -gt 0 ] || bad "pages: nothing to load in it"
}

check_functions() { # file
  local missing
  missing=$(LC_ALL=C comm -23 <(called) <(exported "$1"))
  [ -z "$missing" ] ||
    bad "functions: $(wc -l <<<"$missing" | tr -d ' ') not exported, $(head -n 1 <<<"$missing") first: run bindings/generate.sh and build again"
}

check() { # file, its ABI if not its folder's
  local file=$1 header machine
  wrong=0
  [ -f "$file" ] || { bad "there is no such file"; return; }
  header=$("$elf" -hW "$file" 2>/dev/null) || { bad "it is not an ELF file"; return; }
  machine=$(awk -F ': +' '$1 ~ /Class/ { class = $2 } $1 ~ /Machine/ { print class, $2 }' <<<"$header")
  check_architecture "${2:-$(basename "$(cd "$(dirname "$file")" && pwd)")}" "$machine"
  grep -q 'Type: *DYN' <<<"$header" || bad "it is not a shared library"
  check_pages "$file"
  # Not `grep -q`: it ends before readelf does, and with pipefail that would count as not found.
  if "$elf" -dW "$file" | grep TEXTREL >/dev/null; then
    bad "relocations: there are some in code: something in it is not position-independent"
  fi
  if "$elf" -SW "$file" | grep -E '\] \.(symtab|z?debug_)' >/dev/null; then
    bad "stripped: it has symbols or debug information: llvm-strip --strip-all"
  fi
  check_functions "$file"
}

abi=
case ${1:-} in
  --help | -h) usage; exit ;;
  --abi) abi=${2:?--abi: which?}; shift 2 ;;
esac
[ $# -gt 0 ] || die "which libraries? See --help"
need "$elf" awk comm
[ "$(called | wc -l)" -gt 0 ] || die "no functions found in $generated: has the generator changed?"

failed=0
for file in "$@"; do
  echo "$file"
  check "$file" "$abi"
  if [ "$wrong" = 0 ]; then echo "  ok"; else failed=$((failed + 1)); fi
done
[ "$failed" = 0 ] || die "$failed of $# libraries are not as Android needs them"
