#!/usr/bin/env bash
# A Debian package of the relay from a program that is built: sync-server/operations/build-deb.sh [PROGRAM] [FOLDER]
# Needs dpkg-deb only. The program is target/x86_64-unknown-linux-musl/release/dinh-relay unless it is told otherwise: static, so that the
# package fits any Debian or Ubuntu of this architecture.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
program=${1:-$root/target/x86_64-unknown-linux-musl/release/dinh-relay}
out=${2:-$root/target/deb}
[ -x "$program" ] || { echo "there is no $program: cargo build --release -p dinh-server --target x86_64-unknown-linux-musl"; exit 1; }
version=$("$program" version | cut -d' ' -f2)
architecture=$(dpkg --print-architecture)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
chmod 755 "$tree"

install -D -m 755 "$program" "$tree/usr/bin/dinh-relay"
[ -z "$(command -v strip)" ] || strip --strip-unneeded "$tree/usr/bin/dinh-relay"
install -D -m 640 "$here/relay.toml" "$tree/etc/dinh/relay.toml"
for unit in dinh-relay.service dinh-relay-backup.service dinh-relay-backup.timer; do
  install -D -m 644 "$here/$unit" "$tree/usr/lib/systemd/system/$unit"
done
doc=$tree/usr/share/doc/dinh-relay
install -d -m 755 "$doc"
# With what it links to.
for file in operating LIMITS METRICS BACKUP-FORMAT PROTOCOL SECURITY-DESIGN; do
  install -m 644 "$root/docs/$file.md" "$doc/"
done
install -m 644 "$root/docs/console-360.png" "$root/docs/console-1280.png" "$doc/"
install -D -m 644 "$root/LICENSE" "$doc/copyright"
gzip -9nc "$root/CHANGELOG.md" > "$doc/changelog.gz"
[ ! -e "$here/grafana-dashboard.json" ] || install -m 644 "$here/grafana-dashboard.json" "$here/prometheus-alerts.yml" "$doc/"

mkdir -p "$tree/DEBIAN"
install -m 755 "$here"/debian/{postinst,prerm,postrm} "$tree/DEBIAN/"
echo /etc/dinh/relay.toml > "$tree/DEBIAN/conffiles"
# A static program needs no libraries; a dynamic one the C library that it was linked with.
if ldd "$tree/usr/bin/dinh-relay" 2>/dev/null | grep -q libc.so; then
  depends="libc6 (>= $(dpkg-query -W -f '${Version}' libc6 | sed 's/-.*//'))"
else
  depends=
fi
{
  cat <<CONTROL
Package: dinh-relay
Version: $version
Architecture: $architecture
Maintainer: Dinh contributors <noreply@localhost>
Installed-Size: $(du -sk --exclude=DEBIAN "$tree" | cut -f1)
Section: net
Priority: optional
CONTROL
  [ -z "$depends" ] || echo "Depends: $depends"
  cat <<'CONTROL'
Description: relay for documents that are written offline (Dinh)
 Stores signed and encrypted items of devices and carries them between
 them. It acknowledges only what is on its disk, and cannot read what it
 stores. One program, one file, one configuration.
CONTROL
} > "$tree/DEBIAN/control"
mkdir -p "$out"
dpkg-deb --root-owner-group --build "$tree" "$out/dinh-relay_${version}_$architecture.deb"
