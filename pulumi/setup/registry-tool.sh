#!/bin/sh
# Prints the path of a program that the Python package index holds as a binary; fetches it first when need be.
# Asked for only where the machine has none of its own. requirements/tools.txt pins it by hash.
#   registry-tool.sh PACKAGE PROGRAM
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=${HAPACS_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/hapacs}
lock=$(awk -v name="$1" '$0 ~ "^" name "==" {on = 1} on {print} on && !/\\$/ {exit}' "$here/../../requirements/tools.txt")
directory=$cache/tools/$1-$(printf '%s' "$lock" | sha256sum | cut -c 1-12)
if [ ! -e "$directory/.complete" ]; then
    rm -rf "$directory"
    python3 -m venv "$directory" >&2
    printf '%s\n' "$lock" >"$directory/lock.txt"
    "$directory/bin/pip" install --quiet --disable-pip-version-check --require-hashes --requirement "$directory/lock.txt" >&2
    : >"$directory/.complete"
fi
printf '%s\n' "$directory/bin/$2"
