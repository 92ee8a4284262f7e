#!/bin/sh
# Lock requirements/*.in with hashes. The locks name packages only, so that each site's own package index serves them.
set -eu

cd "$(dirname "$0")/../.."
cache=${HAPACS_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/hapacs}
[ -x "$cache/uv/bin/uv" ] || { .venv/bin/python -m venv "$cache/uv" && "$cache/uv/bin/pip" install --quiet uv; }
for name in controller:3.12 dev:3.12 node:3.13; do
    file=requirements/${name%:*}
    "$cache/uv/bin/uv" pip compile --quiet --universal --upgrade --python-version "${name#*:}" --generate-hashes \
        --no-emit-index-url --no-header "$file.in" --output-file "$file.txt"
done
