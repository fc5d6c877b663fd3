#!/usr/bin/env bash
# Whether what is packaged fits together: the units, the package's content, and installing, upgrading and removing it in a root of its own.
# sync-server/operations/check.sh [PROGRAM]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
program=${1:-$root/target/release/dinh-relay}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

"$program" check-config --config "$here/relay.toml" >/dev/null
echo "ok: the packaged configuration is one"

if command -v systemd-analyze >/dev/null; then
  # What is not installed on this machine is no fault of the units.
  found=$(systemd-analyze verify "$here"/dinh-relay*.service "$here"/*.timer 2>&1 | grep -v 'is not executable: No such file' || true)
  [ -z "$found" ] || { echo "$found"; exit 1; }
  exposure=$(systemd-analyze security --offline=true --threshold=25 --no-pager "$here/dinh-relay.service" | tail -n 1)
  echo "ok: units; ${exposure#*→ }"
else
  echo "NOT TESTED here: the units (there is no systemd-analyze)"
fi

"$here/build-deb.sh" "$program" "$out" >/dev/null
deb=$(echo "$out"/*.deb)
content=$(dpkg-deb -c "$deb")
for file in usr/bin/dinh-relay etc/dinh/relay.toml usr/lib/systemd/system/dinh-relay.service usr/share/doc/dinh-relay/operating.md; do
  grep -q " ./$file\$" <<<"$content" || { echo "the package has no $file"; exit 1; }
done
mkdir "$out/extracted"
dpkg-deb -x "$deb" "$out/extracted"
"$out/extracted/usr/bin/dinh-relay" version
for script in "$here"/debian/*; do sh -n "$script"; done
echo "ok: $(basename "$deb"), $(stat -c %s "$deb") bytes"
