"""A single balancer has the address by itself, and gives it up when it can't serve it."""

from __future__ import annotations

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


def test_single_node_sends_no_advertisement(host: Any) -> None:
    said = host.file("/etc/keepalived/keepalived.conf").content_string
    assert "unicast_peer" not in said
    assert "advert_int 1.0" in said
