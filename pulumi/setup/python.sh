# shellcheck shell=sh
# A Python that the locked packages fit, and the virtual environment made from it.

# A version manager's `python3.13` may be there and still not run, so each candidate is really asked.
fits() {
    "$1" -c 'import ensurepip, ssl, sys, venv; sys.exit(not (3, 12) <= sys.version_info[:2] <= (3, 13))' \
        >/dev/null 2>&1
}

# Print the first Python that fits; 3.13 is what the nodes have.
find_python() {
    for candidate in "${HAPACS_PYTHON:-}" python3.13 "${PYENV_ROOT:-${HOME:-/root}/.pyenv}"/versions/3.13.*/bin/python \
        "$cache"/tools/python/cpython-3.13*/bin/python3.13 "$(uv_python 3.13)" \
        python3.12 "${PYENV_ROOT:-${HOME:-/root}/.pyenv}"/versions/3.12.*/bin/python "$(uv_python 3.12)" python3; do
        if [ -n "$candidate" ] && fits "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

uv_python() {
    if command -v uv >/dev/null; then
        uv python find --offline "$1" 2>/dev/null || true
    fi
}

# Fetch one when the machine has none; it stays in the cache.
need_python() {
    python=$(find_python) && return
    if registry_tool uv && run "Fetch Python 3.13 with uv" env UV_PYTHON_INSTALL_DIR="$cache/tools/python" \
        UV_HTTP_TIMEOUT=30 timeout 300 "$tool_directory/bin/uv" python install --no-bin 3.13; then
        python=$(find_python) && return
    fi
    die "No Python 3.12 or 3.13 was found, and none could be fetched." \
        "Debian 13 and Ubuntu 24.04 have one as package python3; on Debian 12 install one with pyenv or uv,
or name one in HAPACS_PYTHON. It needs the modules venv, ensurepip and ssl."
}

# The environment is told by what went into it; the same run again costs nothing.
make_environment() {
    wanted=$({
        say "$root"
        cat "$root/requirements/dev.txt" "$root/pyproject.toml" "$root/plugins/pyproject.toml"
    } | sha256sum | cut -c 1-64)
    environment=$root/.venv
    if ! fits "$environment/bin/python"; then
        need_python
        say "      $("$python" --version) ($python)"
        rm -rf "$environment"
        must "Virtual environment .venv" "Install the package python3-venv." "$python" -m venv "$environment"
    fi
    [ "$(cat "$environment/.locked" 2>/dev/null)" = "$wanted" ] && return
    pip="$environment/bin/python -m pip install --disable-pip-version-check --no-input"
    # shellcheck disable=SC2086  # a command
    must "Install the locked Python packages" "Check that this machine's pip reaches its package index." \
        $pip --require-hashes -r "$root/requirements/dev.txt"
    # shellcheck disable=SC2086  # a command
    must "Install hapacs from this tree" "Read the log." \
        $pip --no-deps --no-build-isolation -e "$root" -e "$root/plugins"
    say "$wanted" >"$environment/.locked.new"
    mv "$environment/.locked.new" "$environment/.locked"
}
