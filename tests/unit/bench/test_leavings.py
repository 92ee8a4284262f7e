from typing import Any

import pytest

from hapacs.bench import leavings
from hapacs.errors import HapacsError
from tests.unit.bench import fakes


def room(free: int) -> dict[str, Any]:
    return {"room": {"das_bytes": 10_000, "das_free_bytes": free, "cas_used_bytes": 1}}


def test_the_fullest_node_and_its_reserve_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leavings, "collect", lambda _: {"n1": room(9000), "n2": room(2100), "n3": {"room": None}})
    leavings.require_room(fakes.site(), 1000)
    with pytest.raises(HapacsError, match=r"DAS of n2 has .* free"):
        leavings.require_room(fakes.site(), 1001)


def test_a_node_that_does_not_answer_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leavings, "collect", lambda _: {"n1": room(9000), "n2": {"error": "no SSH"}})
    with pytest.raises(HapacsError, match="n2: no SSH"):
        leavings.require_room(fakes.site(), 1)
