#!/bin/sh
# From a bare machine to one that can run a lab. Each step does nothing when its work is done, so it can be repeated at any time.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../.." && pwd)
cache=${HAPACS_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/hapacs}
ticker=""

stop_ticker() {
    [ -z "$ticker" ] || kill "$ticker" 2>/dev/null || true
    ticker=""
}
trap stop_ticker EXIT
trap 'echo "Interrupted. Run the same command again to continue." >&2; exit 130' INT TERM HUP

# step NUMBER TEXT COMMAND...: prints a line with the elapsed time every 15 s.
step() {
    echo "[$1/3] $2"
    shift 2
    began=$(date +%s)
    # The sleeping child must not hold our output or the lock.
    (while sleep 15 >/dev/null 2>&1 9>&-; do echo "      ... $(($(date +%s) - began)) s"; done) 9>&- &
    ticker=$!
    "$@"
    stop_ticker
    echo "      $(($(date +%s) - began)) s"
}

# A service that a package starts must not hold the lock.
packages() { sh "$here/packages.sh" 9>&- && sh "$here/prometheus-tools.sh" 9>&-; }

sh "$here/preflight.sh"
mkdir -p "$cache"
# Two at once would write the same files.
exec 9>"$cache/setup.lock"
flock --nonblock 9 || {
    echo "Another set-up is running; waiting for it."
    flock 9
}
step 1 "Debian packages" packages
step 2 "Python environment" sh "$here/environment.sh"
version=$(sed -n 's/^pulumi==\([0-9.]*\).*/\1/p' "$project/requirements/dev.txt")
step 3 "Pulumi engine $version" sh "$here/engine.sh" "$version"
