#!/usr/bin/env bash
# Looks at the console in headless Chromium, without script: takes pictures of every page at 360 and 1280 px into target/screenshots, and
# fails if anything is wider than the screen. Installs Chromium on Debian if it is not there.
#
#   sync-server/operations/screenshots.sh [--release]
#   sync-server/operations/screenshots.sh --built DIR     of programs that are there: dinh-relay, examples/console_demo
set -euo pipefail
cd "$(dirname "$0")/../.."

if ! command -v chromium >/dev/null; then
  (command -v sudo >/dev/null && SUDO=sudo || SUDO=
   $SUDO apt-get update -q && $SUDO apt-get install -y -q --no-install-recommends chromium fonts-noto-core)
fi
if [ "${1:-}" = --built ]; then
  built=$2
else
  cargo build --locked -q "$@" -p dinh-server --bin dinh-relay --example console_demo
  built=${CARGO_TARGET_DIR:-target}/debug
  [ "${1:-}" != --release ] || built=${built%debug}release
fi
exec python3 sync-server/operations/screenshots.py "$built" target/screenshots
