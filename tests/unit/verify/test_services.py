"""Checks of services pass on a healthy site, and fail with the problem that `hapacs.site.problems` finds."""

from __future__ import annotations

from typing import Any, cast

import httpx
import pytest

from hapacs.site.access import Node, Site
from hapacs.site.running import RunningSite
from hapacs.verify import services
from hapacs.verify.report import CheckFailedError
from tests.unit.site.documents import BREAK, NAMES, VIP, Document, address, plain, unit


class FakeSite:
    def __init__(self) -> None:
        self.nodes = {name: Node(name, address(name), "", "hapacs", 22) for name in NAMES}
        self.health: dict[str, Any] = {"ok": True, "checks": {}}

    def members(self, _group: str) -> list[Node]:
        return list(self.nodes.values())

    def hapacs(self, _node: str, _service: str, _path: str) -> tuple[int, dict[str, Any]]:
        if not self.health:
            raise httpx.ConnectError("connection refused")
        return 200 if self.health["ok"] else 503, self.health


@pytest.fixture
def fake() -> FakeSite:
    return FakeSite()


def check(name: str, site: Document, fake: FakeSite) -> str:
    running = RunningSite.parse(site)
    if name == "services":
        return services.check_services(cast(Site, fake), running)
    return {
        "etcd": services.check_etcd,
        "database": services.check_database,
        "virtual address": services.check_virtual_address,
        "writer": services.check_writer,
    }[name](running)


CHECKS = {
    "services": "6 units active on 3 nodes, 6 Orthancs healthy",
    "etcd": "3 members follow one leader",
    "database": "a leads, 2 standbys stream",
    "virtual address": f"b holds {VIP}",
    "writer": "b stores, 2 wait",
}
# For each check the ways to break a site that it has to find.
FOUND = {
    "services": [
        "node off", "unit", "orthanc", "archive", "balancer", "other unit", "firewall", "das", "certificate",
        "unreadable certificate", "paused", "database disk",
    ],
    "etcd": ["node off", "etcd", "etcd silent", "two etcd leaders"],
    "database": [
        "node off", "two leaders", "postgres silent", "patroni silent", "other leader named", "standby",
        "member missing", "no synchronous standby",
    ],
    "virtual address": ["no address", "two addresses"],
    "writer": ["node off", "balancer", "two writers", "writer down", "no address", "no association"],
}  # fmt: skip


@pytest.mark.parametrize("name", list(CHECKS))
def test_check_passes_on_a_healthy_site(name: str, fake: FakeSite) -> None:
    assert check(name, plain(*NAMES), fake) == CHECKS[name]


@pytest.mark.parametrize(("name", "way"), [(name, way) for name, ways in FOUND.items() for way in ways])
def test_check_fails_on_a_broken_site(name: str, way: str, fake: FakeSite) -> None:
    site = plain(*NAMES)
    BREAK[way](site)
    with pytest.raises(CheckFailedError):
        check(name, site, fake)


# About images, not services: the site works, and `hapacs status` reports them.
OF_IMAGES = {"faults", "check failed", "check late", "no check yet"}


def test_every_way_to_break_a_site_fails_a_check() -> None:
    assert {way for ways in FOUND.values() for way in ways} == BREAK.keys() - OF_IMAGES


@pytest.mark.parametrize("way", sorted(OF_IMAGES))
def test_faults_of_images_fail_no_check_of_services(way: str, fake: FakeSite) -> None:
    site = plain(*NAMES)
    BREAK[way](site)
    assert check("services", site, fake) == CHECKS["services"]


def test_failure_says_what_is_wrong_and_where_to_look(fake: FakeSite) -> None:
    site = plain(*NAMES)
    BREAK["unit"](site)
    with pytest.raises(CheckFailedError, match=r"etcd on c is failed \(failed\): `journalctl -u etcd` there"):
        check("services", site, fake)


def test_storage_plugin_that_can_not_store_says_why(fake: FakeSite) -> None:
    fake.health = {"ok": False, "checks": {"cas": {"ok": False, "detail": "no gateway answers"}}}
    with pytest.raises(CheckFailedError, match="orthanc-store on a can't work: cas: no gateway answers"):
        check("services", plain(*NAMES), fake)


def test_orthanc_that_does_not_answer_is_named(fake: FakeSite) -> None:
    fake.health = {}
    with pytest.raises(CheckFailedError, match="orthanc-query on a does not answer: connection refused"):
        check("services", plain(*NAMES), fake)


def test_balancer_that_knows_no_writer_after_a_store_is_reported(fake: FakeSite) -> None:
    site = plain(*NAMES)
    site["states"]["c"]["balancer"]["writers"] = []
    with pytest.raises(CheckFailedError, match="HAProxy on c knows 0 storing nodes instead of one"):
        check("writer", site, fake)


def test_service_that_ended_during_the_verification_is_named() -> None:
    before, after = plain(*NAMES), plain(*NAMES)
    assert (
        services.check_restarts(RunningSite.parse(before), RunningSite.parse(after))
        == "no service of 3 nodes ended during the verification"
    )
    after["states"]["b"]["units"]["haproxy"] = unit(restarts=2)
    with pytest.raises(CheckFailedError, match="haproxy on b ended 2 times"):
        services.check_restarts(RunningSite.parse(before), RunningSite.parse(after))


@pytest.mark.parametrize("moment", ["before", "after"])
def test_restarts_of_a_silent_node_are_not_assumed_absent(moment: str) -> None:
    sites = {"before": plain(*NAMES), "after": plain(*NAMES)}
    BREAK["node off"](sites[moment])
    with pytest.raises(CheckFailedError, match="c d"):
        services.check_restarts(RunningSite.parse(sites["before"]), RunningSite.parse(sites["after"]))
