#!/bin/sh
# promtool and amtool of this machine's Debian, for tests of rules and routes. Unpacked, not installed: the packages would start services.
set -eu

cache=${HAPACS_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/hapacs}
final=$cache/prometheus-tools
if command -v promtool >/dev/null && command -v amtool >/dev/null; then exit 0; fi
[ ! -x "$final/usr/bin/promtool" ] || [ ! -x "$final/usr/bin/amtool" ] || exit 0

mkdir -p "$cache"
work=$(mktemp -d "$cache/.prometheus-tools-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
# apt's own user writes there.
chmod 755 "$work"
cd "$work"
# Debian 13 has promtool in a package of its own, Debian 12 beside the server.
package=promtool
apt-cache show promtool >/dev/null 2>&1 || package=prometheus
fetch() { apt-get download --quiet=2 "$package" prometheus-alertmanager >/dev/null 2>&1; }
# A fresh machine has no package lists, an old one has lists that name files which are gone.
fetch || {
    apt-get update --quiet=2
    package=promtool
    apt-cache show promtool >/dev/null 2>&1 || package=prometheus
    fetch
}
for file in ./*.deb; do dpkg-deb --extract "$file" unpacked; done
rm -rf "$final"
mv unpacked "$final"
