"""`hapacs-node study show`, `hide`, `unhide` and `delete`: what they print, and how they end."""

import json
from contextlib import nullcontext
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from hapacs_node import cli
from hapacs_node.catalog.corrections import Correction, Reason
from hapacs_node.catalog.received import ReceivedSeries, Removed
from hapacs_node.cli import corrections
from hapacs_node.correction.moving import Mover, Target
from hapacs_node.correction.operator import Outcome, Remove, Shown
from hapacs_node.correction.patient import made
from hapacs_node.errors import RefusedError
from hapacs_node.restore import Orthanc

STUDY, SERIES = "1.2.3", "1.2.3.1"
AT = datetime(2026, 11, 28, 8, 0, tzinfo=UTC)
RIGHT = {"PatientID": "R7", "PatientName": "Right^Person"}
SHOWN = Shown(
    STUDY,
    RIGHT,
    [ReceivedSeries("p1", "abc", SERIES, "CT", 20, 1000, ("title:CT1",), AT, AT, hidden=True)],
    Removed(2, AT, ("user:anna",)),
    [Correction(7, "move", "", "anna", "wrong scan", AT, AT, "ben", "right", made(RIGHT))],
)


class FakeCorrector:
    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.shown = SHOWN
        self.removed: list[str] = []
        self.database = None

    def show(self, study: str) -> Shown:
        assert study == STUDY
        return self.shown

    def hide(self, study: str, series: str, reason: Reason, *, dry: bool) -> Outcome:
        self.asked.append(("hide", study, series, reason.who, reason.why, dry))
        return Outcome("hide", study, series, 20, done=not dry, number=None if dry else 7)

    def unhide(self, study: str, series: str, reason: Reason, *, dry: bool) -> Outcome:
        self.asked.append(("unhide", study, series, reason.who, reason.why, dry))
        raise RefusedError("it is not hidden")

    def delete(self, study: str, series: str, reason: Reason, remove: Remove, *, dry: bool) -> Outcome:
        self.asked.append(("delete", study, series, reason.who, reason.why, dry))
        remove("/series/abc")
        return Outcome("delete", study, series, 20, done=not dry, number=8)


@pytest.fixture
def corrector(monkeypatch: pytest.MonkeyPatch) -> FakeCorrector:
    fake = FakeCorrector()

    class FakeOrthanc:
        def remove(self, path: str, who: str) -> None:
            fake.removed.append(f"{path} {who}")

    monkeypatch.setattr(corrections, "Corrector", lambda _: fake)
    section = SimpleNamespace(model_copy=lambda update: update)
    monkeypatch.setattr("hapacs_node.settings.load", lambda _: SimpleNamespace(database=section))
    monkeypatch.setattr(corrections, "Database", lambda *_: nullcontext())
    monkeypatch.setattr(corrections, "to_journal", lambda _: None)
    monkeypatch.setattr(Orthanc, "of", lambda url: FakeOrthanc() if url == "https://x" else None)
    return fake


def run(*arguments: str, text: str = "") -> Result:
    environment = {"COLUMNS": "200", "NO_COLOR": "1"}
    return CliRunner().invoke(cli.app, ["study", *arguments], input=text, env=environment)


def test_a_study_is_shown_for_people_and_machines(corrector: FakeCorrector) -> None:
    done = run("show", STUDY)
    assert done.exit_code == 0
    for word in (
        "p1",
        SERIES,
        "title:CT1",
        "hidden",
        "2 removed images",
        "user:anna",
        "wrong scan",
        "ben",
        "7",
        "PatientName Right^Person",
    ):
        assert word in done.stdout
    document = json.loads(run("show", STUDY, "--json").stdout)
    assert document["series"][0]["images"] == 20
    assert document["corrections"][0]["patient"]["PatientID"] == "R7"
    assert datetime.fromisoformat(document["corrections"][0]["made_at"]) == AT
    corrector.shown = Shown(STUDY, {}, [], Removed(0, None, ()), [])
    done = run("show", STUDY)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "nothing is known" in done.stderr


def test_nothing_is_done_without_yes_and_the_reason_may_come_from_standard_input(corrector: FakeCorrector) -> None:
    dry = run("hide", STUDY, "--why", "wrong scan", "--who", "anna")
    assert (dry.exit_code, "add --yes" in dry.stdout) == (0, True)
    done = run("hide", STUDY, "--series", SERIES, "--why", "-", "--who", "anna", "--yes", "--json", text="was Smith\n")
    assert json.loads(done.stdout) == {
        "ok": True, "dry": False, "what": "hide", "study": STUDY, "series": SERIES, "images": 20, "done": True,
        "number": 7, "detail": "", "before": {}, "after": {}, "studies": [],
    }  # fmt: skip
    assert corrector.asked == [
        ("hide", STUDY, "", "anna", "wrong scan", True),
        ("hide", STUDY, SERIES, "anna", "was Smith", False),
    ]
    refused = run("hide", STUDY, "--why", " ", "--yes")
    assert (refused.exit_code, "needs who" in refused.stderr) == (1, True)
    refused = run("unhide", STUDY, "--why", "x", "--yes", "--json")
    assert (refused.exit_code, json.loads(refused.stdout)) == (1, {"ok": False, "error": "it is not hidden"})
    refused = run("unhide", STUDY, "--why", "x", "--yes")
    assert (refused.exit_code, "it is not hidden" in refused.stderr) == (1, True)


def test_a_deletion_is_asked_of_the_storing_orthanc_in_the_operators_name(corrector: FakeCorrector) -> None:
    done = run("delete", STUDY, "--why", "wrong scan", "--who", "anna", "--store", "https://x", "--yes")
    assert (done.exit_code, "number 8" in done.stdout) == (0, True)
    assert corrector.removed == ["/series/abc anna"]


def test_the_patients_of_a_move_come_by_standard_input(
    corrector: FakeCorrector, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert corrector.database is None
    asked: list[tuple[object, ...]] = []

    def move(_: Mover, study: str, target: Target, reason: Reason, *, dry: bool) -> Outcome:
        asked.append((study, target, reason.why, dry))
        return Outcome("move", study, "", 20, done=True, number=9, before={"PatientID": "W1"}, after=RIGHT)

    def merge(_: Mover, merged: dict[str, str], target: Target, reason: Reason, *, dry: bool) -> Outcome:
        asked.append((merged, target, reason.why, dry))
        return Outcome("merge", "", "", 40, done=False, studies=(STUDY, "1.2.4"))

    monkeypatch.setattr(Mover, "move", move)
    monkeypatch.setattr(Mover, "merge", merge)
    text = json.dumps({"why": "was Smith", "patient": {"PatientID": "R7"}, "like": ""})
    done = run("move", STUDY, "--yes", text=text)
    assert done.exit_code == 0
    for word in ("number 9", "from: PatientID W1", "to: PatientID R7, PatientName Right^Person"):
        assert word in done.stdout
    done = run("merge", text=json.dumps({"why": "twice", "like": "1.9", "merged": {"PatientID": "W1"}}))
    assert (done.exit_code, "merge 2 studies: 40 images; nothing done yet" in done.stdout) == (0, True)
    assert asked == [
        (STUDY, Target({"PatientID": "R7"}), "was Smith", False),
        ({"PatientID": "W1"}, Target(like="1.9"), "twice", True),
    ]
    for wrong in ("", "Smith", '{"patient": {"PatientID": 7}}', '{"why": "", "Smith": ""}'):
        done = run("move", STUDY, "--yes", text=wrong)
        assert (done.exit_code, "standard input is not as" in done.stderr) == (1, True)
        assert 'PatientID": 7' not in done.stderr
    assert len(asked) == 2
