#!/bin/sh
# Prometheus, promtool, Alertmanager and amtool of this machine's Debian, for tests. Unpacked, not installed: the packages would start services.
set -eu

cache=${HAPACS_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/hapacs}
final=$cache/prometheus-tools
there=yes
for tool in prometheus promtool prometheus-alertmanager amtool; do
    command -v "$tool" >/dev/null || [ -x "$final/usr/bin/$tool" ] || there=no
done
[ "$there" = no ] || exit 0

mkdir -p "$cache"
work=$(mktemp -d "$cache/.prometheus-tools-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
# apt's own user writes there.
chmod 755 "$work"
cd "$work"
# Debian 13 has promtool in a package of its own, Debian 12 beside the server.
promtool() { if apt-cache show promtool >/dev/null 2>&1; then echo promtool; fi; }
# shellcheck disable=SC2046 # a name or nothing
fetch() { apt-get download --quiet=2 prometheus prometheus-alertmanager $(promtool) >/dev/null 2>&1; }
# A fresh machine has no package lists, an old one has lists that name files which are gone.
fetch || {
    apt-get update --quiet=2
    fetch
}
for file in ./*.deb; do dpkg-deb --extract "$file" unpacked; done
rm -rf "$final"
mv unpacked "$final"
