# shellcheck shell=sh
# What all steps share: places, messages, and one command at a time with progress.

cache=${HAPACS_CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/hapacs}
state=${HAPACS_STATE_DIR:-${XDG_STATE_HOME:-${HOME:-/root}/.local/state}/hapacs}
log=$cache/setup.log
child=

say() {
    printf '%s\n' "$*"
}

# die MESSAGE HINT
die() {
    printf '\nError: %s\n%s\n' "$1" "$2" >&2
    exit 1
}

now() {
    date +%s
}

# run WHAT COMMAND...: the output goes to the log; every 15 s a line says that it goes on. Returns the command's status.
# The command gets a session of its own: an interrupted setup must not leave half of a build running.
run() {
    run_what=$1
    shift
    run_start=$(now)
    run_said=$run_start
    say "      $run_what ..."
    printf '\n== %s\n' "$*" >>"$log"
    setsid "$@" >>"$log" 2>&1 9>&- </dev/null &
    child=$!
    while kill -0 "$child" 2>/dev/null; do
        sleep 0.2
        if [ $(($(now) - run_said)) -ge 15 ]; then
            run_said=$(now)
            say "      ... $((run_said - run_start)) s: $(tail -n 1 "$log" | tr -d '\r' | cut -c 1-100)"
        fi
    done
    run_status=0
    wait "$child" || run_status=$?
    child=
    return "$run_status"
}

# must WHAT HINT COMMAND...: like run, but a failure ends the set-up with the end of the log.
must() {
    must_what=$1
    must_hint=$2
    shift 2
    run "$must_what" "$@" && return
    tail -n 15 "$log" >&2
    die "$must_what failed." "$must_hint
The whole log: $log. After mending, run the same command again: it continues."
}

stop_child() {
    if [ -n "$child" ]; then
        kill -s TERM -- "-$child" 2>/dev/null || true
        wait "$child" 2>/dev/null || true
    fi
}

interrupted() {
    trap '' INT TERM HUP
    stop_child
    printf '\nInterrupted. Nothing is lost: the same command again continues.\n' >&2
    exit 130
}

# registry_tool NAME: install a tool that the package registry holds as a binary, pinned by hash, and print its
# directory of programs. Slow machines pay for it only when they have no such tool of their own.
registry_tool() {
    tool=$1
    tool_lock=$(awk -v name="$tool" '$0 ~ "^" name "==" {on = 1} on {print} on && !/\\$/ {exit}' "$root/requirements/tools.txt")
    tool_directory=$cache/tools/$tool-$(printf '%s' "$tool_lock" | sha256sum | cut -c 1-12)
    if [ ! -e "$tool_directory/.complete" ]; then
        rm -rf "$tool_directory"
        mkdir -p "$tool_directory"
        printf '%s\n' "$tool_lock" >"$tool_directory/lock.txt"
        run "Virtual environment for $tool" python3 -m venv "$tool_directory" || return
        run "Fetch $tool" "$tool_directory/bin/pip" install --disable-pip-version-check --no-input --require-hashes \
            -r "$tool_directory/lock.txt" || return
        : >"$tool_directory/.complete"
    fi
}
