"""What would happen to the next C-STORE, from the balancer with the address, the node's health and a C-ECHO."""

from __future__ import annotations

import pytest

from hapacs.site.problems import Subject, site_problems
from hapacs.site.running import RunningSite
from hapacs.site.storing import Storing, next_store
from tests.unit.site.documents import NAMES, VIP, Document, plain


@pytest.fixture
def site() -> Document:
    """A healthy site whose balancer on ``b`` has chosen ``b``; it is the test's to break."""
    return plain(*NAMES)


def found(site: Document) -> Storing:
    return next_store(RunningSite.parse(site))


def set_status(site: Document, **states: str) -> None:
    for name, status in states.items():
        site["states"]["b"]["balancer"]["servers"]["store_dicom"][name]["status"] = status


def test_chosen_node_stores(site: Document) -> None:
    assert found(site) == Storing("b")


def test_first_node_that_is_up_stores_before_any_was_chosen(site: Document) -> None:
    site["states"]["b"]["balancer"]["writers"] = []
    assert found(site) == Storing("a")
    set_status(site, a="DOWN")
    assert found(site) == Storing("b")


def test_first_node_that_is_up_takes_over_from_a_chosen_one_that_is_not(site: Document) -> None:
    set_status(site, a="MAINT", b="DOWN")
    assert found(site) == Storing("c")


def test_chosen_node_that_is_being_drained_still_stores(site: Document) -> None:
    set_status(site, b="DRAIN")
    assert found(site) == Storing("b")
    site["states"]["b"]["balancer"]["writers"] = []
    set_status(site, a="DRAIN")
    assert found(site) == Storing("c")


def test_only_the_balancer_with_the_address_counts(site: Document) -> None:
    site["states"]["a"]["balancer"]["writers"] = ["a"]
    for server in site["states"]["a"]["balancer"]["servers"]["store_dicom"].values():
        server["status"] = "DOWN"
    assert found(site) == Storing("b")


def test_no_server_that_is_up_refuses(site: Document) -> None:
    set_status(site, a="DOWN", b="DOWN 1/2", c="MAINT")
    assert found(site) == Storing(refusal="the balancer on b has no storing service that is up")


def test_node_that_can_not_write_refuses(site: Document) -> None:
    site["states"]["b"]["health"]["orthanc-store"] = "database: no leader"
    assert found(site).refusal == "orthanc-store on b does not work: database: no leader"


def test_health_of_a_spare_does_not_matter(site: Document) -> None:
    site["states"]["a"]["health"]["orthanc-store"] = "database: no leader"
    assert found(site) == Storing("b")


def test_echo_that_fails_refuses_although_all_else_is_well(site: Document) -> None:
    site["association"] = "no answer within 3 s"
    assert found(site).refusal == f"C-ECHO to {VIP} fails: no answer within 3 s"


def test_storing_node_that_ssh_does_not_reach_can_still_store(site: Document) -> None:
    site["states"]["b"]["addresses"].remove(VIP)
    site["states"]["a"]["addresses"].append(VIP)
    site["states"]["b"] = {"error": "no answer within 4 s"}
    assert found(site) == Storing("b")


def test_node_is_not_known_when_the_one_with_the_address_does_not_answer(site: Document) -> None:
    site["states"]["b"] = {"error": "no answer within 4 s"}
    assert found(site) == Storing()
    site["association"] = "no answer within 3 s"
    assert found(site).refusal == f"C-ECHO to {VIP} fails: no answer within 3 s"


def test_without_an_echo_an_address_that_no_node_holds_refuses(site: Document) -> None:
    site["association"] = None
    site["states"]["b"]["addresses"].remove(VIP)
    assert found(site).refusal == f"no node that answers holds {VIP}"
    site["states"]["b"]["addresses"].append(VIP)
    site["states"]["b"]["balancer"] = {"error": "connection refused"}
    assert found(site).refusal == "HAProxy on b does not answer: connection refused"


def two_off(site: Document) -> None:
    """Leave ``a`` alone: its balancer has given the address up."""
    site["states"].update(b={"error": "no route to host"}, c={"error": "no route to host"})
    site["states"]["a"]["etcd"] = {"error": "context deadline exceeded"}
    site["association"] = "no answer within 3 s"


def test_two_of_three_nodes_that_are_off_are_named_as_no_majority(site: Document) -> None:
    two_off(site)
    assert found(site).refusal == (
        "no majority: no member of etcd commits, 2 of 3 have to run, and b, c do not answer; "
        f"C-ECHO to {VIP} fails: no answer within 3 s"
    )


def test_member_that_answers_without_a_majority_counts_as_none(site: Document) -> None:
    two_off(site)
    site["states"]["a"]["etcd"] = {"number": 101, "leader": 0, "commits": False}
    assert found(site).refusal.startswith("no majority: no member of etcd commits, 2 of 3 have to run")


def test_refusal_while_a_member_of_etcd_commits_has_another_cause(site: Document) -> None:
    two_off(site)
    site["states"]["a"]["etcd"] = {"number": 101, "leader": 103, "commits": True}
    assert found(site).refusal == f"C-ECHO to {VIP} fails: no answer within 3 s"


def test_site_that_stores_lacks_no_majority_although_ssh_reaches_one_node_only(site: Document) -> None:
    two_off(site)
    site["association"] = ""
    assert found(site) == Storing()


def test_refusal_is_a_problem_of_the_site(site: Document) -> None:
    site["association"] = "no answer within 3 s"
    (problem,) = site_problems(RunningSite.parse(site))
    assert (problem.subject, problem.node) == (Subject.STORING, "")
    assert problem.message == f"the next image would be refused: C-ECHO to {VIP} fails: no answer within 3 s"
