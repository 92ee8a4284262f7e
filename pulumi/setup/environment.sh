#!/bin/sh
# The Python environment of the tree, .venv, with `hapacs` in it. Needs no root, and installs nothing outside of .venv and the
# cache. Does nothing when the environment is up to date.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../.." && pwd)
cache=${HAPACS_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/hapacs}
venv=$project/.venv
lock=$project/requirements/dev.txt

mkdir -p "$cache"
# Two at once would write the same files.
exec 8>"$cache/environment.lock"
flock --nonblock 8 || {
    echo "      Another process makes a Python environment; waiting for it."
    flock 8
}
# In an activated environment the first Python is its own, which is about to be removed.
PATH=$(printf '%s' "$PATH" | tr ':' '\n' | grep -Fxv "$venv/bin" | paste -sd: -)
python=$(sh "$here/find-python.sh")
# Programs in the environment name its place, so a tree that was moved gets a new one.
stamp="$(cat "$lock" "$project/pyproject.toml" "$project/plugins/pyproject.toml" | sha256sum | cut -d' ' -f1) $python $project"
[ "$(cat "$venv/.hapacs-stamp" 2>/dev/null)" = "$stamp" ] && exit 0

echo "      installing the locked Python packages for $("$python" --version) into .venv"
rm -f "$venv/.hapacs-stamp"
"$python" -m venv --clear "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes --requirement "$lock"
# Editable, with the build tool that the lock has: the tree is what runs, and nothing more is fetched.
"$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
    --editable "$project" --editable "$project/plugins"
printf '%s' "$stamp" >"$venv/.hapacs-stamp"
