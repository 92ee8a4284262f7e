"""A single balancer has the address by itself, and gives it up when it can't serve it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Generator
from typing import Any

import pytest

from hapacs.load.waiting import eventually

testinfra_hosts = ["ansible://hapacs-molecule-vip-alone"]
MOVED_S = 10


def has_it(host: Any) -> bool:
    return "10.89.79.7/24" in host.check_output("ip -brief -4 address show")


def test_address_is_present_while_the_balancer_answers(host: Any) -> None:
    eventually("it has the address", lambda: has_it(host), MOVED_S, 0.2)
    host.check_output("rm /run/balancer-answers")
    try:
        eventually("it gave the address up", lambda: not has_it(host), MOVED_S, 0.2)
    finally:
        host.check_output("touch /run/balancer-answers")
    eventually("it has the address again", lambda: has_it(host), MOVED_S, 0.2)


STAND_IN = """
import socket
s = socket.socket(socket.AF_UNIX)
s.bind("/run/stand-in.sock")
s.listen(1)
while True:
    one = s.accept()[0]
    one.recv(100)
    one.sendall(b"HTTP/1.0 503 -")
    one.close()
"""
FENCE = "/etc/keepalived/balancer-fence /run/stand-in.sock stand-in.service"


@pytest.fixture
def stand_in(host: Any) -> Generator[Callable[[], str]]:
    """A service in the place of a balancer: it answers, though not well. Return how its process ended."""
    host.check_output("systemd-run --quiet --unit=stand-in --property=RemainAfterExit=yes python3 -c %s", STAND_IN)
    eventually("it listens", lambda: host.run("test -S /run/stand-in.sock").rc == 0, MOVED_S, 0.2)
    yield lambda: str(host.check_output("systemctl show --property=Result --value stand-in"))
    host.run("systemctl stop stand-in; systemctl reset-failed stand-in; rm -f /run/stand-in.sock")


def test_balancer_that_answers_is_not_killed(host: Any, stand_in: Callable[[], str]) -> None:
    for _ in range(3):
        assert host.run(FENCE).rc == 0
    assert stand_in() == "success"


@pytest.mark.parametrize("waiting", [0, 4])
def test_balancer_that_hangs_is_killed_also_when_its_queue_is_full(
    host: Any, stand_in: Callable[[], str], waiting: int
) -> None:
    host.check_output("systemctl kill --signal=STOP stand-in")
    call = "import socket,time; s = socket.socket(socket.AF_UNIX); s.connect('/run/stand-in.sock'); time.sleep(9)"
    for number in range(waiting):
        host.check_output("systemd-run --quiet --unit=caller%s --collect python3 -c %s", str(number), call)
    host.check_output("sleep 1")
    assert host.run(FENCE).rc == 0
    eventually("it is gone", lambda: stand_in() == "signal", MOVED_S, 0.2)
    assert "stand-in.service answers nothing and is killed" in host.check_output(
        "journalctl -t balancer-fence --since=-30s"
    )


def test_nothing_is_killed_where_nobody_listens(host: Any) -> None:
    before = host.service("keepalived").systemd_properties["MainPID"]
    assert host.run("/etc/keepalived/balancer-fence /run/nobody.sock keepalived.service").rc == 0
    assert host.service("keepalived").systemd_properties["MainPID"] == before


def test_run_fails_while_no_balancer_takes_the_address(
    host: Any, apply: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    host.check_output("systemctl stop keepalived; rm /run/balancer-answers")
    try:
        done = apply(host, "--tags=keepalived_run", __keepalived_taken_s=3)
        assert done.returncode != 0
        assert "no balancer has 10.89.79.7: `journalctl -u keepalived`" in done.stdout + done.stderr
    finally:
        host.check_output("touch /run/balancer-answers")
    eventually("it has the address again", lambda: has_it(host), MOVED_S, 0.2)


def test_run_ends_with_the_address_in_place(host: Any, apply: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    host.check_output("systemctl stop keepalived")
    assert not has_it(host)
    done = apply(host, "--tags=keepalived_run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert has_it(host)


def test_single_node_sends_no_advertisement(host: Any) -> None:
    said = host.file("/etc/keepalived/keepalived.conf").content_string
    assert "unicast_peer" not in said
    assert "advert_int 1.0" in said
