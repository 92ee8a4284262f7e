"""Who leads a site, whether it can spare a node, who takes over, and in which order nodes are touched."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from hapacs.site.running import RunningSite, heir, leads_of, order, refusals, view
from tests.unit.ansible.loading import load

NAMES = ("a", "b", "c")
VIP = "192.0.2.10"
GROUPS = ("etcd", "postgres", "cas", "pacs", "load_balancer", "monitoring")
ACTIVE = {"active": True, "state": "active (running)"}
Plain = dict[str, Any]


def node(name: str) -> dict[str, str]:
    return {"name": name, "address": f"192.0.2.{NAMES.index(name) + 1}", "zone": f"rack_{name}"}


def members(*names: str) -> list[Plain]:
    """What Patroni says: the first leads."""
    return [
        {"name": name, "role": "quorum_standby" if number else "leader", "state": "streaming", "lag": 0}
        for number, name in enumerate(names)
    ]


def state(name: str, *names: str) -> Plain:
    number = NAMES.index(name) + 1
    return {
        "units": {"etcd": ACTIVE, "haproxy": ACTIVE},
        "seaweedfs": {"volume": ""},
        "orthanc": {"store": "", "query": ""},
        "leads": name == "a",
        "archive_leads": name == "a",
        "drained": False,
        "addresses": [f"192.0.2.{number}"] + ([VIP] if name == "b" else []),
        "patroni": {"members": members(*names)},
        "etcd": {
            "status": [
                {
                    "Endpoint": f"https://192.0.2.{index}:2379",
                    "Status": {"leader": 103, "header": {"member_id": 100 + index}},
                }
                for index in range(1, len(names) + 1)
            ],
            "health": [{"endpoint": f"https://192.0.2.{number}:2379", "health": True}],
        },
        "balancer": {
            "writers": ["b"],
            "servers": {"store_dicom": {other: {"status": "UP", "sessions": 0, "paused": False} for other in names}},
        },
    }


def plain(*names: str) -> Plain:
    return {
        "states": {name: state(name, *names) for name in names},
        "members": {group: [node(name) for name in names] for group in GROUPS},
        "vip": VIP,
    }


@pytest.fixture
def three() -> Plain:
    return plain(*NAMES)


def drain(site: Plain, *names: str) -> Plain:
    for name in names:
        site["states"][name]["drained"] = True
        for member in [m for state in site["states"].values() for m in state["patroni"]["members"]]:
            if member["name"] in names:
                member["tags"] = {"nofailover": True}
    return site


def test_who_leads(three: Plain) -> None:
    found = view(RunningSite(three))
    leads = {key: found[key] for key in ("database", "archive", "stores", "address", "etcd")}
    assert leads == {"database": "a", "archive": "a", "stores": "b", "address": "b", "etcd": "c"}
    assert found["etcd_ids"] == {"a": "65", "b": "66", "c": "67"}
    assert found["drained"] == found["paused"] == []


def test_a_server_that_is_paused_without_a_mark_is_left_over(three: Plain) -> None:
    for name in ("a", "c"):
        three["states"]["b"]["balancer"]["servers"]["store_dicom"][name] |= {"status": "DOWN", "paused": True}
    assert view(RunningSite(drain(three, "c")))["paused"] == ["a"]


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_site_spares_any_one_node(three: Plain, name: str) -> None:
    assert refusals(RunningSite(three), "whole", "") == []
    assert refusals(RunningSite(three), "drain", name) == []


def test_draining_again_is_allowed(three: Plain) -> None:
    assert refusals(RunningSite(drain(three, "c")), "drain", "c") == []


def test_a_second_node_is_not_drained(three: Plain) -> None:
    found = refusals(RunningSite(drain(three, "c")), "drain", "a")
    assert any("etcd has no majority" in one for one in found)
    assert any("no second database" in one for one in found)
    assert all("Undrain c first" in one for one in found)


def test_the_only_node_is_not_drained() -> None:
    site = plain("a")
    site["states"]["a"]["addresses"].append(VIP)
    (found,) = refusals(RunningSite(site), "drain", "a")
    assert "last one in service" in found
    assert "three nodes" in found
    (found,) = refusals(RunningSite(site), "switchover-database", "")
    assert "has one node" in found


def broken(site: Plain, what: str) -> None:
    states = site["states"]
    if what == "node off":
        states["c"] = None
    elif what == "unit":
        states["c"]["units"]["etcd"] = {"active": False, "state": "failed (failed)"}
    elif what == "orthanc":
        states["c"]["orthanc"]["store"] = "its health is answered 503"
    elif what == "archive":
        states["c"]["seaweedfs"]["volume"] = "no answer"
    elif what == "etcd":
        states["c"]["etcd"]["health"][0]["health"] = False
    elif what == "two leaders":
        states["c"]["leads"] = True
    elif what == "no address":
        states["b"]["addresses"] = []
    else:
        for one in states.values():
            for member in one["patroni"]["members"][1:]:
                member.update({"state": "stopped"} if what == "standby" else {"role": "replica"})


EXPECTED = {
    "node off": "c does not answer by SSH: switch it on",
    "unit": "etcd on c is failed",
    "orthanc": "orthanc-store on c can't work",
    "archive": "seaweedfs-volume on c: no answer",
    "etcd": "etcd at https://192.0.2.3:2379 is not healthy",
    "two leaders": "a, c takes writes instead of one",
    "no address": f"{VIP} is held by no node",
    "standby": "the database on b is stopped",
    "no synchronous standby": "no standby is synchronous",
}


@pytest.mark.parametrize("verb", ["whole", "drain", "switchover-database", "switchover-storing"])
@pytest.mark.parametrize("what", list(EXPECTED))
def test_a_site_that_is_not_whole_is_left_alone(three: Plain, what: str, verb: str) -> None:
    broken(three, what)
    found = refusals(RunningSite(three), verb, "a" if verb == "drain" else "")
    assert any(EXPECTED[what] in one for one in found), found


def test_what_ails_the_node_itself_is_a_reason_to_drain_it(three: Plain) -> None:
    broken(three, "orthanc")
    assert refusals(RunningSite(three), "drain", "c") == []
    assert refusals(RunningSite(three), "undrain", "c") != []


def test_a_node_is_undrained_while_another_is_off(three: Plain) -> None:
    drain(three, "a")
    broken(three, "node off")
    assert refusals(RunningSite(three), "undrain", "a") == []
    assert refusals(RunningSite(three), "undrain", "c") == ["c does not answer by SSH: switch it on first"]


def test_a_node_that_is_not_there_is_named_with_those_that_are(three: Plain) -> None:
    assert refusals(RunningSite(three), "drain", "d") == ["there is no node d; there are a, b, c"]


def test_a_verb_that_is_not_there(three: Plain) -> None:
    with pytest.raises(ValueError, match="no 'dance'"):
        refusals(RunningSite(three), "dance", "")


def test_the_standby_that_is_least_behind_takes_over(three: Plain) -> None:
    for one in three["states"].values():
        one["patroni"]["members"][1]["lag"] = 4096
    assert heir(RunningSite(three), "database", []) == "c"
    assert heir(RunningSite(three), "database", ["c"]) == "b"
    assert heir(RunningSite(drain(three, "c")), "database", []) == "b"


def test_another_healthy_node_stores(three: Plain) -> None:
    assert heir(RunningSite(three), "storing", []) == "a"
    three["states"]["b"]["balancer"]["servers"]["store_dicom"]["a"]["status"] = "DOWN"
    assert heir(RunningSite(three), "storing", []) == "c"
    three["states"]["c"]["orthanc"]["store"] = "ill"
    assert heir(RunningSite(three), "storing", []) == ""


def test_etcd_is_led_apart_from_the_database(three: Plain) -> None:
    assert heir(RunningSite(three), "etcd", ["c"]) == "b"
    assert heir(RunningSite(drain(three, "b")), "etcd", ["c"]) == "a"


@pytest.mark.parametrize("what", ["database", "storing"])
def test_a_switchover_to_a_drained_node_is_refused(three: Plain, what: str) -> None:
    (found,) = refusals(RunningSite(drain(three, "c")), f"switchover-{what}", "c")
    assert "undrain it first" in found
    assert "Fit are:" in found


@pytest.mark.parametrize(("what", "name"), [("database", "a"), ("storing", "b")])
def test_a_switchover_to_who_leads_already_is_nothing_to_refuse(three: Plain, what: str, name: str) -> None:
    assert refusals(RunningSite(three), f"switchover-{what}", name) == []


def test_who_leads_most_comes_last(three: Plain) -> None:
    assert order(RunningSite(three)) == ["c", "b", "a"]


def test_what_is_handed_over_before_a_restart() -> None:
    assert leads_of(["etcd.service", "orthanc-tls.service"]) == ["etcd", "query", "store"]
    assert leads_of(["seaweedfs-s3.service", "keepalived.service"]) == []


def test_units_that_a_check_would_restart() -> None:
    units = load("filter/operations").operation_units
    looked = [
        {"unit": "etcd.service", "action": "restart"},
        {},
        {"results": [{"unit": "x.service", "action": "none"}, {"unit": "y.service", "action": "start"}]},
        {"unit": "haproxy.service", "action": "reload"},
    ]
    assert units(looked) == ["etcd.service", "y.service"]


def test_the_filters_do_not_change_what_they_are_given(three: Plain) -> None:
    before = copy.deepcopy(three)
    filters = load("filter/operations").FilterModule().filters()
    filters["operation_view"](three)
    filters["operation_refusals"](three, "drain", "a")
    assert three == before
