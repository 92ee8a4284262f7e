"""State of a site as ``hapacs status`` prints it."""

from __future__ import annotations

import json

import pytest

from hapacs.site.running import RunningSite
from hapacs.site.summary import summary
from tests.unit.site.documents import BREAK, NAMES, VIP, drain, plain


def test_healthy_site() -> None:
    found = summary(RunningSite.parse(plain(*NAMES)))
    assert found["ok"]
    assert found["virtual_address"] == VIP
    assert found["writer"] == "b"
    assert found["storing"] == {"node": "b", "refusal": None}
    assert [state["database"] for state in found["nodes"].values()] == ["leader", "replica", "replica"]
    assert [state["virtual_address"] for state in found["nodes"].values()] == [False, True, False]
    assert found["nodes"]["c"]["running"] == 2
    assert found["nodes"]["c"]["room"] == {"das_bytes": 100, "das_free_bytes": 50, "cas_used_bytes": 7}
    assert found["nodes"]["c"]["database_room"] == {"bytes": 100 * 2**30, "free_bytes": 50 * 2**30}
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize("way", list(BREAK))
def test_every_problem_is_shown(way: str) -> None:
    site = plain(*NAMES)
    BREAK[way](site)
    found = summary(RunningSite.parse(site))
    assert not found["ok"]
    assert [*found["problems"], *(one for node in found["nodes"].values() for one in node["problems"])]


def test_refusal_of_the_next_image_is_shown() -> None:
    site = plain(*NAMES)
    BREAK["no association"](site)
    found = summary(RunningSite.parse(site))
    assert found["storing"] == {"node": None, "refusal": f"C-ECHO to {VIP} fails: no answer within 3 s"}


def test_silent_node_has_no_state() -> None:
    site = plain(*NAMES)
    BREAK["node off"](site)
    node = summary(RunningSite.parse(site))["nodes"]["c"]
    (problem,) = node["problems"]
    assert problem["subject"] == "node"
    assert "no route to host" in problem["message"]
    assert "switch it on" in problem["remedy"]
    assert (node["running"], node["database"], node["drained"], node["room"]) == (0, None, None, None)


def test_drained_node_is_healthy_and_marked() -> None:
    found = summary(RunningSite.parse(drain(plain(*NAMES), "c")))
    assert found["ok"]
    assert [node["drained"] for node in found["nodes"].values()] == [False, False, True]


def test_no_writer_before_the_first_store() -> None:
    site = plain(*NAMES)
    site["states"]["b"]["balancer"]["writers"] = []
    assert summary(RunningSite.parse(site))["writer"] is None
