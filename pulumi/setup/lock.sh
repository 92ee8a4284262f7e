#!/bin/sh
# Lock requirements/*.in: names, versions and hashes, and no address. uv is fetched for it and stays out of .venv.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
# shellcheck source=pulumi/setup/lib.sh
. "$here/lib.sh"
mkdir -p "$cache"
trap interrupted INT TERM HUP
registry_tool uv || die "uv can't be fetched." "Read $log."
cd "$root"
# The controller may have Python 3.12; nodes have 3.13; the tools also serve the Python of an older Debian.
for lock in tools:3.9 node:3.13 controller:3.12 dev:3.12; do
    name=${lock%:*}
    say "requirements/$name.txt"
    "$tool_directory/bin/uv" pip compile --quiet --universal --upgrade --generate-hashes --no-header --no-emit-index-url \
        --python-version "${lock#*:}" "requirements/$name.in" -o "requirements/$name.txt"
done
