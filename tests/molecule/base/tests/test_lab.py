"""The host as in the lab: it has rules of its own, and leaves the clock to its machine."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hapacs.load.waiting import eventually

testinfra_hosts = ["ansible://hapacs-molecule-base"]
ALLOWED, NOT_NAMED = 7000, 7001
_LISTEN_S = 30


@pytest.fixture(scope="module")
def _servers(host: Any) -> Iterator[None]:
    units = {port: f"server-{port}" for port in (ALLOWED, NOT_NAMED)}
    for port, unit in units.items():
        host.check_output("systemd-run --unit=%s python3 -m http.server %s", unit, str(port))
    # Their unit has begun before they listen.
    eventually("both servers listen", lambda: {ALLOWED, NOT_NAMED} <= _listening(host), _LISTEN_S)
    yield
    for unit in units.values():
        host.check_output("systemctl stop %s", unit)


def _listening(host: Any) -> set[int]:
    return {int(port) for port in host.check_output("ss -Hltn | grep -o ':700[01]' | tr -d :").split()}


@pytest.mark.usefixtures("_servers")
def test_firewall_accepts_listed_sources_only(host: Any, address: str, other_host: Callable[[str], Any]) -> None:
    assert {ALLOWED, NOT_NAMED} <= _listening(host)
    other = other_host("hapacs-molecule-clock")
    knock = "timeout 3 bash -c 'exec 3<>/dev/tcp/%s/%s'"
    assert other.run(knock % (address, ALLOWED)).rc == 0
    assert other.run(knock % (address, NOT_NAMED)).rc == 124
    # SSH is for the network of the management alone.
    assert other.run(knock % (address, 22)).rc == 124
    with pytest.raises(TimeoutError):
        socket.create_connection((address, ALLOWED), timeout=3)
    with socket.create_connection((address, 22), timeout=3) as connection:
        assert connection.recv(4) == b"SSH-"


def test_invalid_firewall_rules_are_not_installed(
    host: Any, apply: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    before = host.file("/etc/nftables.conf").content_string
    wrong = [{"sources": ["10.89.79.1"], "match": "tcp dport everything", "comment": "wrong"}]
    done = apply(host, "--tags=base_configure,base_run", base_firewall_rules=wrong)
    assert done.returncode != 0
    assert "was not changed" in " ".join((done.stdout + done.stderr).split())
    assert host.file("/etc/nftables.conf").content_string == before
    assert "drop" in host.check_output("nft list chain inet hapacs input")


def test_container_does_not_set_the_clock(host: Any) -> None:
    assert not host.service("chrony").is_running
    assert not host.service("chrony").is_enabled


def test_dead_peer_is_detected_in_seconds(host: Any) -> None:
    assert host.sysctl("net.ipv4.tcp_retries2") == 5
    assert host.sysctl("net.ipv4.tcp_keepalive_time") == 10
