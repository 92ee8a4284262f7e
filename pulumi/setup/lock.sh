#!/bin/sh
# Lock requirements/*.in with hashes. The locks name packages only, so that each site's own package index serves them.
set -eu

cd "$(dirname "$0")/../.."
uv=$(sh pulumi/setup/registry-tool.sh uv uv)
# The controller may have Python 3.12, nodes have 3.13; the tools also serve the Python of an older system.
for name in tools:3.9 controller:3.12 dev:3.12 node:3.13 archive:3.13; do
    file=requirements/${name%:*}
    "$uv" pip compile --quiet --universal --upgrade --python-version "${name#*:}" --generate-hashes \
        --no-emit-index-url --no-header "$file.in" --output-file "$file.txt"
done
# Installed into the environment that dev.txt made, so nothing in it may change.
"$uv" pip compile --quiet --universal --upgrade --python-version 3.12 --generate-hashes --no-emit-index-url --no-header \
    --constraint requirements/dev.txt requirements/conformance.in --output-file requirements/conformance.txt
