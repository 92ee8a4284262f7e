"""`hapacs route`: what the rules make of a file, cases, and what a site reports."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydicom.data import get_testdata_file
from typer.testing import CliRunner

from hapacs.cli import route
from hapacs.deployment import PROJECT
from hapacs.errors import ExitCode, UsageError
from hapacs.site import routing

CASES = PROJECT / "inventories/example-hospital/routing"
PLACE: dict[str, Any] = {
    "destination": "workstation", "held": False, "failures": 0, "error": "", "confirmed": 1234, "oldest_s": 120,
    "tasks": {"gathering": 0, "waiting": 7, "held": 0, "in flight": 0, "dead": 0},
}  # fmt: skip
REPORT: dict[str, Any] = {"ok": True, "version": 3, "unplanned": 5, "unmatched_today": 9, "destinations": [PLACE]}


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(route.app, list(words))
    if isinstance(done.exception, UsageError):
        raise done.exception
    return done.exit_code, done.stdout


def test_the_cases_of_the_example_hospital_are_as_expected() -> None:
    code, printed = run("test", str(CASES), "example-hospital")
    assert (code, printed) == (ExitCode.OK, "3 of 3 cases are as expected\n")


def test_a_case_that_goes_elsewhere_fails_with_the_reasons_of_each_rule(tmp_path: Path) -> None:
    (tmp_path / "mr.yaml").write_text("attributes: {Modality: MR}\ngoes_to: {workstation: all-ct}\n")
    code, printed = run("test", str(tmp_path), "example-hospital")
    assert code == ExitCode.FAILED
    assert "mr goes to nothing, but has to go to workstation by all-ct" in printed
    assert "all-ct does not match: Modality is 'MR'; wanted: equals 'CT'" in printed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("goes_to: {}", "give either file or attributes"),
        ("attributes: {Modalty: CT}\ngoes_to: {}", "'Modalty' is no attribute"),
        ("file: missing.dcm\ngoes_to: {}", "is no DICOM file"),
    ],
)
def test_a_wrong_case_is_named_with_its_mistake(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "case.yaml").write_text(text)
    with pytest.raises(UsageError, match=said):
        run("test", str(tmp_path), "example-hospital")


def test_a_folder_without_cases_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no case"):
        run("test", str(tmp_path), "example-hospital")


def test_explain_says_for_each_rule_why() -> None:
    file = str(get_testdata_file("CT_small.dcm"))
    code, printed = run("explain", file, "example-hospital", "--calling-ae", "CT1", "--json")
    document = json.loads(printed)
    assert code == ExitCode.OK
    assert document["goes_to"] == {"workstation": "all-ct"}
    assert [(one["rule"], one["matches"]) for one in document["rules"]] == [("emergency", False), ("all-ct", True)]
    assert "BodyPartExamined" in document["rules"][0]["reasons"][0]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A site that is up, in place of the deployment's."""
    found = SimpleNamespace(name="main")
    monkeypatch.setattr(route, "_site", lambda *_: found)
    return found


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({}, ExitCode.OK, "works"),
        ({"failures": 4, "error": "PEER at 192.0.2.50:104: refused"}, ExitCode.UNHEALTHY, "failed 4 times"),
        ({"held": True}, ExitCode.OK, "held"),
    ],
)
def test_status_shows_each_destination_and_fails_when_one_does(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], code: int, said: str
) -> None:
    monkeypatch.setattr(routing, "status", lambda _: {"node": "n1", **REPORT, "destinations": [PLACE | change]})
    ended, printed = run("status", "example-hospital")
    assert ended == code
    assert said in printed
    assert "1,234" in printed
    assert "9 images today matched no rule; 5 are not compared yet" in printed


@pytest.mark.usefixtures("site")
def test_ping_fails_when_one_node_gets_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "ping", lambda *_: {"pacs1": "", "pacs2": "refuses an association"})
    code, printed = run("ping", "example-hospital", "workstation")
    assert code == ExitCode.FAILED
    assert "pacs1: answers" in printed
    assert "pacs2: refuses an association" in printed
