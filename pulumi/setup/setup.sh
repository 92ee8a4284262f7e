#!/bin/sh
# From a bare machine to .venv/bin/hapacs. Every step looks first whether it is done, so it can be run again at any time.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../.." && pwd)
venv=$project/.venv
lock=$project/requirements/dev.txt

step() {
    text=$1
    shift
    began=$(date +%s)
    printf '%s ... ' "$text"
    "$@"
    printf '%s s\n' "$(($(date +%s) - began))"
}

environment() {
    stamp="$(sha256sum <"$lock" | cut -d' ' -f1) $python"
    [ "$(cat "$venv/.hapacs-stamp" 2>/dev/null)" = "$stamp" ] && return 0
    rm -f "$venv/.hapacs-stamp"
    "$python" -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes --requirement "$lock"
    # Editable, with the build tool that the lock has: the tree is what runs, and nothing more is fetched.
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
        --editable "$project" --editable "$project/plugins"
    printf '%s' "$stamp" >"$venv/.hapacs-stamp"
}

sh "$here/preflight.sh"
step "Debian packages" sh "$here/packages.sh"
python=$(sh "$here/find-python.sh")
step "Python packages ($("$python" --version))" environment
version=$(sed -n 's/^pulumi==\([0-9.]*\).*/\1/p' "$lock")
step "Pulumi engine $version" sh "$here/engine.sh" "$version"
