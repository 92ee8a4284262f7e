"""A single balancer has the address by itself, and gives it up when it can't serve it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

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
