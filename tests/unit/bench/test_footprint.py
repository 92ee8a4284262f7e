"""Room for a benchmark's images."""

from __future__ import annotations

import pytest

from hapacs.bench import footprint
from hapacs.errors import HapacsError
from hapacs.site import second_site
from hapacs.site.access import NodeError
from hapacs.site.running import RunningSite
from tests.unit.bench import fakes
from tests.unit.site.documents import NAMES, plain


def with_room(monkeypatch: pytest.MonkeyPatch, **free: int | None) -> None:
    site = plain(*NAMES)
    for name, number in free.items():
        room = None if number is None else {"das_bytes": 10_000, "das_free_bytes": number, "cas_used_bytes": 1}
        site["states"][name].update(room=room)
    monkeypatch.setattr(footprint, "collect", lambda _: RunningSite.parse(site))


def test_fullest_node_and_its_reserve_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    with_room(monkeypatch, a=9000, b=2100, c=None)
    footprint.require_room(fakes.site(), 1000)
    with pytest.raises(HapacsError, match=r"DAS of b has .* free"):
        footprint.require_room(fakes.site(), 1001)


def test_silent_node_is_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    site = plain(*NAMES)
    site["states"]["c"] = {"error": "no route to host"}
    monkeypatch.setattr(footprint, "collect", lambda _: RunningSite.parse(site))
    with pytest.raises(NodeError, match="c by SSH: no route to host"):
        footprint.require_room(fakes.site(), 1)


def test_a_measurement_waits_for_the_copies_and_says_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    left = iter((5, 2, 0))

    def lag(*_: object) -> dict[str, object]:
        return {"name": "dr", "images": next(left), "unplanned": 0, "past_images": 0}

    monkeypatch.setattr(second_site, "lag", lag)
    monkeypatch.setattr(footprint, "_LOOK_EVERY_S", 0)
    steps: list[str] = []
    assert footprint.wait_for_copies(fakes.site(), steps.append) == 0
    assert steps == ["waiting until dr has 5 images", "waiting until dr has 2 images"]
    left = iter((9, 8))
    assert footprint.wait_for_copies(fakes.site(), steps.append, 0) == 9
    monkeypatch.setattr(second_site, "lag", lambda *_: None)
    assert footprint.wait_for_copies(fakes.site(), steps.append) == 0
    monkeypatch.setattr(second_site, "lag", lambda *_: {"name": "dr", "unknown": "no node answers"})
    with pytest.raises(HapacsError, match="does not say what dr lacks: no node answers"):
        footprint.wait_for_copies(fakes.site(), steps.append)
