"""The benchmark of the comparison of two sites finds the differences that it made, and none before."""

import pytest

from hapacs.bench import compare
from tests.storage.servers import postgres_programs

pytestmark = pytest.mark.skipif(postgres_programs() is None, reason="PostgreSQL is not installed")


def test_only_the_made_differences_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    monkeypatch.setattr(compare, "PAUSE_S", 0)
    measured = compare.run(1_000, steps.append)
    assert (measured["equal"]["compared"], measured["equal"]["differences"]) == (1_000, 0)
    # Ten are missing, ten have another size, and ten have another UID at each site.
    assert measured["different"]["differences"] == 40
    assert measured["equal"]["bytes"] < measured["different"]["bytes"] < 1_000_000
    assert measured["within"]
    assert len(steps) == 3
