"""`hapacs-node study show`, `hide`, `unhide` and `delete`: what they print, and how they end."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from hapacs_node import cli
from hapacs_node.catalog.corrections import Correction, Reason
from hapacs_node.catalog.received import ReceivedSeries, Removed
from hapacs_node.cli import corrections
from hapacs_node.correction.operator import Outcome, Remove, Shown
from hapacs_node.errors import RefusedError

STUDY, SERIES = "1.2.3", "1.2.3.1"
AT = datetime(2026, 11, 28, 8, 0, tzinfo=UTC)
SHOWN = Shown(
    STUDY,
    [ReceivedSeries("p1", "abc", SERIES, "CT", 20, 1000, ("title:CT1",), AT, AT, hidden=True)],
    Removed(2, AT, ("user:anna",)),
    [Correction(7, "hide", "", "anna", "wrong scan", AT, AT, "ben", "right", None)],
)


class FakeCorrector:
    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.shown = SHOWN
        self.removed: list[str] = []

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

    @contextmanager
    def give(_: Path) -> Iterator[FakeCorrector]:
        with corrections.errors():
            yield fake

    monkeypatch.setattr(corrections, "_corrector", give)
    monkeypatch.setattr(corrections.Orthanc, "of", lambda url: FakeOrthanc() if url == "https://x" else None)
    return fake


def run(*arguments: str, text: str = "") -> Result:
    environment = {"COLUMNS": "200", "NO_COLOR": "1"}
    return CliRunner().invoke(cli.app, ["study", *arguments], input=text, env=environment)


def test_a_study_is_shown_for_people_and_machines(corrector: FakeCorrector) -> None:
    done = run("show", STUDY)
    assert done.exit_code == 0
    for word in ("p1", SERIES, "title:CT1", "hidden", "2 removed images", "user:anna", "wrong scan", "ben", "7"):
        assert word in done.stdout
    document = json.loads(run("show", STUDY, "--json").stdout)
    assert document["series"][0]["images"] == 20
    assert datetime.fromisoformat(document["corrections"][0]["made_at"]) == AT
    corrector.shown = Shown(STUDY, [], Removed(0, None, ()), [])
    done = run("show", STUDY)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "nothing is known" in done.stderr


def test_nothing_is_done_without_yes_and_the_reason_may_come_from_standard_input(corrector: FakeCorrector) -> None:
    dry = run("hide", STUDY, "--why", "wrong scan", "--who", "anna")
    assert (dry.exit_code, "add --yes" in dry.stdout) == (0, True)
    done = run("hide", STUDY, "--series", SERIES, "--why", "-", "--who", "anna", "--yes", "--json", text="was Smith\n")
    assert json.loads(done.stdout) == {
        "ok": True, "dry": False, "what": "hide", "study": STUDY, "series": SERIES, "images": 20, "done": True,
        "number": 7, "detail": "",
    }  # fmt: skip
    assert corrector.asked == [
        ("hide", STUDY, "", "anna", "wrong scan", True),
        ("hide", STUDY, SERIES, "anna", "was Smith", False),
    ]
    refused = run("hide", STUDY, "--why", " ", "--yes")
    assert (refused.exit_code, "needs who" in refused.stderr) == (1, True)
    refused = run("unhide", STUDY, "--why", "x", "--yes")
    assert (refused.exit_code, "it is not hidden" in refused.stderr) == (1, True)


def test_a_deletion_is_asked_of_the_storing_orthanc_in_the_operators_name(corrector: FakeCorrector) -> None:
    done = run("delete", STUDY, "--why", "wrong scan", "--who", "anna", "--store", "https://x", "--yes")
    assert (done.exit_code, "number 8" in done.stdout) == (0, True)
    assert corrector.removed == ["/series/abc anna"]
