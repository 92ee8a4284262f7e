#!/bin/sh
# All static checks. Each runs even when another failed; the last line names those that failed.
set -u
cd "$(dirname "$0")/../.." || exit 2
PATH=$PWD/.venv/bin:$PATH
export PATH
failed=

# check WHAT COMMAND...
check() {
    what=$1
    shift
    printf '== %s\n' "$what"
    "$@" || failed="$failed $what"
}

shell_scripts() {
    git ls-files | while read -r file; do
        case $file in
        *.sh) echo "$file" ;;
        *.j2 | *.py) ;;
        *) if [ -f "$file" ] && head -c 20 "$file" | grep -qaE '^#!.*sh\b'; then echo "$file"; fi ;;
        esac
    done
}

# A lock that names an address works only where that address can be reached.
locks_hold_no_address() {
    ! grep -nE '://|^-i|^--(index|extra-index|find-links)' requirements/*.txt
}

every_lock_has_hashes() {
    for lock in requirements/*.txt; do
        awk -v file="$lock" '
            /^[a-zA-Z0-9]/ {name = $1; if ($0 !~ /\\$/) {print file ": " name " has no hash"; bad = 1}}
            END {exit bad}' "$lock" || return
    done
}

# Only files of text that people wrote.
spelling() {
    git ls-files | grep -vE '^LICENSE$|\.(json|svg|sops\.yaml)$|^requirements/.*\.txt$' | xargs codespell
}

playbook_syntax() {
    ANSIBLE_LOCALHOST_WARNING=false ANSIBLE_INVENTORY_ENABLED=host_list \
        ansible-playbook -i localhost, --syntax-check ansible/playbooks/*.yml
}

check ruff ruff check --quiet --output-format concise
check format ruff format --check --quiet
check mypy mypy
check codespell spelling
check yamllint yamllint --strict .
# shellcheck disable=SC2046  # names without spaces
check shellcheck shellcheck --external-sources --shell=sh $(shell_scripts)
check locks locks_hold_no_address
check hashes every_lock_has_hashes
check syntax playbook_syntax
check ansible-lint ansible-lint -q --nocolor

if [ -n "$failed" ]; then
    printf '\nFailed:%s\n' "$failed" >&2
    exit 1
fi
printf 'All static checks passed.\n'
