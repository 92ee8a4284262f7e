"""The host that keeps its clock, lets another person in and has no rules of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

testinfra_hosts = ["ansible://hapacs-molecule-clock"]


def test_clock_uses_the_configured_servers(host: Any) -> None:
    assert host.service("chrony").is_running
    assert host.service("chrony").is_enabled
    assert "10.89.79.1" in host.check_output("chronyc -n sources")
    # That it may not set the clock of the machine below is this scenario's own doing.
    assert "cap_sys_time" not in host.check_output("systemctl show --property=CapabilityBoundingSet --value chrony")


def test_non_default_values_are_applied(host: Any) -> None:
    assert "allowusers hapacs" in host.check_output("sshd -T")
    assert "allowusers operator" in host.check_output("sshd -T")
    assert host.sysctl("net.ipv4.tcp_retries2") == 6
    assert "SystemMaxUse=67108864" in host.check_output("systemd-analyze cat-config systemd/journald.conf")


def test_without_rules_only_ssh_is_accepted(host: Any) -> None:
    rules = host.check_output("nft list chain inet hapacs input")
    assert "policy drop" in rules
    assert [line.split()[-1] for line in rules.splitlines() if "dport" in line] == ['management"']


def test_authority_keys_are_encrypted_on_the_controller(authorities: Path) -> None:
    assert {path.name for path in authorities.iterdir() if path.is_dir()} == {
        "etcd",
        "postgres",
        "cas",
        "pacs",
        "edge",
        "monitoring",
        "backup",
        "replica",
    }
    keys = list(authorities.rglob("*.key"))
    assert {key.stat().st_mode & 0o777 for key in keys} == {0o600}
    of_authorities = [key for key in keys if key.parent != authorities]
    assert len(of_authorities) == 8
    for key in of_authorities:
        assert "ENCRYPTED PRIVATE KEY" in key.read_text(), key


def test_no_node_holds_an_authority_key(host: Any) -> None:
    assert host.check_output("find / -xdev -name 'ca*.key' -not -path '/proc/*'") == ""
