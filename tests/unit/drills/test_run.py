"""The frame of a drill: void without proof, healed in every case, and red when anything is not as promised."""

from __future__ import annotations

import dataclasses
import time

import pytest

from hapacs.drills import run
from hapacs.drills.model import Drill, Injected, Kept, Lacking, Prepared, Result
from hapacs.errors import HapacsError, RefusedError
from tests.unit.drills.fakes import DRILL, ELSEWHERE, FakeLoad, FakeScene, conductor


def test_fault_that_harms_nothing_is_ok() -> None:
    scene = FakeScene()
    result = conductor(scene).conduct(DRILL, FakeLoad(), 7)
    assert (result.ok, result.void, result.reasons, result.outage_s) == (True, False, [], 0)
    assert (result.node, result.proof, result.seed) == ("pacs1", "2 processes are gone", 7)
    assert result.marks["fault"] <= result.marks["heal"]


def test_watcher_starts_before_the_fault_and_ends_after_the_healing() -> None:
    scene = FakeScene()
    conductor(scene).conduct(DRILL, FakeLoad(), 0)
    assert scene.happened == ["problems", "prepare", "watch pacs1", "inject", "heal", "unwatch", "problems"]


def test_site_that_is_not_whole_is_refused_before_anything_happens() -> None:
    scene = FakeScene()
    scene.found = [["pacs2 does not answer: switch it on"]]
    with pytest.raises(RefusedError, match="pacs2 does not answer"):
        conductor(scene).conduct(DRILL, FakeLoad(), 0)
    assert scene.happened == ["problems"]


def test_fault_without_proof_is_void_and_healed() -> None:
    scene = FakeScene()
    scene.proof = ""
    result = conductor(scene).conduct(DRILL, FakeLoad(), 0)
    assert (result.void, result.ok) == (True, False)
    assert "took no effect" in result.reasons[0]
    assert "heal" in scene.happened


def test_fault_that_can_not_be_prepared_is_void_and_puts_no_load_on_the_site() -> None:
    scene, load = FakeScene(), FakeLoad()
    scene.unprepared = "the playbook failed"
    result = conductor(scene).conduct(DRILL, load, 0)
    assert (result.void, result.reasons) == (True, ["Void: the playbook failed"])
    assert (load.begun, result.kept.acknowledged) == (0, 100), "the first image is checked"
    assert scene.happened == ["problems", "prepare"]


def test_time_of_the_preparation_does_not_count_as_a_usual_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_GRACE_S", 0.01)
    scene, load = FakeScene(), FakeLoad()
    load.quiet_after = 0.06
    prepare = scene.prepare

    def slowly(drill: Drill, image_bytes: bytes) -> Prepared:
        time.sleep(0.5)
        return prepare(drill, image_bytes)

    monkeypatch.setattr(scene, "prepare", slowly)
    result = conductor(scene).conduct(dataclasses.replace(DRILL, hold_s=0.1), load, 0)
    assert result.outage_s >= 0.08
    assert result.at == pytest.approx(load.begun, abs=0.2)


def test_too_few_images_before_the_fault_are_void_and_no_fault_is_injected() -> None:
    scene, load = FakeScene(), FakeLoad()
    load.silent = True
    result = conductor(scene).conduct(DRILL, load, 0)
    assert result.void
    assert "inject" not in scene.happened


@pytest.mark.parametrize("failure", [OSError("lost"), KeyboardInterrupt(), RefusedError("drills are forbidden")])
def test_fault_is_undone_after_every_failure(failure: BaseException) -> None:
    scene = FakeScene()
    scene.failure = failure
    with pytest.raises(type(failure)):
        conductor(scene).conduct(DRILL, FakeLoad(), 0)
    assert scene.happened[-1] == "heal", "the watcher must stay: the healing may not have ended"


@pytest.mark.parametrize(
    ("kept", "word"),
    [
        (Kept(9, lost=1), "lost"),
        (Kept(9, corrupted=1), "corrupted"),
        (Kept(9, duplicated=1), "duplicated"),
        (Kept(9, unprotected=1), "lock"),
    ],
)
def test_one_image_that_is_not_as_acknowledged_is_red(kept: Kept, word: str) -> None:
    result = conductor(FakeScene()).conduct(DRILL, FakeLoad(kept), 0)
    assert (result.ok, result.void) == (False, False)
    assert word in result.reasons[0]


def test_no_acknowledged_image_at_all_is_void() -> None:
    assert conductor(FakeScene()).conduct(DRILL, FakeLoad(Kept()), 0).void


def test_outage_beyond_the_deadline_is_red(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_GRACE_S", 0.01)
    load = FakeLoad()
    load.quiet_after = 0.06
    drill = dataclasses.replace(DRILL, hits="data", hold_s=0.1)
    result = conductor(FakeScene()).conduct(drill, load, 0)
    assert result.outage_s >= 0.08
    assert "no store succeeded; the deadline is 0 s" in result.reasons[0]
    assert result.marks["recovery"] > result.marks["fault"]


def test_pause_within_the_deadline_is_ok_and_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_GRACE_S", 0.01)
    load = FakeLoad()
    load.quiet_after = 0.06
    result = conductor(FakeScene()).conduct(dataclasses.replace(DRILL, hold_s=0.1), load, 0)
    assert result.ok
    assert result.outage_s >= 0.08


def test_site_that_needs_a_hand_is_red() -> None:
    scene = FakeScene()
    scene.found = [[], *[["patroni is down"]] * 10_000]
    result = conductor(scene).conduct(DRILL, FakeLoad(), 0)
    assert not result.ok
    assert "not whole 0 s after the fault was undone: patroni is down." in result.reasons[0]


def test_drill_stops_early_where_patients_depend_on_the_site(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_GRACE_S", 0.02)
    load = FakeLoad()
    load.quiet_after = 0.05
    drill = dataclasses.replace(DRILL, hits="data", hold_s=30)
    result = conductor(FakeScene(), stops=True).conduct(drill, load, 0)
    assert result.reasons[0].startswith("Stopped")
    assert result.marks["heal"] - result.marks["fault"] < 5


def refused(load: FakeLoad, scene: FakeScene) -> Result:
    """Conduct a drill in which every store must be refused."""
    drill = dataclasses.replace(DRILL, hits="data", hold_s=0.1, refuses=True)
    return conductor(scene).conduct(drill, load, 0)


def test_outage_of_a_site_that_must_refuse_counts_from_the_return_of_a_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_GRACE_S", 0.03)
    scene, load = FakeScene(), FakeLoad()
    scene.where, scene.stops = ["pacs2", "pacs3"], load
    result = refused(load, scene)
    assert (result.ok, result.refusal) == (True, "no majority")
    assert result.marks["fault"] < result.marks["back"] <= result.marks["heal"]
    assert scene.happened == [
        "problems",
        "prepare",
        "watch pacs2, pacs3",
        "inject",
        "heal",
        "heal",
        "unwatch",
        "problems",
    ]


def test_image_that_is_acknowledged_without_a_second_node_is_red(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_GRACE_S", 0.03)
    result = refused(FakeLoad(), FakeScene())
    assert "acknowledged while too few nodes were there" in result.reasons[0]


def test_image_that_is_acknowledged_before_the_last_node_is_off_has_two_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_GRACE_S", 0.03)
    scene, load = FakeScene(), FakeLoad()
    scene.stops, scene.lasts_s = load, 0.3
    assert refused(load, scene).ok


def test_site_that_refuses_and_says_that_all_is_well_is_red(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_GRACE_S", 0.03)
    scene, load = FakeScene(), FakeLoad()
    scene.said, scene.stops = "", load
    assert refused(load, scene).reasons == ["Status or health said that the next image would be stored."]


def test_every_node_is_switched_on_although_one_fails() -> None:
    scene = FakeScene()
    scene.where = ["stuck", "pacs3"]
    with pytest.raises(HapacsError, match="stuck"):
        conductor(scene).conduct(DRILL, FakeLoad(), 0)
    assert scene.happened[-2:] == ["heal", "heal"]


def test_each_second_is_counted_once() -> None:
    assert run.per_second([10.0, 10.9, 12.1, 99.0], 10.0, 12.5) == [2, 0, 1]


def test_alerts_are_silenced_while_the_fault_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    scene, seen = FakeScene(), list[list[tuple[str, ...]]]()
    inject = scene.inject

    def injected(drill: Drill, prepared: Prepared) -> Injected:
        seen.append(list(scene.silenced))
        return inject(drill, prepared)

    monkeypatch.setattr(scene, "inject", injected)
    conductor(scene).conduct(DRILL, FakeLoad(), 0)
    assert seen == [[("pacs1",)]]
    assert scene.silenced == [("pacs1",), ()]


def test_drill_that_can_not_be_prepared_silences_nothing() -> None:
    scene = FakeScene()
    scene.unprepared = "the playbook failed"
    conductor(scene).conduct(DRILL, FakeLoad(), 0)
    assert scene.silenced == []


def test_other_site_has_all_images_again_after_the_load() -> None:
    scene, load = FakeScene(), FakeLoad()
    scene.where, scene.late = ["dr1", "dr2"], [["dr lacks 7 images"], ["dr lacks 2 images"]]
    result = conductor(scene).conduct(ELSEWHERE, load, 0)
    assert (result.ok, result.lacking) == (True, Lacking(7, 900, 58.0))
    # What was missing is read before the power is back; both are compared when nothing is stored any more.
    begun = scene.happened.index("inject")
    assert scene.happened[begun:] == [
        "inject", "lacking", "heal", "heal", "unwatch", "problems", "behind", "behind", "behind",
    ]  # fmt: skip
    assert load.ended < result.marks["equal"]
    assert result.marks["heal"] < result.marks["equal"]


def test_other_site_that_never_has_all_images_is_red() -> None:
    scene = FakeScene()
    scene.late = [["only_here: 3"]] * 10_000
    result = conductor(scene).conduct(ELSEWHERE, FakeLoad(), 0)
    assert not result.ok
    assert "equal" not in result.marks
    assert result.reasons == ["The other site did not have the same images 0 s after the load: only_here: 3."]


def test_void_drill_waits_for_no_other_site() -> None:
    scene = FakeScene()
    scene.proof = ""
    assert conductor(scene).conduct(ELSEWHERE, FakeLoad(), 0).void
    assert "behind" not in scene.happened
