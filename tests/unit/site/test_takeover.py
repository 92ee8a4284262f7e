"""The lead moves between two sites: by promotion, or when both have the same images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from hapacs.errors import HapacsError, RefusedError
from hapacs.site import takeover
from hapacs.site.access import Node, NodeError, Site
from hapacs.site.takeover import Sites


@dataclass
class FakeSite:
    """A site of two nodes, whose program answers from this state."""

    name: str
    role: str
    state: str
    term: int = 1
    missing: int = 0
    past_ended: bool = True
    silent: bool = False
    other: dict[str, Any] | None = None
    # After how many looks nothing is missing any more.
    copied_after: int | None = None
    grows_when_fenced: int = 0
    changes: list[tuple[str, int]] = field(default_factory=list)
    resyncs: int = 0

    def __post_init__(self) -> None:
        self.contract = {"role": self.role, "dicom": {}}

    def members(self, _group: str) -> list[Node]:
        return [Node(f"{self.name}{number}", "10.0.0.1", "", "hapacs", 22) for number in (1, 2)]

    def run(self, node: Node, words: Sequence[str], _text: str, _timeout_s: float = 60) -> str:
        if self.silent:
            raise NodeError(node.name, "no answer")
        asked = list(words)[3:]
        if asked[0] == "change":
            state, term, known = asked[1], int(asked[3]), int(asked[5])
            if known != self.term:
                raise NodeError(node.name, f"the term of this site is not {known}")
            self.state, self.term = state, term
            self.changes.append((state, term))
            if state == "fenced":
                self.missing += self.grows_when_fenced
        elif asked[0] == "resync":
            self.resyncs += 1
        elif self.copied_after is not None:
            self.copied_after -= 1
            if self.copied_after <= 0:
                self.missing, self.past_ended = 0, True
        says = {
            "images": self.missing,
            "oldest_s": 9.0,
            "past_ended": self.past_ended,
            "missing": ["1.2"],
            "as_of": "now",
        }
        site = {"role": self.role, "state": self.state, "term": self.term, "other": self.other, "reason": ""}
        return json.dumps({"ok": True, "site": site, "says": says, "fenced": None, "other_site": "x"})


def sites(primary: FakeSite, second: FakeSite) -> Sites:
    return Sites.of([cast(Site, primary), cast(Site, second)])


def nothing(_: str = "") -> None:
    return


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(takeover, "_PERIOD_S", 0.0)


def usual(**primary: Any) -> tuple[FakeSite, FakeSite]:
    said = {"term": 1, "images": 7, "oldest_s": 61.5, "missing": ["1.2", "1.3"], "past_ended": True, "as_of": "12:00"}
    return FakeSite("main", "primary", "leads", **primary), FakeSite("dr", "dr", "follows", other=said)


def test_a_lost_primary_site_is_replaced_and_what_it_said_last_is_kept() -> None:
    primary, second = usual(silent=True)
    report = takeover.promote(sites(primary, second), None, nothing)
    assert second.changes == [("leads", 2)]
    assert primary.changes == []
    assert (report["missing"], report["named"], report["as_of"]) == (7, ["1.2", "1.3"], "12:00")
    assert report["rpo_s"] == 61.5
    assert not report["primary_answered"]


def test_a_primary_site_that_answers_is_not_replaced_without_the_number_of_missing_images() -> None:
    primary, second = usual(missing=3)
    for given in (None, 2):
        with pytest.raises(RefusedError, match="3 of its acknowledged images are not at dr"):
            takeover.promote(sites(primary, second), given, nothing)
    assert primary.changes == second.changes == []


def test_with_that_number_the_primary_site_is_fenced_first() -> None:
    primary, second = usual(missing=3, term=4)
    report = takeover.promote(sites(primary, second), 3, nothing)
    assert primary.changes == [("fenced", 4)]
    assert second.changes == [("leads", 5)]
    assert (report["missing"], report["primary_answered"]) == (3, True)


def test_more_that_came_meanwhile_is_refused_and_the_primary_site_leads_on() -> None:
    primary, second = usual(missing=3, grows_when_fenced=2)
    with pytest.raises(RefusedError, match="5 images are missing"):
        takeover.promote(sites(primary, second), 3, nothing)
    assert primary.state == "leads"
    assert second.changes == []


def test_a_site_that_leads_is_not_promoted_again() -> None:
    primary, second = usual(silent=True)
    second.state = "leads"
    with pytest.raises(RefusedError, match="dr leads already"):
        takeover.promote(sites(primary, second), None, nothing)


def test_the_second_site_has_to_answer() -> None:
    primary, second = usual()
    second.silent = True
    with pytest.raises(HapacsError, match="dr does not answer: dr1: no answer"):
        takeover.promote(sites(primary, second), None, nothing)


def test_the_lead_comes_back_after_both_sites_have_all_images() -> None:
    primary, second = usual(missing=5, copied_after=3)
    primary.state, second.state, second.term = "fenced", "leads", 2
    compared: list[tuple[str, str]] = []

    def prove() -> None:
        compared.append((primary.state, second.state))

    report = takeover.move(sites(primary, second), cast(Site, primary), 60, prove, nothing)
    # They are compared while the one that leads stores.
    assert compared == [("fenced", "leads")]
    assert second.changes == [("fenced", 2), ("follows", 3)]
    assert (primary.state, primary.term) == ("leads", 3)
    assert (second.state, second.term) == ("follows", 3)
    assert report["leads"] == "main"
    assert 0 <= report["held_s"] <= report["seconds"]


def test_a_primary_site_that_has_not_heard_of_the_promotion_is_fenced_first() -> None:
    primary, second = usual()
    second.state, second.term = "leads", 2
    takeover.move(sites(primary, second), cast(Site, primary), 60, nothing, nothing)
    assert primary.changes == [("fenced", 1), ("leads", 3)]


def test_a_planned_move_fences_the_primary_site() -> None:
    primary, second = usual()
    takeover.move(sites(primary, second), cast(Site, second), 60, nothing, nothing)
    assert primary.changes == [("fenced", 1)]
    assert second.changes == [("leads", 2)]


@pytest.mark.parametrize("fault", ["differs", "late"])
def test_when_the_sites_differ_or_images_come_late_the_lead_stays(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    primary, second = usual()
    primary.state, second.state, second.term = "fenced", "leads", 2
    monkeypatch.setattr(takeover, "_HELD_S", 0.0)
    if fault == "late":
        second.grows_when_fenced = 1

    def prove() -> None:
        if fault == "differs":
            raise HapacsError("they differ", "")

    with pytest.raises(HapacsError, match="they differ" if fault == "differs" else "Not all images and deletions"):
        takeover.move(sites(primary, second), cast(Site, primary), 60, prove, nothing)
    assert (second.state, second.term) == ("leads", 2)
    assert primary.state == "fenced"


def test_images_that_are_not_copied_in_time_stop_it_before_anything_is_changed() -> None:
    primary, second = usual(missing=2)
    primary.state, second.state, second.term = "fenced", "leads", 2
    with pytest.raises(HapacsError, match="2 of main, 0 of dr"):
        takeover.move(sites(primary, second), cast(Site, primary), 0, nothing, nothing)
    assert second.changes == []


def test_an_interrupted_move_can_be_repeated() -> None:
    primary, second = usual()
    primary.state, second.state, second.term = "fenced", "fenced", 2
    takeover.move(sites(primary, second), cast(Site, primary), 60, nothing, nothing)
    assert (primary.state, second.state) == ("leads", "follows")


def test_the_site_that_leads_is_not_given_the_lead() -> None:
    primary, second = usual()
    with pytest.raises(RefusedError, match="main leads already"):
        takeover.move(sites(primary, second), cast(Site, primary), 60, nothing, nothing)


def test_a_deployment_without_a_second_site_is_refused() -> None:
    with pytest.raises(RefusedError, match="no second site"):
        Sites.of([cast(Site, FakeSite("main", "primary", "leads"))])


def test_resync_is_asked_of_one_node() -> None:
    site = FakeSite("main", "primary", "leads")
    takeover.resync(cast(Site, site))
    assert site.resyncs == 1
