"""Two balancers and one address: it is on one of them, goes when that one can't serve it, and stays where it went."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest

from hapacs.load.waiting import eventually

testinfra_hosts = ["ansible://hapacs-molecule-vip1"]
ADDRESS = "10.89.79.8"
ANSWERS = "/run/balancer-answers"
STORES = "/run/balancer-stores"
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


def test_address_goes_to_the_balancer_that_can_store_and_stays(pair: list[Any]) -> None:
    first = owner(pair)
    (second,) = [host for host in pair if host is not first]
    first.check_output(f"rm {STORES}")
    try:
        eventually("the other one has the address", lambda: owners(pair) == [second], MOVED_S, 0.2)
    finally:
        first.check_output(f"touch {STORES}")
    assert_stays(pair, second)


def test_short_outage_of_all_storing_services_moves_nothing(pair: list[Any]) -> None:
    first = owner(pair)
    (second,) = [host for host in pair if host is not first]
    try:
        # The owner's balancer finds the outage first and the recovery last.
        first.check_output(f"rm {STORES}")
        second.check_output(f"sleep 2; rm {STORES}; sleep 4; touch {STORES}; sleep 2")
    finally:
        first.check_output(f"touch {STORES}")
        second.check_output(f"touch {STORES}")
    assert_stays(pair, first)
    assert "Entering BACKUP" not in log(first, "-12s")


def test_address_stays_while_no_balancer_can_store(pair: list[Any]) -> None:
    first = owner(pair)
    try:
        for host in pair:
            host.check_output(f"rm {STORES}")
        assert_stays(pair, first)
    finally:
        for host in pair:
            host.check_output(f"touch {STORES}")


def test_node_that_is_cut_off_from_its_peer_gives_the_address_up_until_the_cut_ends(pair: list[Any]) -> None:
    first = owner(pair)
    (second,) = [host for host in pair if host is not first]
    with cut_off(pair, unable=[first]):
        eventually("only the other one has the address", lambda: owners(pair) == [second], MOVED_S, 0.2)
        assert_stays(pair, second)
    assert_stays(pair, second)


def test_node_that_hears_nothing_does_not_win_the_address_from_its_owner(pair: list[Any]) -> None:
    second, deaf = pair
    deaf.check_output("systemctl stop keepalived")
    eventually("the other one has the address", lambda: owners(pair) == [second], MOVED_S, 0.2)
    deaf.check_output("systemctl start keepalived")
    assert_stays(pair, second)
    heard = deaf.ansible.get_variables()["ansible_host"]
    begun = second.check_output("date +@%s")
    try:
        second.check_output(f"ip neighbour replace {heard} lladdr 02:00:00:00:00:01 nud permanent dev eth0")
        eventually("both have the address", lambda: owners(pair) == pair, MOVED_S, 0.2)
        # Its balancer needs a moment to find that it sees no majority.
        deaf.check_output(f"sleep 1.5; rm {STORES}")
        eventually("only the owner has the address", lambda: owners(pair) == [second], MOVED_S, 0.2)
    finally:
        deaf.check_output(f"touch {STORES}")
        second.run(f"ip neighbour del {heard} dev eth0")
    assert_stays(pair, second)
    assert "Entering BACKUP" not in log(second, begun), "callers of the owner were cut without being told"


def test_one_of_two_nodes_without_a_majority_keeps_the_address(pair: list[Any]) -> None:
    owner(pair)
    with cut_off(pair, unable=pair):
        pair[0].check_output("sleep 8")
        kept = owner(pair)
        assert_stays(pair, kept)
    assert_stays(pair, kept)


def test_node_without_its_peer_and_unable_to_store_has_the_address(pair: list[Any]) -> None:
    first, second = pair
    try:
        second.check_output("systemctl stop keepalived")
        first.check_output(f"rm {STORES}")
        eventually("the only one has the address", lambda: owners(pair) == [first], MOVED_S, 0.2)
        assert_stays(pair, first)
    finally:
        first.check_output(f"touch {STORES}")
        second.check_output("systemctl start keepalived")


@contextmanager
def cut_off(pair: list[Any], unable: list[Any]) -> Generator[None]:
    """Send all IP packets between the two to nobody, but no ARP; those in `unable` can't store without a majority."""
    addresses = [host.ansible.get_variables()["ansible_host"] for host in pair]
    try:
        for host, peer in zip(pair, reversed(addresses), strict=True):
            host.check_output(f"ip neighbour replace {peer} lladdr 02:00:00:00:00:01 nud permanent dev eth0")
        for host in unable:
            host.check_output(f"rm {STORES}")
        yield
    finally:
        for host, peer in zip(pair, reversed(addresses), strict=True):
            host.check_output(f"touch {STORES}")
            host.run(f"ip neighbour del {peer} dev eth0")


def assert_stays(pair: list[Any], host: Any, seconds: int = 8) -> None:
    """Check for some time that the address is on this host and on no other."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert owners(pair) == [host]
        time.sleep(0.2)


def test_run_is_content_with_the_address_on_another_balancer(
    pair: list[Any], apply: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    first = owner(pair)
    (second,) = [host for host in pair if host is not first]
    second.check_output(f"systemctl stop keepalived; rm {ANSWERS}")
    try:
        done = apply(second, "--tags=keepalived_run")
        assert done.returncode == 0, done.stdout + done.stderr
        assert owners(pair) == [first]
    finally:
        second.check_output(f"touch {ANSWERS}; systemctl start keepalived")


def test_invalid_keepalived_configuration_is_not_installed(
    host: Any, apply: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    before = host.file("/etc/keepalived/keepalived.conf").content_string
    done = apply(host, "--tags=keepalived_configure", keepalived_vip={"address": "10.89.79.300", "prefix": 24})
    assert done.returncode != 0
    assert "was not changed" in " ".join((done.stdout + done.stderr).split())
    assert host.file("/etc/keepalived/keepalived.conf").content_string == before


def log(host: Any, since: str = "-60s") -> str:
    return str(host.check_output(f"journalctl --unit=keepalived --no-pager --output=cat --lines=40 --since={since}"))
