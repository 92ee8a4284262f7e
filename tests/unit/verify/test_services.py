"""What nodes say of themselves, and what is made of it."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hapacs.settings import LabTarget
from hapacs.site.access import Node, Site
from hapacs.verify import services
from hapacs.verify.report import CheckFailedError

NAMES = ("pacs1", "pacs2", "pacs3")
VIP = "10.0.0.10"


class FakeSite:
    vip = VIP

    def __init__(self) -> None:
        self.nodes = {name: Node(name, f"10.0.0.1{number}", "", "hapacs", 22) for number, name in enumerate(NAMES, 1)}
        self.deployment = SimpleNamespace(settings=SimpleNamespace(target=LabTarget(kind="lab")))

    def members(self, _group: str) -> list[Node]:
        return list(self.nodes.values())

    def hapacs(self, _node: str, _service: str, _path: str) -> tuple[int, dict[str, Any]]:
        return 200, {"ok": True, "checks": {}}


@pytest.fixture
def site() -> Site:
    return cast(Site, FakeSite())


@pytest.fixture
def facts(site: Site) -> dict[str, dict[str, Any]]:
    cluster = {
        "members": [
            {"name": "pacs1", "role": "leader", "state": "running"},
            {"name": "pacs2", "role": "quorum_standby", "state": "streaming"},
            {"name": "pacs3", "role": "quorum_standby", "state": "streaming"},
        ]
    }
    endpoints = [f"https://{node.address}:2379" for node in site.nodes.values()]
    return {
        name: {
            "units": {
                unit: {"active": True, "state": "active (running)", "restarts": 0} for unit in ("etcd", "patroni")
            },
            "failed": [],
            "seaweedfs": {"master": "", "volume": ""},
            "firewall": True,
            "das": "btrfs",
            "addresses": [site.nodes[name].address] + ([VIP] if name == "pacs2" else []),
            "leads": name == "pacs1",
            "patroni": cluster,
            "balancer": {"writers": ["pacs1"]},
            "etcd": {
                "status": [{"Status": {"leader": 7}} for _ in NAMES],
                "health": [{"endpoint": endpoint, "health": True} for endpoint in endpoints],
            },
        }
        for name in NAMES
    }


Facts = dict[str, dict[str, Any]]


def test_all_is_well(site: Site, facts: Facts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "up_servers", lambda *_: list(NAMES))
    assert services.check_services(site, facts) == "6 units active on 3 nodes, 6 Orthancs healthy"
    assert services.check_etcd(site, facts) == "3 members follow one leader"
    assert services.check_database(site, facts) == "pacs1 leads, 2 standbys stream"
    assert services.check_virtual_address(site, facts) == f"pacs2 holds {VIP}"
    assert services.check_writer(site, facts) == "pacs1 stores, 2 wait"


def test_a_stopped_unit_is_named_with_where_to_look(site: Site, facts: Facts) -> None:
    facts["pacs2"]["units"]["etcd"] = {"active": False, "state": "failed (failed)"}
    with pytest.raises(CheckFailedError, match=r"etcd on pacs2 is failed \(failed\): `journalctl -u etcd` there"):
        services.check_services(site, facts)


def test_a_service_that_ended_by_itself_in_between_is_named(facts: Facts) -> None:
    after = copy.deepcopy(facts)
    assert services.check_restarts(facts, after) == "no service of 3 nodes ended during the verification"
    after["pacs2"]["units"]["patroni"]["restarts"] = 2
    with pytest.raises(CheckFailedError, match="patroni on pacs2 ended 2 times"):
        services.check_restarts(facts, after)
    after["pacs2"] = {"error": "pacs2 by SSH: gone"}
    with pytest.raises(CheckFailedError, match="gone"):
        services.check_restarts(facts, after)


def test_a_silent_node_is_no_healthy_node(site: Site, facts: Facts) -> None:
    facts["pacs3"] = {"error": "pacs3 by SSH: no route to host"}
    for check in (services.check_services, services.check_etcd, services.check_database, services.check_writer):
        with pytest.raises(CheckFailedError, match="no route to host"):
            check(site, facts)


def test_a_daemon_that_runs_but_does_not_answer_is_named(site: Site, facts: Facts) -> None:
    facts["pacs1"]["seaweedfs"]["volume"] = "seaweedfs-check: timed out"
    with pytest.raises(CheckFailedError, match="seaweedfs-volume on pacs1: seaweedfs-check: timed out"):
        services.check_services(site, facts)


def test_a_plugin_that_can_not_store_says_why(site: Site, facts: Facts, monkeypatch: pytest.MonkeyPatch) -> None:
    report = {"ok": False, "checks": {"cas": {"ok": False, "detail": "no gateway answers"}}}
    monkeypatch.setattr(site, "hapacs", lambda *_: (503, report))
    with pytest.raises(CheckFailedError, match="orthanc-store on pacs1 can't work: cas: no gateway answers"):
        services.check_services(site, facts)


@pytest.mark.parametrize(
    ("leads", "message"), [((True, True, False), "pacs1, pacs2 takes writes"), ((False,) * 3, "no node")]
)
def test_there_is_exactly_one_database_leader(site: Site, facts: Facts, leads: tuple[bool, ...], message: str) -> None:
    for name, value in zip(NAMES, leads, strict=True):
        facts[name]["leads"] = value
    with pytest.raises(CheckFailedError, match=message):
        services.check_database(site, facts)


def test_a_database_without_a_synchronous_standby_is_reported(site: Site, facts: Facts) -> None:
    facts["pacs1"]["patroni"]["members"][1]["role"] = "replica"
    facts["pacs1"]["patroni"]["members"][2]["role"] = "replica"
    with pytest.raises(CheckFailedError, match="no standby is synchronous"):
        services.check_database(site, facts)


def test_a_member_of_etcd_that_is_not_healthy_is_named(site: Site, facts: Facts) -> None:
    facts["pacs1"]["etcd"]["health"][2]["health"] = False
    with pytest.raises(CheckFailedError, match="pacs1 does not see as healthy: pacs3"):
        services.check_etcd(site, facts)


def test_etcd_with_two_leaders_is_reported(site: Site, facts: Facts) -> None:
    facts["pacs2"]["etcd"]["status"][0]["Status"]["leader"] = 8
    with pytest.raises(CheckFailedError, match="2 leaders"):
        services.check_etcd(site, facts)


@pytest.mark.parametrize("holders", [(), ("pacs1", "pacs3")])
def test_the_virtual_address_is_on_exactly_one_node(site: Site, facts: Facts, holders: tuple[str, ...]) -> None:
    for name in NAMES:
        facts[name]["addresses"] = [VIP] if name in holders else []
    with pytest.raises(CheckFailedError, match="is held by"):
        services.check_virtual_address(site, facts)


def test_balancers_that_disagree_about_the_writer_are_reported(
    site: Site, facts: Facts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "up_servers", lambda *_: list(NAMES))
    facts["pacs3"]["balancer"] = {"writers": ["pacs3"]}
    with pytest.raises(CheckFailedError, match="chosen pacs1, pacs3 instead of one"):
        services.check_writer(site, facts)


def test_a_writer_that_is_down_for_its_balancer_is_reported(
    site: Site, facts: Facts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "up_servers", lambda *_: ["pacs2"])
    with pytest.raises(CheckFailedError, match="pacs1 stores but is not up, says pacs2"):
        services.check_writer(site, facts)
