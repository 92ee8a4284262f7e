"""`hapacs route`: what the rules make of a file, cases, and what a site reports."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydicom.data import get_testdata_file
from typer.testing import CliRunner

from hapacs.cli import chosen, route
from hapacs.deployment import PROJECT
from hapacs.errors import ExitCode, UsageError
from hapacs.site import routing
from hapacs_node.routing.model import Routing

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
    monkeypatch.setattr(chosen, "sites", lambda *_: [found])
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
    asked: list[bool] = []

    def ping(*_words: object, image: bool) -> dict[str, str]:
        asked.append(image)
        return {"pacs1": "", "pacs2": "refuses an association"}

    monkeypatch.setattr(routing, "ping", ping)
    for options in ((), ("--image",)):
        code, printed = run("ping", "example-hospital", "workstation", *options)
        assert code == ExitCode.FAILED
        assert "pacs1: answers" in printed
        assert "pacs2: refuses an association" in printed
    assert asked == [False, True]


TALLY: dict[str, Any] = {"images": 0, "bytes": 0, "studies": []}
REPLAYED: dict[str, Any] = {
    "node": "n1", "back_to": "2026-11-20 10:00:00+00:00", "complete": True, "compared": TALLY | {"images": 1200},
    "unmatched": TALLY | {"images": 200, "bytes": 5_000_000, "studies": ["1.2.3"]}, "unread": TALLY,
    "sent": [{"rule": "all-ct", "destination": "workstation", **TALLY, "images": 1000}],
}  # fmt: skip


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch, site: SimpleNamespace) -> list[Any]:
    """A site that replays; return with what it was asked."""
    asked: list[Any] = []

    def replay(at: object, rules: Routing, since_s: int, limit_s: int) -> dict[str, Any]:
        assert at is site
        asked.append((rules, since_s, limit_s))
        return REPLAYED

    monkeypatch.setattr(routing, "replay", replay)
    return asked


def test_replay_compares_the_rules_of_the_settings_with_the_images_of_a_week(replayed: list[Any]) -> None:
    code, printed = run("replay", "example-hospital")
    assert code == ExitCode.OK
    ((rules, since_s, _),) = replayed
    assert [rule.name for rule in rules.rules] == ["emergency", "all-ct"]
    assert since_s == 7 * 86400
    assert "1,000" in printed
    assert "no rule" in printed
    assert "1.2.3" in printed


def test_replay_takes_a_changed_rule_set_with_the_destinations_of_the_settings(
    tmp_path: Path, replayed: list[Any]
) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text("rules: [{name: all, destinations: [workstation]}]")
    code, printed = run("replay", "example-hospital", "--rules", str(file), "--since", "36h", "--json")
    ((rules, since_s, _),) = replayed
    assert (code, since_s) == (ExitCode.OK, 36 * 3600)
    assert [rule.name for rule in rules.rules] == ["all"]
    assert list(rules.destinations) == ["workstation"]
    assert json.loads(printed)["unmatched"]["images"] == 200


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules: [{name: all, destinations: [nowhere]}]", "there is no destination nowhere"),
        ("rules: [{name: all, destinations: [workstation], when: [{attribute: X, equals: a}]}]", "is no attribute"),
        ("- all", "has no rules"),
        ("rules: [", "rules.yaml"),
    ],
)
def test_a_changed_rule_set_with_a_mistake_is_refused(
    tmp_path: Path, replayed: list[Any], text: str, said: str
) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=said):
        run("replay", "example-hospital", "--rules", str(file))
    assert replayed == []


@pytest.mark.usefixtures("replayed")
@pytest.mark.parametrize("time", ["7", "d", "-1d", "7y", "0d"])
def test_a_time_that_is_none_is_refused(time: str) -> None:
    assert CliRunner().invoke(route.app, ["replay", "example-hospital", f"--since={time}"]).exit_code == 2
