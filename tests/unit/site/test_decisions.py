"""Whether an operation may begin, which node takes over, and in which order nodes are touched."""

from __future__ import annotations

import copy

import pytest

from hapacs.site.decisions import heir, order, refusals, restoring, view
from hapacs.site.problems import blocking_problems
from hapacs.site.running import RunningSite
from tests.unit.ansible.loading import load
from tests.unit.site.documents import BREAK, NAMES, Document, drain, plain


@pytest.fixture
def three() -> Document:
    return plain(*NAMES)


def refused(site: Document, verb: str, node: str = "") -> list[str]:
    return refusals(RunningSite.parse(site), verb, node)


def test_view_names_leads_and_nodes_out_of_service(three: Document) -> None:
    found = view(RunningSite.parse(drain(three, "a")))
    leads = {key: found[key] for key in ("database", "archive", "stores", "address", "etcd")}
    assert leads == {"database": "a", "archive": "a", "stores": "b", "address": "b", "etcd": "c"}
    assert found["drained"] == ["a"]
    assert found["paused"] == found["silent"] == []
    three["states"]["c"] = {"error": "off"}
    found = view(RunningSite.parse(three))
    assert (found["answering"], found["silent"]) == (["a", "b"], ["c"])
    assert [one["node"] for one in found["certificates"]] == ["a", "b"]


@pytest.mark.parametrize("name", NAMES)
def test_healthy_site_spares_any_one_node(three: Document, name: str) -> None:
    assert refused(three, "whole") == []
    assert refused(three, "drain", name) == []


def test_draining_again_is_allowed(three: Document) -> None:
    assert refused(drain(three, "c"), "drain", "c") == []


def test_second_node_is_not_drained(three: Document) -> None:
    found = refused(drain(three, "c"), "drain", "a")
    assert any("etcd has no majority" in one for one in found)
    assert any("no second database" in one for one in found)
    assert all("Undrain c first" in one for one in found)


def test_only_node_is_not_drained() -> None:
    (found,) = refused(plain("a"), "drain", "a")
    assert "last node in service" in found
    assert "three nodes" in found
    (found,) = refused(plain("a"), "switchover-database")
    assert "has one node" in found


@pytest.mark.parametrize("verb", ["whole", "drain", "switchover-database", "switchover-storing", "switchover-address"])
@pytest.mark.parametrize("way", list(BREAK))
def test_broken_site_is_left_alone(three: Document, way: str, verb: str) -> None:
    BREAK[way](three)
    site = RunningSite.parse(three)
    leaving = "a" if verb == "drain" else ""
    expected = [str(problem) for problem in blocking_problems(site, leaving)]
    assert refusals(site, verb, leaving) == expected


@pytest.mark.parametrize("way", ["orthanc", "unit", "etcd", "standby", "balancer", "das"])
def test_unhealthy_node_may_be_drained(three: Document, way: str) -> None:
    BREAK[way](three)
    assert refused(three, "drain", "c") == []


@pytest.mark.parametrize("way", ["orthanc", "unit", "etcd", "standby", "balancer"])
def test_unhealthy_node_is_not_undrained(three: Document, way: str) -> None:
    BREAK[way](three)
    assert refused(drain(three, "c"), "undrain", "c") != []


@pytest.mark.parametrize("way", ["certificate", "paused", "no association"])
def test_what_an_operation_repairs_does_not_forbid_it(three: Document, way: str) -> None:
    BREAK[way](three)
    assert refused(three, "whole") == []


@pytest.mark.parametrize("way", list(BREAK))
def test_fault_may_be_injected_into_a_broken_site(three: Document, way: str) -> None:
    BREAK[way](three)
    assert refused(three, "any") == []


def test_last_storing_service_that_is_up_is_not_drained(three: Document) -> None:
    for name in ("a", "b", "c"):
        servers = three["states"][name]["balancer"]["servers"]["store_dicom"]
        servers["a"]["status"] = servers["c"]["status"] = "DOWN"
    (found,) = refused(three, "drain", "b")
    assert found == "without b no storing service is up: the balancers find a, c down. Repair it first"
    assert refused(three, "drain", "a") == []
    three["states"]["c"]["balancer"]["servers"]["store_dicom"]["c"]["status"] = "UP"
    assert refused(three, "drain", "b") == [], "one balancer that stays can use it"


def test_what_the_balancer_that_leaves_finds_does_not_count(three: Document) -> None:
    for server in three["states"]["b"]["balancer"]["servers"]["store_dicom"].values():
        server["status"] = "DOWN"
    assert refused(three, "drain", "b") == []


def test_node_is_undrained_while_another_is_off(three: Document) -> None:
    drain(three, "a")
    BREAK["node off"](three)
    assert refused(three, "undrain", "a") == []
    (found,) = refused(three, "undrain", "c")
    assert found.startswith("c does not answer by SSH (no route to host): switch it on")


def test_node_that_is_off_is_not_drained(three: Document) -> None:
    BREAK["node off"](three)
    (found,) = refused(three, "drain", "c")
    assert found.startswith("c does not answer by SSH (no route to host)")


def test_unknown_node_is_refused_with_the_names_of_all(three: Document) -> None:
    assert refused(three, "drain", "d") == ["there is no node d; there are a, b, c"]


def test_unknown_verb_is_an_error(three: Document) -> None:
    with pytest.raises(ValueError, match="no 'dance'"):
        refused(three, "dance")


def test_best_standby_takes_over_the_database(three: Document) -> None:
    for one in three["states"].values():
        one["patroni"]["members"][1]["lag"] = 4096
    assert heir(RunningSite.parse(three), "database", []) == "c"
    assert heir(RunningSite.parse(three), "database", ["c"]) == "b"


def test_another_healthy_node_takes_over_storing(three: Document) -> None:
    assert heir(RunningSite.parse(three), "storing", []) == "a"
    three["states"]["b"]["balancer"]["servers"]["store_dicom"]["a"]["status"] = "DOWN"
    assert heir(RunningSite.parse(three), "storing", []) == "c"
    three["states"]["c"]["health"]["orthanc-store"] = "ill"
    assert heir(RunningSite.parse(three), "storing", []) == ""


def test_another_balancer_that_finds_a_storing_service_takes_over_the_address(three: Document) -> None:
    assert heir(RunningSite.parse(three), "address", []) == "a"
    for server in three["states"]["a"]["balancer"]["servers"]["store_dicom"].values():
        server["status"] = "DOWN"
    assert heir(RunningSite.parse(three), "address", []) == "c"
    three["states"]["c"]["balancer"]["error"] = "no socket"
    assert heir(RunningSite.parse(three), "address", []) == ""


def test_etcd_is_led_apart_from_the_database(three: Document) -> None:
    assert heir(RunningSite.parse(three), "etcd", ["c"]) == "b"
    assert heir(RunningSite.parse(drain(three, "b")), "etcd", ["c"]) == "a"


def test_archive_is_led_beside_the_database_where_that_is_possible(three: Document) -> None:
    assert heir(RunningSite.parse(three), "archive", ["b"]) == "a"
    assert heir(RunningSite.parse(three), "archive", ["a"]) == "b"
    assert heir(RunningSite.parse(drain(three, "b")), "archive", ["a"]) == "c"
    BREAK["node off"](three)
    assert heir(RunningSite.parse(three), "archive", ["a"]) == ""


@pytest.mark.parametrize("lead", ["database", "storing", "address"])
def test_switchover_to_a_drained_node_is_refused(three: Document, lead: str) -> None:
    (found,) = refused(drain(three, "c"), f"switchover-{lead}", "c")
    assert "undrain it first" in found
    assert "Nodes that can: " in found
    assert "c" not in found.partition("Nodes that can: ")[2]


@pytest.mark.parametrize(("lead", "name"), [("database", "a"), ("storing", "b"), ("address", "b")])
def test_switchover_to_the_present_leader_is_allowed(three: Document, lead: str, name: str) -> None:
    assert refused(three, f"switchover-{lead}", name) == []


def test_node_with_most_leads_is_touched_last(three: Document) -> None:
    assert order(RunningSite.parse(three)) == ["c", "b", "a"]


def test_units_that_a_check_would_restart() -> None:
    units = load("filter/operations").operation_units
    looked = [
        {"unit": "etcd.service", "action": "restart"},
        {},
        {"results": [{"unit": "x.service", "action": "none"}, {"unit": "y.service", "action": "start"}]},
        {"unit": "haproxy.service", "action": "reload"},
    ]
    assert units(looked) == ["etcd.service", "y.service"]


def test_filters_leave_their_input_unchanged(three: Document) -> None:
    before = copy.deepcopy(three)
    filters = load("filter/operations").FilterModule().filters()
    assert filters["operation_view"](three)["database"] == "a"
    assert filters["operation_refusals"](three, "drain", "a") == []
    assert three == before


@pytest.mark.parametrize("way", [way for way in BREAK if way != "node off"])
def test_database_of_a_broken_site_may_be_restored(three: Document, way: str) -> None:
    BREAK[way](three)
    assert refused(three, "restore") == []


def test_database_is_not_restored_while_a_member_is_off(three: Document) -> None:
    three["states"]["c"] = {"error": "no route to host"}
    (found,) = refused(three, "restore")
    assert "c does not answer by SSH (no route to host)" in found


def test_database_is_not_restored_without_a_majority_of_etcd(three: Document) -> None:
    for state in three["states"].values():
        state["etcd"]["commits"] = False
    (found,) = refused(three, "restore")
    assert "etcd commits nothing" in found


NONE, DONE = {"target": "", "phase": "none"}, {"target": "then", "phase": "done"}
BEGUN, ASIDE = {"target": "then", "phase": "recovered"}, {"target": "", "phase": "aside"}


@pytest.mark.parametrize(
    ("states", "target", "chosen"),
    [
        ({"a": NONE, "b": NONE}, "then", {"node": "b", "done": False}),
        ({"a": BEGUN, "b": NONE}, "then", {"node": "a", "done": False}),
        ({"a": BEGUN, "b": NONE}, "another", {"node": "b", "done": False}),
        ({"a": DONE, "b": ASIDE}, "then", {"node": "a", "done": True}),
        ({"a": DONE, "b": ASIDE}, "another", {"node": "b", "done": False}),
        # What is newest now was not when it was restored last.
        ({"a": DONE | {"target": ""}, "b": ASIDE}, "", {"node": "b", "done": False}),
        ({"a": ASIDE, "b": BEGUN | {"target": ""}}, "", {"node": "b", "done": False}),
    ],
)
def test_interrupted_restore_goes_on_where_it_was_and_else_on_the_leader(
    states: dict[str, Document], target: str, chosen: Document
) -> None:
    assert restoring(states, target, "b") == chosen


def test_first_member_is_restored_when_nobody_leads() -> None:
    assert restoring({"a": NONE, "b": NONE}, "", "") == {"node": "a", "done": False}
