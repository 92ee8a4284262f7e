"""Who leads a running site, and which nodes could take over."""

from __future__ import annotations

import pytest

from hapacs.site.running import RunningSite, Together
from tests.unit.site.documents import NAMES, VIP, drain, plain, set_member


def test_leads_are_found() -> None:
    site = RunningSite.parse(plain(*NAMES))
    assert site.database_leaders == site.archive_leaders == ["a"]
    assert site.writers == site.holders == ["b"]
    assert site.etcd_leader == "c"
    assert site.etcd_ids == {"a": "65", "b": "66", "c": "67"}
    assert site.drained == site.paused == []


def test_roles_that_have_come_together_are_named_with_a_free_node() -> None:
    assert RunningSite.parse(plain(*NAMES)).together == [Together("b", ["storing", "address"], "c")]


def test_roles_are_apart_when_each_node_has_one() -> None:
    site = plain(*NAMES)
    site["states"]["b"]["addresses"].remove(VIP)
    site["states"]["c"]["addresses"].append(VIP)
    site["states"]["c"]["balancer"] = site["states"]["b"]["balancer"]
    assert RunningSite.parse(site).together == []


def test_roles_of_two_nodes_are_never_too_close() -> None:
    assert RunningSite.parse(plain("a", "b")).together == []
    assert RunningSite.parse(drain(plain(*NAMES), "c")).together == []


def test_silent_node_has_a_reason_and_no_facts() -> None:
    plain_site = plain(*NAMES)
    plain_site["states"]["c"] = {"error": "no route to host"}
    site = RunningSite.parse(plain_site)
    assert site.names == ["a", "b", "c"]
    assert list(site.nodes) == ["a", "b"]
    assert site.silent == {"c": "no route to host"}
    assert site.etcd_leader == ""


def test_the_balancer_with_the_virtual_address_decides_who_stores() -> None:
    plain_site = plain(*NAMES)
    plain_site["states"]["a"]["balancer"]["writers"] = ["c"]
    assert RunningSite.parse(plain_site).writers == ["b"]
    plain_site["states"]["b"]["addresses"].remove(VIP)
    assert RunningSite.parse(plain_site).writers == []


@pytest.mark.parametrize("status", ["UP", "DOWN"])
def test_a_drained_node_is_not_paused(status: str) -> None:
    plain_site = plain(*NAMES)
    for name in ("a", "c"):
        plain_site["states"]["b"]["balancer"]["servers"]["store_dicom"][name].update(status=status, paused=True)
    assert RunningSite.parse(drain(plain_site, "c")).paused == ["a"]


def test_the_standby_with_the_least_lag_comes_first() -> None:
    plain_site = plain(*NAMES)
    set_member(plain_site, "b", lag=4096)
    set_member(plain_site, "c", lag="unknown")
    site = RunningSite.parse(plain_site)
    assert site.standbys() == ["c", "b"]
    assert site.standbys("c") == ["b"]
    assert RunningSite.parse(drain(plain_site, "c")).standbys() == ["b"]


def test_only_healthy_nodes_may_store() -> None:
    plain_site = plain(*NAMES)
    assert RunningSite.parse(plain_site).able_writers() == ["a", "b", "c"]
    plain_site["states"]["b"]["balancer"]["servers"]["store_dicom"]["a"]["status"] = "DOWN"
    plain_site["states"]["c"]["health"]["orthanc-store"] = "its health is answered 503"
    assert RunningSite.parse(plain_site).able_writers() == ["b"]
    assert RunningSite.parse(plain_site).able_writers("b") == []
