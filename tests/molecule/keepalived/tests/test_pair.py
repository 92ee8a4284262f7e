"""Two balancers and one address: it is on one of them, goes when that one can't serve it, and stays where it went."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from hapacs.load.waiting import eventually

testinfra_hosts = ["ansible://hapacs-molecule-vip1"]
ADDRESS = "10.89.79.8"
ANSWERS = "/run/balancer-answers"
DRAINED = "/var/lib/hapacs/drained"
MOVED_S = 10


@pytest.fixture
def pair(host: Any, other_host: Callable[[str], Any]) -> list[Any]:
    return [host, other_host("hapacs-molecule-vip2")]


def owners(pair: list[Any]) -> list[Any]:
    return [host for host in pair if ADDRESS in host.check_output("ip -brief -4 address show")]


def owner(pair: list[Any]) -> Any:
    eventually("one of the two has the address", lambda: len(owners(pair)) == 1, MOVED_S, 0.2)
    (found,) = owners(pair)
    return found


def test_address_moves_to_a_working_balancer_and_stays(pair: list[Any]) -> None:
    first = owner(pair)
    (second,) = [host for host in pair if host is not first]
    first.check_output(f"rm {ANSWERS}")
    eventually("the other one has the address", lambda: owners(pair) == [second], MOVED_S, 0.2)
    first.check_output(f"touch {ANSWERS}")
    first.check_output("systemctl restart keepalived")
    eventually("it is a backup again", lambda: "Entering BACKUP" in log(first), MOVED_S, 0.2)
    first.check_output("sleep 4")
    assert owners(pair) == [second], "it went back without need"


def test_address_moves_when_its_owner_stops(pair: list[Any]) -> None:
    first = owner(pair)
    (second,) = [host for host in pair if host is not first]
    try:
        first.check_output("systemctl stop keepalived")
        eventually("the other one has the address", lambda: owners(pair) == [second], MOVED_S, 0.2)
    finally:
        first.check_output("systemctl start keepalived")


def test_address_leaves_a_drained_node_and_does_not_return(pair: list[Any]) -> None:
    first = owner(pair)
    (second,) = [host for host in pair if host is not first]
    try:
        first.check_output(f"echo 1 > {DRAINED}")
        eventually("the other one has the address", lambda: owners(pair) == [second], MOVED_S, 0.2)
        first.check_output("systemctl restart keepalived")
        second.check_output("systemctl stop keepalived")
        eventually("nobody has the address", lambda: owners(pair) == [], MOVED_S, 0.2)
        first.check_output("sleep 4")
        assert owners(pair) == [], "a drained node took it"
        first.check_output(f"rm {DRAINED}")
        eventually("it has the address again", lambda: owners(pair) == [first], MOVED_S, 0.2)
    finally:
        first.check_output(f"rm -f {DRAINED}")
        second.check_output("systemctl start keepalived")


def test_node_with_silent_balancer_has_no_address(pair: list[Any]) -> None:
    owner(pair)
    try:
        for host in pair:
            host.check_output(f"rm {ANSWERS}")
        eventually("nobody has the address", lambda: owners(pair) == [], MOVED_S, 0.2)
    finally:
        for host in pair:
            host.check_output(f"touch {ANSWERS}")
    owner(pair)


def test_invalid_keepalived_configuration_is_not_installed(
    host: Any, apply: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    before = host.file("/etc/keepalived/keepalived.conf").content_string
    done = apply(host, "--tags=keepalived_configure", keepalived_vip={"address": "10.89.79.300", "prefix": 24})
    assert done.returncode != 0
    assert "was not changed" in " ".join((done.stdout + done.stderr).split())
    assert host.file("/etc/keepalived/keepalived.conf").content_string == before


def log(host: Any) -> str:
    return str(host.check_output("journalctl --unit=keepalived --no-pager --output=cat --lines=40"))
