"""The benchmark of routing, with a site of which nothing runs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from hapacs.bench import backlog, dcmtk, routing
from hapacs.bench.backlog import DEAD, LIVE, Options
from hapacs.dicom import marks
from hapacs.errors import HapacsError, RefusedError
from hapacs.load.images import Study
from hapacs.settings import StaticTarget
from hapacs.site.database import Database
from hapacs_node.routing.model import Routing
from tests.unit.bench import fakes


class Outbox:
    """An outbox whose clock goes on when it is looked at."""

    host = "192.0.2.1"

    def __init__(self, per_look: Mapping[str, int]) -> None:
        self.per_look = per_look
        self.waiting = {DEAD: 0, LIVE: 0}
        self.confirmed = {DEAD: 0, LIVE: 0}
        self.held = {DEAD: False, LIVE: False}
        self.tried = 0
        self.down = True
        self.rules: list[Mapping[str, Any]] = []
        self.removed: list[str] = []
        self.confirmed_at = {DEAD: 0.0, LIVE: 0.0}
        self.now = 1000.0

    def load(self, routing: Mapping[str, Any]) -> None:
        self.rules.append(routing)

    def store(self, studies: Sequence[Study]) -> list[str]:
        for name in self.waiting:
            self.waiting[name] += sum(len(study.images) for study in studies)
        return []

    def rows(self, sql: str) -> list[str]:
        (name,) = set(re.findall(f"{DEAD}|{LIVE}", sql))
        if "delete" in sql:
            self.removed.append(name)
        elif "held = true" in sql:
            self.held[name] = True
        elif "held = false" in sql:
            self.held[name] = False
        elif "count(*)" in sql:
            counts = {"waiting": self.waiting[name], "confirmed": self.confirmed[name], "in flight": 0}
            return [str(next(count for state, count in counts.items() if f"'{state}'" in sql))]
        else:
            self._look(name)
            return [f"{self.confirmed[name]}|{self.confirmed_at[name]}"]
        return []

    def _look(self, name: str) -> None:
        self.now += 1
        beside = name == LIVE and not self.held[DEAD]
        self.tried += beside
        if not self.held[name] and not (name == DEAD and self.down):
            sent = min(self.per_look["beside" if beside else name], self.waiting[name])
            self.waiting[name] -= sent
            self.confirmed[name] += sent
            self.confirmed_at[name] = self.now if sent else self.confirmed_at[name]


class Peer:
    """A destination that the outbox sends to once both are started."""

    started = 0

    def __init__(self, outbox: Outbox) -> None:
        self.outbox, self.port = outbox, 11112

    def start(self) -> None:
        Peer.started += 1
        self.outbox.down = Peer.started < 2

    def stop(self) -> None:
        """Nothing runs."""


@pytest.fixture
def outbox(monkeypatch: pytest.MonkeyPatch) -> Outbox:
    made = Outbox({LIVE: 20, "beside": 18, DEAD: 30})
    monkeypatch.setattr(Peer, "started", 0)
    monkeypatch.setattr(dcmtk, "Destination", lambda: Peer(made))
    monkeypatch.setattr(dcmtk, "send", _files_a_second)
    monkeypatch.setattr(backlog, "_POLL_S", 0)
    return made


def _files_a_second(files: Sequence[Path], _: int) -> float:
    assert all(path.read_bytes()[128:132] == b"DICM" for place in files for path in place.iterdir())
    return float(sum(len(list(place.iterdir())) for place in files))


def test_rates_are_compared_with_storescu_and_with_the_live_destination_alone(outbox: Outbox) -> None:
    found = backlog.run(outbox, Options(600, 8, 2))
    # A fifth of the images goes by storescu.
    assert found["ratio"] == pytest.approx(30 / 120)
    assert found["live_ratio"] == pytest.approx(18 / 20)
    assert (found["failed"], found["instances"], outbox.tried > 0) == (0, 600, True)


def test_tasks_and_destinations_are_removed_also_those_of_an_interrupted_run(outbox: Outbox) -> None:
    backlog.run(outbox, Options(600, 8, 2))
    assert outbox.removed == [DEAD, LIVE, DEAD, LIVE]


def test_its_rules_are_sound_and_match_only_made_images(outbox: Outbox) -> None:
    backlog.run(outbox, Options(600, 8, 3))
    rules = Routing.model_validate(outbox.rules[0])
    assert {one.parallel for one in rules.destinations.values()} == {3}
    assert rules.rules[0].destinations == (DEAD, LIVE)
    assert rules.rules[0].when[0].matches == f"{marks.BENCH}.*"


def test_a_destination_that_gets_nothing_ends_the_run(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "_PATIENCE_S", 0)
    outbox.per_look = {LIVE: 0, "beside": 0, DEAD: 0}
    with pytest.raises(HapacsError, match="confirmed 0 of 100 images"):
        backlog.run(outbox, Options(600, 8, 2))
    assert outbox.removed[-2:] == [DEAD, LIVE]


def test_a_site_of_patients_keeps_its_rules() -> None:
    site = fakes.site()
    site.deployment.settings.target = StaticTarget.model_construct(kind="static")
    with pytest.raises(RefusedError, match="in a lab only"):
        routing.run(site, Options())


def test_the_rules_that_were_there_are_loaded_again_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.World(monkeypatch)
    site, loaded = fakes.site(), []
    site.destination = ("TESTER", "10.0.0.1", 11199)
    site.run = lambda _node, _words, text, _timeout_s: loaded.append(json.loads(text))
    before = {"rules": [{"name": "all", "destinations": ["a"]}]}

    class Rows:
        def rows(self, sql: str) -> list[str]:
            return [json.dumps(before)] if "ruleset" in sql else []

    def fail(*_: object) -> None:
        raise HapacsError("The peer failed.", "Try again.")

    monkeypatch.setattr(Database, "of", lambda _: Rows())
    monkeypatch.setattr(backlog, "run", fail)
    with pytest.raises(HapacsError, match="The peer failed"):
        routing.run(site, Options())
    assert loaded == [before]
