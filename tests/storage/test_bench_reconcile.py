"""The benchmark of reconcile compares all of its made rows, in a process of its own, and they agree."""

from __future__ import annotations

import pytest

from hapacs.bench import reconcile
from tests.storage.servers import postgres_programs

pytestmark = pytest.mark.skipif(postgres_programs() is None, reason="PostgreSQL is not installed")


def test_every_made_row_is_compared_and_agrees() -> None:
    steps: list[str] = []
    measured = reconcile.run(1_000, steps.append)
    # Each pass reads the catalog. 500 images have an object of their own, the others share 125 packs.
    assert measured["compared"] == {"catalog": 3_000, "index": 1_000, "archive": 625, "das": 0}
    assert measured["findings"] == 0
    assert measured["within"]
    assert measured["most_bytes"] > 10_000_000
    assert len(steps) == 2
