"""All nodes and the virtual address are asked at the same time, and none of them delays the answer."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hapacs.site import association
from hapacs.site.access import Node, NodeError, Site
from hapacs.site.collect import collect
from tests.unit.site.documents import NAMES, VIP, address, document

DELAY_S = 0.5


class SlowSite:
    """A site whose nodes and address take their time."""

    vip = VIP
    store_ends = None
    deployment = SimpleNamespace(settings=SimpleNamespace(target=SimpleNamespace(sizing="shared")))

    def __init__(self) -> None:
        self.nodes = {name: Node(name, address(name), address(name), "hapacs", 22) for name in NAMES}
        self.contract = {
            "nodes": {name: {"address": address(name), "zone": name} for name in NAMES},
            "members": {"pacs": list(NAMES), "load_balancer": list(NAMES)},
        }
        self.asked: dict[str, tuple[float, float]] = {}

    def run_script(self, node: Node, _script: object, arguments: Any, *, root: bool, begins_within_s: float) -> Any:
        assert root
        self.asked[node.name] = (begins_within_s, arguments["timeout_s"])
        time.sleep(DELAY_S)
        if node.name == "c":
            raise NodeError(node.name, f"no answer within {begins_within_s:g} s")
        return document(node.name)


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long each C-ECHO was allowed to take."""
    limits: list[float] = []

    def problem(_ends: object, timeout_s: float) -> str:
        limits.append(timeout_s)
        time.sleep(DELAY_S)
        return "no answer"

    monkeypatch.setattr(association, "problem", problem)
    return limits


def test_all_are_asked_at_the_same_time(echo: list[float]) -> None:
    begun = time.monotonic()
    running = collect(cast(Site, SlowSite()), 4)
    assert time.monotonic() - begun < 3 * DELAY_S
    assert list(running.nodes) == ["a", "b"]
    assert running.silent == {"c": "no answer within 4 s"}
    assert running.association == "no answer"
    assert echo


def test_status_waits_for_no_part_longer_than_for_a_node(echo: list[float]) -> None:
    site = SlowSite()
    collect(cast(Site, site), 4)
    assert set(site.asked.values()) == {(4, 4)}
    assert echo == [4]


def test_verification_waits_longer(echo: list[float]) -> None:
    site = SlowSite()
    collect(cast(Site, site))
    assert set(site.asked.values()) == {(20, 10)}
    assert echo == [10]
