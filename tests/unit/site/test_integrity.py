"""Scrub and reconcile of a site: which nodes run what, which faults remain, and how the commands end."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
import typer
from typer.testing import CliRunner

from hapacs.cli import integrity as command
from hapacs.deployment import Deployment
from hapacs.errors import ExitCode, UsageError
from hapacs.site import integrity
from hapacs.site.access import Node, NodeError, Site

LOST: dict[str, Any] = {
    "kind": "archive-missing",
    "name": "uuid-1",
    "detail": "the archive does not have it",
    "fault": True,
}
SHORT: dict[str, Any] = {"kind": "das-size", "name": "ab" * 32, "detail": "4 bytes in place of 7", "fault": True}
ORPHAN: dict[str, Any] = {"kind": "archive-orphan", "name": "sha256/ab", "detail": "7 bytes", "fault": False}
READ = {"ok": True, "online": 3, "archived": 4, "bytes": 7_000_000, "healed": 1, "damaged": 0, "archive_damaged": 0}


def report(*findings: dict[str, Any]) -> dict[str, Any]:
    return {
        "ok": not [one for one in findings if one["fault"] and not one.get("repaired")],
        "failure": None,
        "compared": {"catalog": 9, "index": 1234, "archive": 8, "das": 7},
        "found": {one["kind"]: 1 for one in findings},
        "repaired": {one["kind"]: 1 for one in findings if one.get("repaired")},
        "findings": list(findings),
        "complete": True,
    }


class FakeSite:
    """A site of two nodes, with the report of each; a node without one does not answer."""

    def __init__(self, **reports: dict[str, Any]) -> None:
        self.name = "primary"
        self.reports = reports
        self.asked: list[tuple[str, list[str]]] = []

    def members(self, _group: str) -> list[Node]:
        return [Node(name, "10.0.0.1", "", "hapacs", 22) for name in ("pacs1", "pacs2")]

    def run(self, node: Node, words: Sequence[str], _text: str, _timeout_s: float = 60) -> str:
        self.asked.append((node.name, shlex.split(" ".join(words))))
        if node.name not in self.reports:
            raise NodeError(node.name, "no route to host")
        return json.dumps(self.reports[node.name])


def compared(kinds: Sequence[str] = (), **reports: dict[str, Any]) -> dict[str, Any]:
    return integrity.reconcile(cast(Site, FakeSite(**reports)), kinds)


def test_every_node_compares_and_nothing_is_repaired_unless_it_is_asked_for() -> None:
    site = FakeSite(pacs1=report(), pacs2=report())
    assert integrity.reconcile(cast(Site, site), ())["ok"]
    assert [node for node, _ in site.asked] == ["pacs1", "pacs2"]
    assert not [words for _, words in site.asked if "--repair" in words]
    integrity.reconcile(cast(Site, site), ["das-size", "archive-missing"])
    words = site.asked[-1][1]
    assert words[2:7] == ["reconcile", "--repair", "das-size", "--repair", "archive-missing"]


def test_a_fault_that_another_node_repairs_does_not_remain() -> None:
    failed = LOST | {"repaired": False, "repair": "this node has no whole copy"}
    done = LOST | {"repaired": True, "repair": "stored as sha256/ab"}
    found = compared(["all"], pacs1=report(failed), pacs2=report(done))
    assert (found["ok"], found["faults"]) == (True, [])
    found = compared(["all"], pacs1=report(failed), pacs2=report(failed))
    assert (found["ok"], [one["node"] for one in found["faults"]]) == (False, ["pacs1"])


def test_an_online_copy_belongs_to_its_node() -> None:
    found = compared(["all"], pacs1=report(SHORT | {"repaired": False}), pacs2=report(SHORT | {"repaired": True}))
    assert [(one["kind"], one["node"]) for one in found["faults"]] == [("das-size", "pacs1")]


def test_orphans_are_no_fault() -> None:
    assert compared(pacs1=report(ORPHAN), pacs2=report(ORPHAN))["ok"]


def test_a_list_that_is_cut_off_is_not_taken_for_all_faults() -> None:
    cut = report() | {"ok": False, "complete": False}
    assert not compared(["all"], pacs1=cut, pacs2=report())["ok"]


@pytest.mark.parametrize("broken", [{}, {"pacs2": report() | {"ok": False, "failure": "no gateway answers"}}])
def test_a_node_that_does_not_answer_or_complete_is_reported_beside_the_others(broken: dict[str, Any]) -> None:
    found = compared(pacs1=report(), **broken)
    assert not found["ok"]
    assert found["nodes"]["pacs1"]["ok"]
    assert found["nodes"]["pacs2"]["failure"] in {"no route to host", "no gateway answers"}


def test_a_kind_that_no_command_repairs_is_refused_before_a_node_is_asked() -> None:
    site = FakeSite(pacs1=report(), pacs2=report())
    with pytest.raises(UsageError, match="No command repairs dangling"):
        integrity.reconcile(cast(Site, site), ["dangling"])
    assert site.asked == []


app = typer.Typer()
app.command()(command.reconcile)
app.command()(command.scrub)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that runs a command on a site with these reports."""

    def call(words: list[str], **reports: dict[str, Any]) -> SimpleNamespace:
        site = FakeSite(**reports)
        monkeypatch.setattr("hapacs.site.access.sites", lambda _: [site])
        monkeypatch.setattr(Deployment, "load", lambda _: None)
        done = CliRunner().invoke(app, words)
        return SimpleNamespace(code=done.exit_code, out=done.stdout, site=site, error=done.exception)

    return call


def test_reconcile_prints_faults_with_their_node(run: Any) -> None:
    done = run(["reconcile"], pacs1=report(LOST, ORPHAN), pacs2=report(LOST))
    assert done.code == ExitCode.UNHEALTHY
    assert "1,234" in done.out
    assert done.out.count("uuid-1") == 1
    assert "the archive does not have it" in done.out
    done = run(["reconcile"], pacs1=report(ORPHAN), pacs2=report())
    assert (done.code, "all places agree" in done.out) == (ExitCode.OK, True)


def test_reconcile_gives_one_document(run: Any) -> None:
    done = run(["reconcile", "--json"], pacs1=report(LOST))
    document = json.loads(done.out)
    assert (done.code, document["ok"]) == (ExitCode.UNHEALTHY, False)
    assert [one["name"] for one in document["sites"]["primary"]["faults"]] == ["uuid-1"]
    assert document["sites"]["primary"]["nodes"]["pacs2"]["failure"] == "no route to host"


def test_scrub_gives_every_node_its_budget_and_prints_what_was_read(run: Any) -> None:
    done = run(["scrub", "--budget", "5", "--rate", "50", "--days", "7"], pacs1=READ, pacs2=READ | {"healed": 8})
    assert done.code == ExitCode.OK
    assert "8" in done.out
    for _, words in done.site.asked:
        assert words[2:9] == ["scrub", "--budget", "5.0", "--rate", "50", "--days", "7"]


@pytest.mark.parametrize("broken", [{}, {"pacs2": READ | {"ok": False, "archive_damaged": 2}}])
def test_scrub_fails_when_damage_remains_or_a_node_does_not_answer(run: Any, broken: dict[str, Any]) -> None:
    assert run(["scrub"], pacs1=READ, **broken).code == ExitCode.UNHEALTHY


def test_an_unknown_site_is_named_with_those_that_there_are(run: Any) -> None:
    done = run(["scrub", "--site", "other"], pacs1=READ)
    assert isinstance(done.error, UsageError)
    assert "Give one of: primary." in str(done.error)
