"""Which silences each command sets around its playbook, and what it says when it can't."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from hapacs import cli, playbook
from hapacs.cli import silencing
from hapacs.deployment import PROJECT, Deployment
from hapacs.drills import table
from hapacs.drills.model import Prepared
from hapacs.errors import ExitCode
from hapacs.silences import causes, during
from hapacs.site import access


class Set:
    """Stands for the Alertmanagers and the playbooks; `happened` has what was asked of them, in order."""

    def __init__(self) -> None:
        self.happened: list[str] = []
        self.alerts: dict[str, set[str]] = {}
        self.limits: dict[str, timedelta] = {}
        self.reason = ""

    @contextmanager
    def silenced(
        self, site: Any, found: Sequence[causes.Cause], comment: str, limit: timedelta, warn: Any, *, stay: bool = False
    ) -> Iterator[bool]:
        if self.reason:
            warn(self.reason)
        self.alerts[site.name], self.limits[site.name] = causes.alerts(found), limit
        self.happened.append(f"{site.name}: {comment}")
        yield True
        self.happened.append(f"{site.name}: {'stays' if stay else 'ends'}")

    def lift(self, site: Any, comment: str, _warn: Any) -> None:
        self.happened.append(f"{site.name}: lift {comment}")

    def run(self, name: str, **_options: Any) -> playbook.Outcome:
        self.happened.append(name)
        return playbook.Outcome(PROJECT / "log", said=["done"])


@pytest.fixture
def done(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Set:
    deployment.contract_file.parent.mkdir(parents=True, exist_ok=True)
    contract = (PROJECT / "tests" / "contract" / "lab.json").read_text(encoding="utf-8")
    deployment.contract_file.write_text(contract, encoding="utf-8")
    made = Set()
    monkeypatch.setattr(Deployment, "load", lambda _name: deployment)
    monkeypatch.setattr(playbook, "run", made.run)
    monkeypatch.setattr(during, "silenced", made.silenced)
    monkeypatch.setattr(during, "lift", made.lift)
    return made


def call(words: str) -> str:
    result = CliRunner().invoke(cli.app, words.split(), catch_exceptions=False)
    assert result.exit_code == ExitCode.OK, result.output
    return result.stdout


def test_drain_stays_silenced_until_undrain(done: Set) -> None:
    call("drain lab --node pacs2 --wait 9")
    call("undrain lab --node pacs2")
    words = "hapacs drain lab --node pacs2"
    assert done.happened == [
        f"primary: {words}", "drain", "primary: stays", "undrain", f"primary: lift {words}",
    ]  # fmt: skip
    assert done.limits == {"primary": timedelta(days=1)}
    assert "NodeDown" in done.alerts["primary"]


@pytest.mark.parametrize(
    ("words", "sites", "alert"),
    [
        ("switchover lab --what database --node pacs3", ["primary"], "LeaderViewsDiffer"),
        ("restart lab --service etcd --site primary", ["primary"], "EtcdWithoutLeader"),
        ("restart lab", ["primary", "dr"], "UnitInactive"),
        ("renew lab", ["primary", "dr"], "UnitInactive"),
        ("rotate lab --kind cas", ["primary", "dr"], "UnitInactive"),
    ],
)
def test_silences_begin_before_the_playbook_and_end_after_it(
    done: Set, words: str, sites: list[str], alert: str
) -> None:
    call(words)
    verb = words.split(maxsplit=1)[0]
    begun, ended = done.happened[: len(sites)], done.happened[len(sites) + 1 :]
    assert [one.split(":")[0] for one in begun] == sites
    assert done.happened[len(sites)] == verb
    assert ended == [f"{site}: ends" for site in reversed(sites)]
    assert all(alert in done.alerts[site] for site in sites)
    assert all(timedelta() < limit <= timedelta(hours=1) for limit in done.limits.values())


def test_silence_that_can_not_be_set_is_said_and_the_command_goes_on(done: Set) -> None:
    done.reason = "No Alertmanager answered"
    result = CliRunner().invoke(cli.app, ["drain", "lab", "--node", "pacs2", "--json"], catch_exceptions=False)
    assert result.exit_code == ExitCode.OK
    assert json.loads(result.stdout)["not_silenced"] == ["No Alertmanager answered"]
    assert "No Alertmanager answered" in result.stderr
    assert "drain" in done.happened


def test_node_that_does_not_exist_silences_nothing(done: Set) -> None:
    call("drain lab --node pacs9")
    assert done.happened == ["drain"], "the playbook refuses it"


def test_drill_silences_what_its_fault_hits_for_as_long_as_it_may_take(done: Set, deployment: Deployment) -> None:
    (drill,) = table.named(["node-off-and-back"])
    site = access.sites(deployment)[0]
    with silencing.silenced_drill(site, drill, Prepared(("pacs3",)), lambda _: None):
        done.happened.append("drill")
    assert done.happened == ["primary: hapacs drill run node-off-and-back", "drill", "primary: ends"]
    assert timedelta(seconds=drill.hold_s) < done.limits["primary"] <= timedelta(minutes=15)
    assert "NodeDown" in done.alerts["primary"]


def test_drill_that_cuts_the_line_silences_both_sites(done: Set, deployment: Deployment) -> None:
    (drill,) = table.named(["other-site-cut"])
    site = access.sites(deployment)[0]
    with silencing.silenced_drill(site, drill, Prepared(("",), tuple(site.nodes)), lambda _: None):
        done.happened.append("drill")
    words = "hapacs drill run other-site-cut"
    assert done.happened == [f"primary: {words}", f"dr: {words}", "drill", "dr: ends", "primary: ends"]
    assert done.alerts["primary"] == done.alerts["dr"] >= {"OtherSiteSilent", "NotificationsFail"}
