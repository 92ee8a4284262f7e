"""``hapacs drill``: exit codes, JSON, refusals, and the lever."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from hapacs import cli, playbook
from hapacs.cli import drill as command
from hapacs.deployment import PROJECT, Deployment
from hapacs.drills import allowed, table
from hapacs.drills.model import Drill, Kept, Result
from hapacs.errors import ExitCode, RefusedError, UsageError


@pytest.fixture
def site(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    deployment.contract_file.parent.mkdir(parents=True, exist_ok=True)
    deployment.contract_file.write_text("{}")
    monkeypatch.setattr(Deployment, "load", lambda _name: deployment)
    return deployment


@pytest.fixture
def ran(site: Deployment, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the drills that ran; `das-full` is void."""
    assert site.contract_file.exists()
    names: list[str] = []

    def run(_deployment: Deployment, drills: Iterable[Drill], seed: int, *, quiet: bool) -> Iterator[Result]:
        for drill in drills:
            names.append(drill.name)
            void = drill.name == "das-full"
            reasons = ["Void: no proof"] if void else []
            yield Result(drill, 0, seed, void=void, reasons=reasons, kept=Kept(acknowledged=9), report=str(quiet))

    monkeypatch.setattr(command, "_run", run)
    return names


def call(*words: str) -> Any:
    return CliRunner().invoke(cli.app, ["drill", *words], catch_exceptions=False)


def test_drills_that_are_ok_end_with_0(ran: list[str]) -> None:
    assert call("run", "storing-killed", "storing-off").exit_code == ExitCode.OK
    assert ran == ["storing-killed", "storing-off"]


def test_one_void_drill_is_not_passed(ran: list[str]) -> None:
    done = call("run", "storing-killed", "das-full")
    assert done.exit_code == ExitCode.UNHEALTHY
    assert "Void: no proof" in done.stdout
    assert len(ran) == 2


def test_json_lists_every_drill(ran: list[str]) -> None:
    done = call("run", "storing-killed", "das-full", "--json", "--seed", "5")
    found = json.loads(done.stdout)
    assert [(one["name"], one["ok"], one["void"]) for one in found["drills"]] == [
        ("storing-killed", True, False), ("das-full", False, True),
    ]  # fmt: skip
    assert set(found["drills"][0]) == {
        "name", "ok", "void", "acknowledged", "lost", "corrupted", "duplicated", "unknown", "outage_s", "deadline_s",
        "report",
    }  # fmt: skip
    assert found["seed"] == 5
    assert ran


def test_drill_begins_nothing_when_the_secrets_can_not_be_read(site: Deployment) -> None:
    site.contract_file.write_text((PROJECT / "tests" / "contract" / "lab.json").read_text(encoding="utf-8"))
    with pytest.raises(RefusedError, match="has no secrets yet"):
        call("run", "storing-killed")
    assert not (site.state / "drills").exists()


def test_all_runs_every_drill_in_the_order_of_the_seed(ran: list[str]) -> None:
    call("run", "--all", "--seed", "3")
    first, ran[:] = list(ran), []
    call("run", "--all", "--seed", "3")
    assert first == ran
    ran[:] = []
    call("run", "--all", "--seed", "4")
    assert first != ran
    assert sorted(first) == sorted(ran)


def test_long_run_repeats_the_drills_until_the_hour_is_over(ran: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter(range(0, 10**6, 60))
    monkeypatch.setattr(command, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    call("run", "--all", "--long", "--seed", "3")
    # The clock is asked once before the first drill, and once before each.
    assert len(ran) == 59, "the last one begins within the hour, and none after it"
    count = len(allowed.possible(table.DRILLS, Deployment.load("lab").settings))
    first, second = ran[:count], ran[count:]
    assert len(set(first)) == count, "every drill once before one is repeated"
    assert first[: len(second)] != second
    seen, ran[:] = list(ran), []
    moments = iter(range(0, 10**6, 60))
    call("run", "--all", "--long", "--seed", "3")
    assert ran == seen, "the seed decides the order of every round"


def test_long_run_ends_with_the_first_drill_that_is_not_ok_in_its_exit_code(
    ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter(range(0, 10**6, 60))
    monkeypatch.setattr(command, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    assert call("run", "--all", "--long", "--seed", "3").exit_code == ExitCode.UNHEALTHY
    assert ran.index("das-full") < len(ran) - 1, "the others run all the same"


def test_drill_that_finds_a_broken_site_is_void_and_the_next_one_runs(
    site: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[list[str]] = [[], ["patroni on pacs2 is down"], []]

    def conduct(_self: object, drill: Drill, _load: object, seed: int) -> Result:
        if problems := answers.pop(0):
            raise RefusedError("\n".join(problems), "Repair that first.")
        return Result(drill, 0, seed, kept=Kept(acknowledged=9))

    monkeypatch.setattr("hapacs.drills.run.Conductor.conduct", conduct)
    monkeypatch.setattr("hapacs.drills.load.SiteLoad.__init__", lambda *_: None)
    monkeypatch.setattr("hapacs.site.access.sites", lambda _: [SimpleNamespace(secrets={}, members=lambda _group: [])])
    assert site.state.exists()
    found = json.loads(call("run", "storing-killed", "storing-paused", "das-full", "--json").stdout)["drills"]
    assert [(one["name"], one["ok"], one["void"]) for one in found] == [
        ("storing-killed", True, False), ("storing-paused", False, True), ("das-full", True, False),
    ]  # fmt: skip
    reported = [
        json.loads(file.read_text())["reasons"] for file in sorted((site.state / "drills").glob("*/report.json"))
    ]
    assert ["Void: patroni on pacs2 is down"] in reported


def test_first_drill_is_refused_on_a_broken_site(site: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    def conduct(*_: object) -> Result:
        raise RefusedError("patroni on pacs2 is down", "Repair that first.")

    monkeypatch.setattr("hapacs.drills.run.Conductor.conduct", conduct)
    monkeypatch.setattr("hapacs.drills.load.SiteLoad.__init__", lambda *_: None)
    monkeypatch.setattr("hapacs.site.access.sites", lambda _: [SimpleNamespace(secrets={}, members=lambda _group: [])])
    assert site.state.exists()
    with pytest.raises(RefusedError, match="patroni on pacs2"):
        call("run", "storing-killed", "storing-paused")


@pytest.mark.parametrize("words", [[], ["--all", "storing-killed"], ["storing-sings"], ["storing-killed", "--long"]])
def test_wrong_choice_is_a_usage_error(ran: list[str], words: list[str]) -> None:
    with pytest.raises(UsageError):
        call("run", *words)
    assert ran == []


def test_hospital_refuses_without_window_and_intention(ran: list[str], site: Deployment) -> None:
    text = (PROJECT / "inventories" / "example-hospital" / "settings.yaml").read_text()
    (site.directory / "settings.yaml").write_text(text.replace("deployment: example-hospital", "deployment: lab"))
    with pytest.raises(RefusedError, match="maintenance window") as refused:
        call("run", "storing-killed")
    assert "--i-mean-it" in refused.value.message
    assert ran == []


@pytest.mark.parametrize("verb", ["forbid", "allow"])
def test_lever_works_while_a_drill_runs(site: Deployment, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    played: list[str] = []

    def run(name: str, **_: Any) -> playbook.Outcome:
        played.append(name)
        return playbook.Outcome(Path("log"))

    monkeypatch.setattr(playbook, "run", run)
    with site.alone():
        assert call(verb, "lab").exit_code == ExitCode.OK
    assert played == [f"drill_{verb}"]


def test_report_without_a_run_is_refused(site: Deployment) -> None:
    assert site.state.exists()
    with pytest.raises(RefusedError, match="No drill has run"):
        call("report", "lab")


def test_list_names_every_drill_with_its_deadline(site: Deployment) -> None:
    assert site.state.exists()
    found = json.loads(call("list", "lab", "--json").stdout)["drills"]
    assert {"name": "storing-killed", "deadline_s": 10}.items() <= found[0].items()
