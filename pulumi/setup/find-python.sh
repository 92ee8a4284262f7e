#!/bin/sh
# Prints a Python that fits (3.12 or later, 3.13 first), or says what to install.
set -u

here=$(cd "$(dirname "$0")" && pwd)
cache=${HAPACS_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/hapacs}

# Run it rather than believe its name: a shim of a version manager is there and fails.
fits() {
    "$1" -c 'import ssl, sys, venv, ensurepip; raise SystemExit(sys.version_info < (3, 12))' >/dev/null 2>&1
}

for name in python3.13 python3.12 python3.14 python3; do
    if found=$(command -v "$name") && fits "$found"; then
        printf '%s\n' "$found"
        exit 0
    fi
done
for found in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[2-4]*/bin/python3 "${XDG_DATA_HOME:-$HOME/.local/share}"/uv/python/cpython-3.1[2-4]*/bin/python3; do
    if [ -x "$found" ] && fits "$found"; then
        candidate=$found
        case "$found" in */3.13* | *-3.13*) break ;; esac
    fi
done
if [ -n "${candidate:-}" ]; then
    printf '%s\n' "$candidate"
    exit 0
fi
# Debian 12 has 3.11 only. uv, from the package index that pip is set up for, can fetch another one.
export UV_PYTHON_INSTALL_DIR="$cache/tools/python"
if uv=$(sh "$here/registry-tool.sh" uv uv) && timeout 300 "$uv" python install --no-bin 3.13 >&2 &&
    found=$("$uv" python find --managed-python 3.13) && fits "$found"; then
    printf '%s\n' "$found"
    exit 0
fi
cat >&2 <<'END'
No Python 3.12 or later was found, and none could be fetched. Any of these will do:
  - Debian 13 or Ubuntu 24.04 and later:  apt-get install python3 python3-venv
  - with uv:                              uv python install 3.13
  - with pyenv:                           pyenv install 3.13
Then run the same command again.
END
exit 1
