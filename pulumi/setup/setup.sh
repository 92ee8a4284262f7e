#!/bin/sh
# From a bare machine to .venv/bin/hapacs. Every step looks first whether it is done, so it can be run again at any time.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../.." && pwd)
cache=${HAPACS_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/hapacs}
venv=$project/.venv
lock=$project/requirements/dev.txt
ticker=""

stop_ticker() {
    [ -z "$ticker" ] || kill "$ticker" 2>/dev/null || true
    ticker=""
}
trap stop_ticker EXIT
trap 'echo "Interrupted; the same command again continues." >&2; exit 130' INT TERM HUP

# step NUMBER TEXT COMMAND...: while it works, a line every 15 s says for how long.
step() {
    echo "[$1/4] $2"
    shift 2
    began=$(date +%s)
    # The sleeping child keeps no pipe of ours open.
    (while sleep 15 >/dev/null 2>&1 9>&-; do echo "      ... $(($(date +%s) - began)) s"; done) 9>&- &
    ticker=$!
    "$@"
    stop_ticker
    echo "      $(($(date +%s) - began)) s"
}

environment() {
    # Programs in the environment name its place, so a tree that was moved gets a new one.
    stamp="$(cat "$lock" "$project/pyproject.toml" "$project/plugins/pyproject.toml" | sha256sum | cut -d' ' -f1) $python $project"
    [ "$(cat "$venv/.hapacs-stamp" 2>/dev/null)" = "$stamp" ] && return 0
    rm -f "$venv/.hapacs-stamp"
    "$python" -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes --requirement "$lock"
    # Editable, with the build tool that the lock has: the tree is what runs, and nothing more is fetched.
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
        --editable "$project" --editable "$project/plugins"
    printf '%s' "$stamp" >"$venv/.hapacs-stamp"
}

# What a package starts must not keep the lock.
packages() { sh "$here/packages.sh" 9>&-; }

find_python() { python=$(sh "$here/find-python.sh"); }

sh "$here/preflight.sh"
mkdir -p "$cache"
# Two at once would write the same files.
exec 9>"$cache/setup.lock"
flock --nonblock 9 || {
    echo "Another set-up is running; waiting for it."
    flock 9
}
step 1 "Debian packages" packages
step 2 "A fitting Python" find_python
step 3 "Python packages ($("$python" --version))" environment
version=$(sed -n 's/^pulumi==\([0-9.]*\).*/\1/p' "$lock")
step 4 "Pulumi engine $version" sh "$here/engine.sh" "$version"
