"""The benchmark of copies, with a site and an outbox of which nothing runs."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

from hapacs.bench import backlog, copies, footprint
from hapacs.bench.copies import Options
from hapacs.bench.routing import Subject
from hapacs.errors import HapacsError, RefusedError
from hapacs.load import burst
from hapacs.load.burst import Outcome
from hapacs.load.images import Study
from hapacs.settings import StaticTarget
from hapacs.site import second_site
from hapacs.site.database import Database
from tests.unit.bench import fakes

OPTIONS = Options(associations=2, instances=10, rows=16, rounds=3, backlog=120)
RULES = {"rules": [{"name": "all", "destinations": ["a"]}], "second_site": {"name": "dr", "url": "u", "past": True}}
LAG = {"name": "dr", "state": "leads", "held": False, "images": 0, "unplanned": 0, "past_images": 0}
SECONDS = {"off": 0.4, "on": 0.5}
RESPONSES = {"nothing": 0.1, "backlog": 0.2}


class Copying:
    """A site whose outbox copies `per_round` images while a round is stored, and everything when it is waited for.

    Attributes
    ----------
    happened
        What was done, in its order.
    fails_after
        Rounds after which no store is acknowledged.
    """

    def __init__(self, world: fakes.World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world, self.happened = world, world.events
        self.rules: dict[str, Any] = RULES
        self.held, self.waiting, self.per_round = False, 0, 25
        self.rounds, self.fails_after = 0, 10**9
        self.sent = list[Study]()
        self.site = fakes.site()
        monkeypatch.setattr(Database, "of", lambda _: self)
        monkeypatch.setattr(Subject, "load", lambda _, rules: self.load(rules))
        monkeypatch.setattr(burst, "send", lambda _caller, _peer, studies: self._send(studies))
        monkeypatch.setattr(footprint, "wait_for_copies", lambda *_: self._drain())
        monkeypatch.setattr(second_site, "lag", lambda *_: LAG)
        monkeypatch.setattr(backlog, "_POLL_S", 0)

    def rows(self, sql: str) -> list[str]:
        if "ruleset" in sql:
            return [json.dumps(RULES)]
        assert "'other site'" in sql
        if found := re.search("held = (true|false)", sql):
            self.held = found[1] == "true"
            self.happened.append("held" if self.held else "released")
            return []
        return [str(self.waiting if "'waiting'" in sql else 0)]

    def load(self, rules: dict[str, Any]) -> None:
        self.rules = rules
        self.happened.append(f"copies {self.copies}")

    @property
    def copies(self) -> str:
        return "on" if "second_site" in self.rules else "off"

    def _send(self, studies: Sequence[Study]) -> Outcome:
        count = sum(len(study.images) for study in studies)
        self.sent += studies
        self.rounds += 1
        beside = "backlog" if self.waiting and not self.held else "nothing"
        self.happened.append(f"stored {count} beside {beside}, copies {self.copies}")
        if self.copies == "on":
            self.waiting += count
        if not self.held:
            self.waiting = max(0, self.waiting - self.per_round)
        if self.rounds > self.fails_after:
            return Outcome(1, [], ["status 0xA700"] * count)
        return Outcome(SECONDS[self.copies], [RESPONSES[beside]] * count, cpu_s=0.1)

    def _drain(self) -> int:
        self.waiting = 0
        self.happened.append("drained")
        return 0


@pytest.fixture
def copying(monkeypatch: pytest.MonkeyPatch) -> Copying:
    return Copying(fakes.World(monkeypatch), monkeypatch)


def test_copies_are_compared_in_turns_and_stores_beside_a_backlog(copying: Copying) -> None:
    found = copies.run(copying.site, OPTIONS)
    assert (found["ratio"], found["p95_ratio"], found["failed"]) == (0.8, 2.0, 0)
    assert found["copies"]["off"]["per_s"]["rounds"] == [25, 25, 25]
    assert found["copies"]["on"]["per_s"]["rounds"] == [20, 20, 20]
    assert found["beside"]["nothing"]["p95_ms"]["rounds"] == [100, 100, 100]
    assert found["beside"]["backlog"]["p95_ms"]["rounds"] == [200, 200, 200]
    turns = [text[-3:].strip() for text in map(str, copying.happened) if text.startswith("stored 10 ")][:8]
    assert turns == ["off", "on", "on", "off", "off", "on", "on", "off"]
    assert sum(len(study.images) for study in copying.sent) * 2 * 16**2 == OPTIONS.image_bytes


def test_no_copies_of_an_earlier_round_are_under_way(copying: Copying) -> None:
    copies.run(copying.site, OPTIONS)
    begun = copying.happened.index("drained")
    assert begun < copying.happened.index("copies off"), "nothing of before the run is under way"
    rounds = [(one, after) for one, after in pairwise(copying.happened) if str(one).startswith("stored 10 ")]
    assert all(after == "drained" for one, after in rounds if one == "stored 10 beside nothing, copies on")


def test_backlog_is_stored_while_copies_are_held_and_rounds_without_one_surround_it(copying: Copying) -> None:
    copies.run(copying.site, OPTIONS)
    held, released = copying.happened.index("held"), copying.happened.index("released")
    assert copying.happened[held + 1 : released] == ["stored 120 beside nothing, copies on"]
    alone = "stored 10 beside nothing, copies on"
    assert copying.happened[released + 1 : released + 4] == ["stored 10 beside backlog, copies on"] * 3
    assert (alone in copying.happened[:held], alone in copying.happened[released:]) == (True, True)


def test_past_images_are_not_copied_meanwhile(copying: Copying, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[dict[str, Any]] = []
    load = copying.load

    def note(_: Subject, rules: dict[str, Any]) -> None:
        loaded.append(rules)
        load(rules)

    monkeypatch.setattr(Subject, "load", note)
    copies.run(copying.site, OPTIONS)
    off, on = {"rules": RULES["rules"]}, {**RULES, "second_site": {"name": "dr", "url": "u", "past": False}}
    assert all(rules in (off, on) for rules in loaded[:-1])
    assert loaded[-2:] == [on, RULES]


@pytest.mark.parametrize("fails_after", [0, 1, 2, 10], ids=["warm-up", "copies on", "copies off", "backlog"])
def test_copies_go_on_as_before_after_a_failure(copying: Copying, fails_after: int) -> None:
    copying.fails_after = fails_after
    with pytest.raises(HapacsError):
        copies.run(copying.site, OPTIONS)
    assert (copying.rules, copying.held) == (RULES, False)
    assert copying.happened[-3:-1] == ["released", "copies on"]
    assert copying.happened[-1][0] == "removed"


def test_rounds_after_the_backlog_is_sent_do_not_count(copying: Copying) -> None:
    copying.per_round = 60
    assert len(copies.run(copying.site, OPTIONS)["beside"]["backlog"]["p95_ms"]["rounds"]) == 2
    copying.per_round = 130
    with pytest.raises(HapacsError, match="backlog of 120 images was sent before a round was over"):
        copies.run(copying.site, OPTIONS)


def test_copies_that_do_not_come_end_the_run(copying: Copying, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "wait_for_copies", lambda *_: 1200)
    with pytest.raises(HapacsError, match="The other site lacks 1,200 images after 912 s"):
        copies.run(copying.site, OPTIONS)
    assert copying.rules == RULES


def test_lost_image_is_a_failure(copying: Copying, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "found", lambda _, studies: sum(len(study.images) for study in studies) - 2)
    assert copies.run(copying.site, OPTIONS)["failed"] == 2


def test_pixels_of_a_backlog_are_not_kept_in_memory(copying: Copying, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Study] = []
    monkeypatch.setattr(footprint, "remove", lambda _, studies: kept.extend(studies))
    copies.run(copying.site, OPTIONS)
    assert [study.uid for study in kept] == [study.uid for study in copying.sent]
    assert {image.dataset for study in kept for image in study.images} == {b""}


@pytest.mark.parametrize(
    ("lag", "said"),
    [
        (None, "primary copies no images"),
        (LAG | {"held": True}, "An operator holds the copies to dr"),
        (LAG | {"state": "follows"}, "primary does not lead, its state is follows"),
    ],
)
def test_site_whose_copies_do_not_run_is_refused(
    copying: Copying, monkeypatch: pytest.MonkeyPatch, lag: dict[str, Any] | None, said: str
) -> None:
    monkeypatch.setattr(second_site, "lag", lambda *_: lag)
    with pytest.raises(RefusedError, match=said):
        copies.run(copying.site, OPTIONS)
    assert copying.happened == []


def test_site_of_patients_keeps_its_copies(copying: Copying) -> None:
    copying.site.deployment.settings.target = StaticTarget.model_construct(kind="static")
    with pytest.raises(RefusedError, match="in a lab only"):
        copies.run(copying.site, OPTIONS)
    assert copying.happened == []
