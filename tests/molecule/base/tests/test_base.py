"""What every node has, on two hosts: one as in the lab, and one that keeps its clock and has no rules of its own."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize("unit", ["ssh", "nftables"])
def test_service_runs_and_is_enabled(host: Any, unit: str) -> None:
    assert host.service(unit).is_running
    assert host.service(unit).is_enabled


def test_only_ssh_listens(listening: set[str]) -> None:
    assert listening == {"0.0.0.0:22", "[::]:22"}


def test_ssh_accepts_keys_only_and_refuses_root(host: Any) -> None:
    said = set(host.check_output("sshd -T").splitlines())
    assert said >= {
        "permitrootlogin no",
        "passwordauthentication no",
        "kbdinteractiveauthentication no",
        "authenticationmethods publickey",
        "x11forwarding no",
        "allowagentforwarding no",
        "maxauthtries 3",
    }
    assert host.file("/etc/ssh/sshd_config.d/10-hapacs.conf").mode == 0o600


def test_nodes_resolve_each_other_by_name(host: Any) -> None:
    for name in ("hapacs-molecule-base", "hapacs-molecule-clock"):
        assert host.addr(name).ipv4_addresses, name


def test_packages_do_not_start_unconfigured_services(host: Any) -> None:
    assert host.run("/usr/sbin/policy-rc.d haproxy start").rc == 101
    assert host.run("/usr/sbin/policy-rc.d etcd.service restart").rc == 101
    assert host.run("/usr/sbin/policy-rc.d ssh start").rc == 0


def test_journal_is_persistent_and_bounded(host: Any) -> None:
    said = host.check_output("systemd-analyze cat-config systemd/journald.conf")
    assert "Storage=persistent" in said
    assert host.file("/var/log/journal").is_directory
