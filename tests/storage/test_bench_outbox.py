"""The benchmark of the outbox stores and claims beside its made tasks, and says how long that took."""

from __future__ import annotations

import pytest

from hapacs.bench import outbox
from tests.storage.servers import postgres_programs

pytestmark = pytest.mark.skipif(postgres_programs() is None, reason="PostgreSQL is not installed")
CLAIMERS = 2


def test_stores_and_claims_are_measured_beside_made_tasks() -> None:
    steps: list[str] = []
    measured = outbox.run(5_000, steps.append, rounds=1, claims=3)
    assert {name: len(side["rounds"]) for name, side in measured["stores"].items()} == {"few": 1, "many": 1}
    assert {name: claim["count"] for name, claim in measured["claims"].items()} == dict.fromkeys(
        ("few", "many", "beside_many"), 3 * CLAIMERS
    )
    assert measured["ratio"] == round(measured["stores"]["many"]["rate"] / measured["stores"]["few"]["rate"], 3)
    assert len(steps) == 3
