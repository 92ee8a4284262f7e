"""``hapacs status``: a table for people, a document for programs, and an exit code."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from hapacs import cli
from hapacs.cli.status import _database_free
from hapacs.deployment import Deployment
from hapacs.errors import ExitCode
from hapacs.site import access, collect, second_site
from hapacs.site.facts import DatabaseRoom
from hapacs.site.running import RunningSite
from tests.unit.site.documents import BREAK, NAMES, Document, plain


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Document:
    """A site of a deployment that is up; it is the test's to break."""
    document = plain(*NAMES)
    monkeypatch.setattr(Deployment, "load", lambda _name: None)
    monkeypatch.setattr(access, "sites", lambda _deployment: [SimpleNamespace(name="primary")])
    monkeypatch.setattr(second_site, "lag", lambda _site, _timeout_s: None)
    monkeypatch.setattr(collect, "collect", lambda _site, _within_s: RunningSite.parse(document))
    return document


def status(*words: str) -> Any:
    return CliRunner().invoke(cli.app, ["status", "lab", *words], env={"COLUMNS": "100"}, catch_exceptions=False)


def test_healthy_site(site: Document) -> None:
    done = status()
    assert done.exit_code == ExitCode.OK
    assert "2 running" in done.stdout
    assert "leader" in done.stdout
    assert "problem" not in done.stdout
    assert "storing: would be stored by b" in done.stdout
    assert json.loads(status("--json").stdout)["sites"]["primary"]["writer"] == "b"
    assert site["states"]


def test_roles_on_one_node_are_no_problem_and_the_command_that_parts_them_is_named(site: Document) -> None:
    assert site["states"]
    said = " ".join(status().stdout.split())
    assert "b stores and has the virtual address: one fault interrupts all of it." in said
    assert "`hapacs switchover lab --what storing --node c` parts them." in said
    assert json.loads(status("--json").stdout)["sites"]["primary"]["together"] == [
        {"node": "b", "roles": ["storing", "address"], "free": "c"}
    ]


def test_problems_are_printed_whole(site: Document) -> None:
    BREAK["unit"](site)
    BREAK["no address"](site)
    done = status()
    assert done.exit_code == ExitCode.UNHEALTHY
    assert "1 problem" in done.stdout
    assert "✗ etcd on c is failed (failed): `journalctl -u etcd` there" in done.stdout
    assert "is held by no node" in done.stdout
    assert not json.loads(status("--json").stdout)["ok"]


def test_refused_image_is_unhealthy_although_all_services_run(site: Document) -> None:
    BREAK["no association"](site)
    done = status()
    assert done.exit_code == ExitCode.UNHEALTHY
    assert "storing: would be refused: C-ECHO to 192.0.2.10 fails: no answer within 3 s" in done.stdout
    assert "problem" not in done.stdout
    document = json.loads(status("--json").stdout)["sites"]["primary"]
    assert document["storing"]["refusal"] == "C-ECHO to 192.0.2.10 fails: no answer within 3 s"


def test_node_that_would_store_can_be_unknown(site: Document) -> None:
    site["states"]["b"] = {"error": "no answer within 4 s"}
    done = status()
    assert done.exit_code == ExitCode.UNHEALTHY
    assert "storing: C-ECHO succeeds; the node that would store is not known" in done.stdout
    assert json.loads(status("--json").stdout)["sites"]["primary"]["storing"] == {"node": None, "refusal": None}


@pytest.mark.parametrize(("free_gib", "colour"), [(50, "default"), (19, "yellow"), (9, "red")])
def test_free_space_of_the_database_is_coloured(free_gib: int, colour: str) -> None:
    room = DatabaseRoom(bytes=100 * 2**30, free_bytes=free_gib * 2**30)
    assert _database_free(room) == f"[{colour}]{free_gib}.0/100.0 GiB[/]"


def test_free_space_of_the_database_is_shown(site: Document) -> None:
    site["states"]["a"]["database_room"] = {"bytes": 4 * 2**30, "free_bytes": 3 * 2**30}
    assert "3.0/4.0 GiB" in status().stdout


def test_silent_node_is_shown_as_one_that_does_not_answer(site: Document) -> None:
    BREAK["node off"](site)
    (row,) = [line for line in status().stdout.splitlines() if line.startswith("c ")]
    assert row.split() == ["c", "does", "not", "answer"]


LAG: dict[str, Any] = {
    "name": "dr", "images": 0, "unplanned": 0, "dead": 0, "past_images": 0, "past_dead": 0, "rpo_s": 0.0,
    "past_at": None, "past_ended": True, "failures": 0, "error": "", "state": "leads",
}  # fmt: skip


@pytest.mark.parametrize(
    ("lag", "said"),
    [
        ({}, "other site dr: RPO 0, every new image is confirmed there"),
        ({"state": "fenced"}, "fenced: dr leads, and images of modalities are refused here"),
        (
            {"images": 1200, "unplanned": 34, "rpo_s": 1500.0},
            "other site dr: RPO 25 min, the age of the oldest of 1,234 images that are not confirmed there",
        ),
        (
            {"past_images": 50, "past_ended": False, "past_at": "2026-01-02 03:04:05+00:00"},
            "50 images of the past are not there yet, and all of before 2026-01-02 03:04:05+00:00",
        ),
        (
            {"canary": {"age_s": 31.4, "seconds": 2.26, "canaries": 120, "late": 1}},
            "other site dr: a canary was confirmed 31 s ago, 2.3 s after it was stored; 1 of 120 late in an hour",
        ),
        (
            {"canary": {"age_s": 700.0, "seconds": None, "canaries": 20, "late": 20}},
            "other site dr: no canary was confirmed yet; 20 of 20 late in an hour",
        ),
        ({"dead": 1, "past_dead": 1}, "2 images or deletions were set aside: `hapacs-node outbox list --state dead`"),
        ({"failures": 3, "error": "no route [to] host"}, "failed 3 times: no route [to] host"),
    ],
)
def test_what_the_second_site_lacks_is_shown(
    site: Document, monkeypatch: pytest.MonkeyPatch, lag: dict[str, Any], said: str
) -> None:
    assert site["states"]
    monkeypatch.setattr(second_site, "lag", lambda _site, _timeout_s: LAG | lag)
    assert said in " ".join(status().stdout.split())
    assert json.loads(status("--json").stdout)["sites"]["primary"]["second_site"] == LAG | lag


def test_a_site_without_a_second_one_shows_none_and_an_unknown_state_is_said(
    site: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert site["states"]
    assert "other site" not in status().stdout
    assert json.loads(status("--json").stdout)["sites"]["primary"]["second_site"] is None
    monkeypatch.setattr(second_site, "lag", lambda _site, _timeout_s: {"name": "dr", "unknown": "no answer"})
    assert "other site dr: not known: no answer" in status().stdout
