#!/bin/sh
# Every check of style; all of them run, and the exit code says whether one of them complained.
cd "$(dirname "$0")/.." || exit 2
PATH=$PWD/.venv/bin:$PATH
failed=""

check() {
    printf '%s ... ' "$1"
    shift
    if output=$("$@" 2>&1); then
        echo ok
    else
        printf 'failed\n%s\n' "$output"
        failed=yes
    fi
}

no_addresses() { ! grep -nE '://' requirements/*.txt requirements/*.in; }
export ANSIBLE_CONFIG=$PWD/ansible.cfg

check "ruff" ruff check
check "ruff format" ruff format --check
check "mypy" mypy
check "yamllint" yamllint --strict .
check "ansible-lint" ansible-lint --offline
check "playbooks' syntax" ansible-playbook --syntax-check -i localhost, ansible/playbooks/*.yml
check "shellcheck" shellcheck pulumi/setup/*.sh tests/*.sh .ci/run
check "locks without addresses" no_addresses
[ -z "$failed" ]
