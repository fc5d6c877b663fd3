#!/usr/bin/env bash
# Swift toolchain for a Debian bookworm machine, out of Debian trixie, in a folder of its own.
#
#   swift-toolchain.sh prepare                       build the toolchain if it is not there yet
#   swift-toolchain.sh test PACKAGE_DIR [ARGS...]    prepare, then `swift test` in PACKAGE_DIR
#   swift-toolchain.sh build PACKAGE_DIR [ARGS...]   prepare, then `swift build` in PACKAGE_DIR
#   swift-toolchain.sh run CMD [ARGS...]             prepare, then CMD in the current folder
#   swift-toolchain.sh remove                        delete the toolchain
#
# Environment:
#   SWIFT_TOOLCHAIN_DIR  cache folder           (default: ${XDG_CACHE_HOME:-~/.cache}/swift-trixie)
#   SWIFT_WORK           host folder made visible inside, at the same path
#                        (default: git top level of the package, else the package folder)
#   SWIFT_LIB_DIR        folder with the Rust .so: visible inside, handed to the linker as -L,
#                        and set as LD_LIBRARY_PATH for the test process
#   SWIFT_SLIM=0         keep lldb, clangd, sourcekit-lsp, docc, the static stdlib and the docs
#
# Why a chroot: trixie's swiftlang needs libc6 >= 2.38 and bookworm has 2.36, so it must not go
# into the host's root. Needs root (chroot, mount namespaces). The mirror is read from the
# host's apt configuration at run time. All mounts live in a private mount namespace and go
# away with the process, so nothing is left mounted after a crash or a kill.
set -euo pipefail

SUITE=trixie
LAYOUT=1          # raise to have existing caches rebuilt
DIR=${SWIFT_TOOLCHAIN_DIR:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/swift-$SUITE}
SLIM=${SWIFT_SLIM:-1}
STAMP_TEXT="layout=$LAYOUT suite=$SUITE slim=$SLIM"
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

say() { printf 'swift-toolchain: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# A command in a private mount and pid namespace; everything in it dies with it. (unshare --fork
# and a pid 1 both shrug off SIGTERM, so a signal to this script becomes a SIGKILL for unshare.)
isolated() {
  local pid rc=0
  unshare --mount --pid --fork --kill-child --propagation private -- "$@" <&0 &
  pid=$!
  trap 'kill -KILL "$pid" 2>/dev/null; exit 143' TERM INT HUP
  wait "$pid" || rc=$?
  trap - TERM INT HUP
  return "$rc"
}

# in_root CWD BIND... -- CMD...: CMD in the chroot, each BIND visible there at its host path.
in_root() {
  # shellcheck disable=SC2016 # For the inner shell to expand.
  isolated bash -c '
    set -euo pipefail
    root=$1 cwd=$2; shift 2
    mkdir -p "$root/proc" "$root/dev"
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    while [ "$1" != -- ]; do
      mkdir -p "$root$1"; mount --bind "$1" "$root$1"; shift
    done
    shift
    rc=0
    chroot "$root" /usr/bin/env -i \
      HOME=/root USER=root LANG=C.UTF-8 TERM="${TERM:-dumb}" ${CI:+CI="$CI"} \
      ${DINH_RELAY:+DINH_RELAY="$DINH_RELAY"} ${DINH_TESTDATA:+DINH_TESTDATA="$DINH_TESTDATA"} ${DINH_ROUNDS:+DINH_ROUNDS="$DINH_ROUNDS"} \
      PATH=/usr/libexec/swift/bin:/usr/sbin:/usr/bin:/sbin:/bin \
      DEBIAN_FRONTEND=noninteractive \
      ${INNER_LD_LIBRARY_PATH:+LD_LIBRARY_PATH="$INNER_LD_LIBRARY_PATH"} \
      /bin/bash -c "cd \"\$1\" && shift && exec \"\$@\"" in_root "$cwd" "$@" || rc=$?
    exit "$rc"   # no exec above: bash stays pid 1 here and reaps
  ' in_root "$DIR/root" "$@"
}

host_mirror() {
  local codename
  # shellcheck source=/dev/null
  codename=$(. /etc/os-release && printf %s "$VERSION_CODENAME")
  # shellcheck disable=SC2016 # For apt-get to fill in.
  apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
    awk -v c="$codename" '$2 == c && $3 == "main" { sub("/$", "", $1); print $1; exit }'
}

prepare() {
  mkdir -p "$DIR"
  exec 9>"$DIR/lock"
  flock 9
  if [ "$(cat "$DIR/ready" 2>/dev/null || true)" = "$STAMP_TEXT" ]; then
    flock -u 9
    return 0
  fi
  [ "$(id -u)" = 0 ] || die 'must be root: it uses chroot and mount namespaces'
  local t0=$SECONDS mirror try
  rm -f "$DIR/ready"
  [ "$(df -Pm "$DIR" | awk 'NR==2{print $4}')" -ge 4000 ] || die "less than 4 GB free under $DIR"

  if ! command -v debootstrap >/dev/null; then
    apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 install -y --no-install-recommends debootstrap >"$DIR/apt-host.log" 2>&1 ||
      { apt-get -o Acquire::Retries=3 update >>"$DIR/apt-host.log" 2>&1 &&
        apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 install -y --no-install-recommends debootstrap >>"$DIR/apt-host.log" 2>&1; } ||
      die "could not install debootstrap (see $DIR/apt-host.log)"
  fi

  # Stage 1: a minimal trixie, moved into place only when whole.
  if [ "$(cat "$DIR/root/.layout" 2>/dev/null || true)" != "$STAMP_TEXT" ]; then
    mirror=$(host_mirror)
    [ -n "$mirror" ] || die 'no Debian mirror in the apt configuration of this machine'
    rm -rf --one-file-system "$DIR/root" "$DIR/root.new"
    mkdir -p "$DIR/debs"
    for try in 1 2 3; do
      if isolated bash -c 'mount -t proc proc /proc; debootstrap "$@"; exit $?' x \
        --variant=minbase --keyring="$KEYRING" --cache-dir="$DIR/debs" \
        "$SUITE" "$DIR/root.new" "$mirror" >"$DIR/debootstrap.log" 2>&1; then
        break
      fi
      [ "$try" -lt 3 ] || die "debootstrap failed three times (see $DIR/debootstrap.log)"
      rm -rf --one-file-system "$DIR/root.new"
    done
    { echo force-unsafe-io
      if [ "$SLIM" = 1 ]; then
        printf 'path-exclude=%s\n' \
          '/usr/share/doc/*' '/usr/share/man/*' '/usr/share/locale/*' '/usr/share/info/*' \
          '/usr/libexec/swift/bin/lldb*' '/usr/libexec/swift/lib/liblldb*' \
          '/usr/libexec/swift/bin/clangd' '/usr/libexec/swift/bin/docc' \
          '/usr/libexec/swift/bin/sourcekit-lsp' '/usr/libexec/swift/lib/libsourcekitd*' \
          '/usr/libexec/swift/lib/swift_static/*'
      fi
    } >"$DIR/root.new/etc/dpkg/dpkg.cfg.d/swift-toolchain"
    printf %s "$STAMP_TEXT" >"$DIR/root.new/.layout"
    mv "$DIR/root.new" "$DIR/root"
    rm -rf "$DIR/debs"
    say "minimal $SUITE ready after $((SECONDS - t0)) s"
  fi

  # Stage 2: the compiler. apt goes on where an earlier try stopped.
  cp -L /etc/resolv.conf "$DIR/root/etc/resolv.conf" 2>/dev/null || true
  for try in 1 2 3; do
    if in_root / -- bash -c '
        apt-get -o Acquire::Retries=3 update &&
        dpkg --configure -a &&
        apt-get -o Acquire::Retries=3 install -y --no-install-recommends swiftlang libc6-dev' \
      >"$DIR/install.log" 2>&1; then
      break
    fi
    [ "$try" -lt 3 ] || die "installing swiftlang failed three times (see $DIR/install.log)"
    sleep 5
  done
  in_root / -- sh -c 'apt-get clean; rm -rf /var/lib/apt/lists/*'
  in_root / -- swift --version >"$DIR/version" 2>&1 || die "swift does not start (see $DIR/version)"
  printf %s "$STAMP_TEXT" >"$DIR/ready"
  flock -u 9
  say "ready after $((SECONDS - t0)) s, $(du -sh "$DIR" | cut -f1) in $DIR: $(head -1 "$DIR/version")"
}

swiftpm() { # swiftpm test|build PACKAGE_DIR ARGS...
  local verb=$1 pkg work lib=
  [ $# -ge 2 ] || die "$verb: which package folder?"
  pkg=$(realpath -e -- "$2"); shift 2
  [ -f "$pkg/Package.swift" ] || die "no Package.swift in $pkg"
  work=${SWIFT_WORK:-$(git -C "$pkg" rev-parse --show-toplevel 2>/dev/null || printf %s "$pkg")}
  work=$(realpath -e -- "$work")
  local binds=("$work") flags=()
  if [ -n "${SWIFT_LIB_DIR:-}" ]; then
    lib=$(realpath -e -- "$SWIFT_LIB_DIR")
    flags=(-Xlinker "-L$lib")
    case $lib/ in "$work"/*) ;; *) binds+=("$lib") ;; esac
  fi
  case $pkg/ in "$work"/*) ;; *) binds+=("$pkg") ;; esac
  INNER_LD_LIBRARY_PATH=$lib in_root "$pkg" "${binds[@]}" -- \
    swift "$verb" --disable-sandbox "${flags[@]}" "$@"
}

cmd=${1:-}; [ $# -eq 0 ] || shift
case $cmd in
  prepare) prepare ;;
  test | build) prepare; swiftpm "$cmd" "$@" ;;
  run)
    [ $# -ge 1 ] || die 'run: which command?'
    prepare
    work=$(realpath -e -- "${SWIFT_WORK:-$PWD}")
    INNER_LD_LIBRARY_PATH=${SWIFT_LIB_DIR:-} in_root "$(realpath -e .)" "$work" -- "$@"
    ;;
  remove) rm -rf --one-file-system "$DIR" ;;
  *) sed -n '2,/^set -e/p' "$0" | sed -n 's/^# \{0,1\}//p' >&2; exit 2 ;;
esac
