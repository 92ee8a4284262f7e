from itertools import pairwise
from typing import Any

import pytest

from hapacs.bench import retrieve
from hapacs.bench.fetch import Fetched
from hapacs.bench.retrieve import Options
from hapacs.errors import HapacsError
from hapacs.load import burst
from hapacs.load.burst import Outcome
from hapacs.load.images import Study
from tests.unit.bench import fakes

OPTIONS = Options(instances=5, rows=16, rounds=2)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> fakes.World:
    world = fakes.World(monkeypatch)
    monkeypatch.setattr(burst, "send", lambda *_: Outcome(1, [0.1]))
    return world


def doors(
    monkeypatch: pytest.MonkeyPatch, world: fakes.World, seconds: dict[tuple[str, str], float], wrong: int = 0
) -> list[tuple[str, str, str]]:
    """Let each side take so long by each method, and return what was fetched."""
    fetched: list[tuple[str, str, str]] = []

    def door(side: str, method: str) -> Any:
        def fetch(study: Study) -> Fetched:
            fetched.append((side, method, study.uid))
            return Fetched(seconds[side, method], 0.0, wrong)

        return fetch

    def all_doors(side: str) -> Any:
        return lambda *_: {method: door(side, method) for method in retrieve.METHODS}

    monkeypatch.setattr(retrieve, "_bare_doors", all_doors("bare"))
    monkeypatch.setattr(retrieve, "_site_doors", all_doors("site"))
    warm_up = lambda *_: world.events.append("warmed up")  # noqa: E731
    monkeypatch.setattr(retrieve, "_warm_up", warm_up)
    return fetched


SECONDS = {("site", "wado-rs"): 2.0, ("bare", "wado-rs"): 1.0, ("site", "c-get"): 4.0, ("bare", "c-get"): 1.0}


def test_the_slower_method_is_the_ratio(world: fakes.World, monkeypatch: pytest.MonkeyPatch) -> None:
    doors(monkeypatch, world, SECONDS)
    found = retrieve.run(fakes.site(), OPTIONS)
    assert (found["warm_ratio"], found["cold_ratio"], found["failed"]) == (0.25, 0.25, 0)
    assert found["warm"]["wado-rs"]["ratio"] == 0.5
    assert found["cold"]["wado-rs"]["site"]["per_s"]["rounds"] == [2.5, 2.5]


def test_cold_studies_were_never_read_before(world: fakes.World, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = doors(monkeypatch, world, SECONDS)
    retrieve.run(fakes.site(), OPTIONS)
    cold, warm = fetched[:8], fetched[8:]
    assert len(set(cold)) == 8
    assert len({uid for *_, uid in cold}) == 4
    assert len({uid for *_, uid in warm}) == 2
    assert {uid for *_, uid in cold}.isdisjoint({uid for *_, uid in warm})
    assert world.events == [
        ("room", 2 * OPTIONS.image_bytes), "bare runs", ("emptied", 4), "warmed up", "bare is gone", ("removed", 6),
    ]  # fmt: skip


def test_the_sides_take_turns(world: fakes.World, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = doors(monkeypatch, world, SECONDS)
    retrieve.run(fakes.site(), OPTIONS)
    sides = [side for side, method, _ in fetched if method == "c-get"]
    assert sides == ["site", "bare", "bare", "site"] * 2
    assert sum(first != second for first, second in pairwise(sides)) == 4


def test_changed_instances_are_failures(world: fakes.World, monkeypatch: pytest.MonkeyPatch) -> None:
    doors(monkeypatch, world, SECONDS, wrong=1)
    assert retrieve.run(fakes.site(), OPTIONS)["failed"] == 16


def test_a_study_that_is_not_stored_ends_it_and_nothing_is_left(
    world: fakes.World, monkeypatch: pytest.MonkeyPatch
) -> None:
    doors(monkeypatch, world, SECONDS)
    monkeypatch.setattr(burst, "send", lambda *_: Outcome(1, [], ["status 0xA700"]))
    with pytest.raises(HapacsError, match="BARE did not store a study: status 0xA700"):
        retrieve.run(fakes.site(), OPTIONS)
    assert world.events[-1] == ("removed", 0)


def test_studies_do_not_all_fit_into_the_memory_of_an_orthanc() -> None:
    options = Options()
    assert 2 * options.instances * 2 * options.rows**2 > 128 * 2**20
