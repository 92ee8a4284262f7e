"""``hapacs rebuild``: which node is asked, what is printed, and how it ends."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from typer.testing import CliRunner

from hapacs.cli import chosen
from hapacs.cli.commands import app
from hapacs.site import rebuild, study
from hapacs.site.access import Site
from tests.unit.site.test_study import FakeSite

REPORT: dict[str, Any] = {
    "ok": True,
    "failure": None,
    "objects": 3,
    "done": 3,
    "images": {"stored": 21, "superseded": 1},
    "problems": {},
    "lost": 0,
    "in_manifests": 20,
    "found": 22,
    "listed": [],
    "seconds": 2.0,
    "images_per_s": 11.0,
}
DAMAGED = {
    "kind": "damaged",
    "key": "packs/2026-01-01/x.tar",
    "at": 512,
    "digest": "ab" * 32,
    "detail": "other bytes",
    "whole_elsewhere": False,
}


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> FakeSite:
    fake = FakeSite()
    fake.report = REPORT
    monkeypatch.setattr(study, "collect", lambda _: SimpleNamespace(writers=["pacs2"]))
    monkeypatch.setattr(chosen, "sites", lambda _name, _site: [fake])
    return fake


def test_the_node_that_stores_rebuilds(site: FakeSite) -> None:
    result = CliRunner().invoke(app, ["rebuild", "lab", "--from-archive", "--json"])
    assert result.exit_code == 0
    ((node, words),) = site.asked
    assert node == "pacs2"
    assert words[2:6] == ["rebuild", "--from-archive", "--store", "https://10.0.0.2:8042"]
    assert json.loads(result.stdout)["images"] == REPORT["images"]


def test_what_is_lost_is_named_and_is_a_failure(site: FakeSite) -> None:
    site.report = REPORT | {"ok": False, "lost": 1, "listed": [DAMAGED], "problems": {"damaged": 1}}
    result = CliRunner().invoke(app, ["rebuild", "lab", "--from-archive"])
    assert result.exit_code == 1
    assert "packs/2026-01-01/x.tar" in result.stdout
    assert "21 stored again" in result.stdout


def test_how_far_it_is_is_shown(site: FakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    seen = threading.Event()

    def now(what: str) -> None:
        shown.append(what)
        seen.set()

    def run(_node: object, words: Sequence[str], _text: str, _timeout_s: float = 60) -> str:
        if "--status" in words:
            return json.dumps({"objects": 1200, "done": 300})
        assert seen.wait(timeout=30)
        return json.dumps(REPORT)

    monkeypatch.setattr(site, "run", run)
    monkeypatch.setattr(rebuild, "_LOOK_EVERY_S", 0.01)
    assert rebuild.rebuild(cast("Site", site), now)["ok"]
    assert shown[0] == "300 of 1,200 archive objects read"


def test_it_has_to_be_told_from_what(site: FakeSite) -> None:
    result = CliRunner().invoke(app, ["rebuild", "lab"])
    assert result.exit_code != 0
    assert not site.asked
