"""`hapacs dr conflicts` and `keep`: what both sites have set aside, and what each of them is told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from typer.testing import CliRunner

from hapacs.cli import app, chosen
from hapacs.errors import ExitCode, HapacsError, RefusedError, UsageError
from hapacs.site import node_program
from tests.unit.cli.test_dr import DR, MAIN

AT = "2026-11-30T10:11:12+00:00"


class Nodes:
    """What the sites' nodes answer, and what they were told."""

    def __init__(self) -> None:
        self.aside = {"main": {"1.1": "aa" * 32, "1.2": "bb" * 32}, "dr": {"1.1": "cc" * 32, "1.9": "dd" * 32}}
        self.told: list[tuple[str, str, list[str]]] = []
        self.gone: set[str] = set()

    def answer(self, site: Any, words: Sequence[str], timeout_s: float, text: str = "") -> dict[str, Any]:
        del timeout_s
        if words[1] == "aside":
            rows = self.aside[site.name].items()
            about = {"study": "1", "caller": None, "stored_at": AT, "reason": "other bytes are there"}
            return {"node": "n", "aside": [{"sop": sop, "digest": digest, **about} for sop, digest in rows]}
        sops = text.split()
        assert words[2:4] == ("--reason", "wrong scan")
        self.told.append((site.name, words[1], sops))
        return {"node": "n", "done": [sop for sop in sops if sop not in self.gone]}


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Nodes:
    made = Nodes()
    monkeypatch.setattr(node_program, "first_report", made.answer)
    monkeypatch.setattr(chosen, "sites", lambda _name, _one: [MAIN, DR])
    return made


def run(*words: str) -> Any:
    return CliRunner().invoke(app, ["dr", words[0], "lab", *words[1:]], env={"COLUMNS": "250"})


def keep(*words: str) -> Any:
    return run("keep", "--reason", "wrong scan", *words)


def test_only_what_both_sites_set_aside_is_a_conflict(nodes: Nodes) -> None:
    done = run("conflicts", "--json")
    assert done.exit_code == ExitCode.FAILED
    (found,) = json.loads(done.stdout)["conflicts"]
    assert found["sop"] == "1.1"
    assert {site: one["digest"] for site, one in found["versions"].items()} == {"main": "aa" * 32, "dr": "cc" * 32}
    shown = run("conflicts").stdout
    assert "cccccccccccc" in shown
    assert "an unknown caller" in shown
    nodes.aside["dr"].pop("1.1")
    assert run("conflicts").exit_code == ExitCode.OK


def test_other_site_gives_way_before_the_chosen_one_sends_again(nodes: Nodes) -> None:
    done = keep("--from", "dr", "--image", "1.1", "--json")
    assert json.loads(done.stdout)["kept"] == 1
    assert nodes.told == [("main", "give-way", ["1.1"]), ("dr", "keep", ["1.1"])]


def test_all_are_decided_at_once(nodes: Nodes) -> None:
    nodes.aside["dr"]["1.2"] = "ee" * 32
    assert keep("--from", "main", "--all").exit_code == ExitCode.OK
    assert nodes.told == [("dr", "give-way", ["1.1", "1.2"]), ("main", "keep", ["1.1", "1.2"])]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--from", "dr", "--image", "1.2"), UsageError),
        (("--from", "dr"), UsageError),
        (("--from", "dr", "--all", "--image", "1.1"), UsageError),
        (("--from", "moon", "--all"), RefusedError),
    ],
)
def test_nothing_is_told_when_the_choice_is_not_clear(nodes: Nodes, words: tuple[str, ...], error: type) -> None:
    assert isinstance(keep(*words).exception, error)
    assert nodes.told == []


def test_what_is_not_sent_again_is_named(nodes: Nodes) -> None:
    nodes.gone = {"1.1"}
    with pytest.raises(HapacsError, match=r"1 images are not sent again by dr: 1\.1"):
        raise keep("--from", "dr", "--all").exception
