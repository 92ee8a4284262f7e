"""`hapacs dr`: what is shown of both sites, what is kept of a promotion or a move, and the exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from typer.testing import CliRunner

from hapacs.cli import app, chosen
from hapacs.deployment import Deployment
from hapacs.errors import ExitCode, HapacsError, RefusedError
from hapacs.site import second_site, takeover
from hapacs.site.access import Site
from hapacs.site.takeover import Seen, Sites
from tests.unit.cli.test_dr_compare import DIFFERENT, EQUAL


def site(name: str, role: str, **also: Any) -> Site:
    dicom = {"store_ae": name.upper(), "query_ae": f"{name.upper()}_QR", "port": 11112, **also}
    made = SimpleNamespace(name=name, vip=f"10.0.0.{len(name)}", contract={"role": role, "dicom": dicom})
    return cast(Site, made)


MAIN = site("main", "primary")
DR = site("dr", "dr", also={"store_ae": "MAIN", "query_ae": "MAIN_QR"})


def seen(at: Any, state: str, term: int = 1, images: int = 0, *, past_ended: bool = True) -> Seen:
    here = {"role": "", "state": state, "term": term, "changed_at": "2026-11-30 10:11:12.123+00:00", "reason": "a test",
            "other": None}  # fmt: skip
    return Seen(at, {"ok": True, "site": here, "says": {"images": images, "past_ended": past_ended}})


@pytest.fixture(autouse=True)
def _both(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(chosen, "sites", lambda _name, one: [at for at in (MAIN, DR) if one in {"", at.name}])
    monkeypatch.setattr(Deployment, "load", lambda _name: SimpleNamespace(state=tmp_path))


def run(*words: str) -> Any:
    return CliRunner().invoke(app, ["dr", words[0], "lab", *words[1:]], env={"COLUMNS": "250"})


@pytest.mark.parametrize(
    ("looked", "code", "shown"),
    [
        ((seen(MAIN, "leads"), seen(DR, "follows", images=3)), ExitCode.OK, ["leads", "follows", "3", "a test"]),
        ((seen(MAIN, "fenced"), seen(DR, "leads", 2)), ExitCode.OK, ["fenced", "2026-11-30 10:11:12"]),
        ((seen(MAIN, "leads"), seen(DR, "leads", 2)), ExitCode.UNHEALTHY, ["Both sites lead."]),
        ((seen(MAIN, "fenced"), seen(DR, "fenced")), ExitCode.UNHEALTHY, ["No site leads"]),
        ((Seen(MAIN, None, "pacs1: off"), seen(DR, "leads")), ExitCode.FAILED, ["does not answer", "pacs1: off"]),
        ((seen(MAIN, "leads", past_ended=False), seen(DR, "follows")), ExitCode.OK, ["0, and images of the past"]),
    ],
)
def test_both_sites_are_shown(
    looked: tuple[Seen, Seen], code: int, shown: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sites, "look", lambda _: looked)
    done = run("status")
    assert done.exit_code == code, done.output
    assert [part for part in shown if part not in done.output] == []
    machine = run("status", "--json")
    assert machine.exit_code == code
    document = json.loads(machine.stdout)
    assert document["leads"] == [one.site.name for one in looked if one.document and one.state == "leads"]
    assert set(document["sites"]) == {"main", "dr"}


@pytest.mark.parametrize(
    ("report", "shown"),
    [
        ({"missing": 7, "as_of": "12:00"}, "7 acknowledged images are not here as of 12:00"),
        ({"missing": 0, "as_of": "12:00"}, "No acknowledged image is missing as of 12:00"),
        ({"missing": 0, "as_of": None}, "main never said which of its images are missing here"),
        ({"missing": 0, "as_of": "12:00", "missing_is_all": False}, "and images of the past that were not counted yet"),
    ],
)
def test_a_promotion_says_where_to_send_and_keeps_what_is_missing(
    report: dict[str, Any], shown: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = {"leads": "dr", "term": 2, "primary_answered": False, "missing_is_all": True, "named": ["1.2"],
             "rpo_s": 61.2, "seconds": 4.6} | report  # fmt: skip
    given: list[int | None] = []

    def promote(_sites: Sites, missing: int | None, _now: Any) -> dict[str, Any]:
        given.append(missing)
        return dict(whole)

    monkeypatch.setattr(takeover, "promote", promote)
    done = run("promote", "--missing", "7")
    assert done.exit_code == 0, done.output
    assert shown in done.output
    assert "store: DR or MAIN at 10.0.0.2:11112" in done.output
    assert given == [7]
    (kept,), (page,) = (list((tmp_path / "dr").glob(f"*-promote.{kind}")) for kind in ("json", "html"))
    assert json.loads(kept.read_text())["named"] == ["1.2"]
    assert str(page) in done.output
    written = page.read_text(encoding="utf-8")
    assert "hapacs dr promote" in written
    assert "<li>1.2</li>" in written
    assert ("no image is missing" in written) == (report["missing"] == 0 and shown.startswith("No "))


@pytest.mark.parametrize(("word", "to"), [("switch", "dr"), ("failback", "main")])
@pytest.mark.parametrize("equal", [True, False])
def test_a_move_compares_before_and_after(word: str, to: str, equal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[tuple[str, float]] = []
    reports = iter([EQUAL, EQUAL if equal else DIFFERENT] * 2)

    def move(_sites: Sites, at: Any, wait_s: float, prove: Any, _now: Any) -> dict[str, Any]:
        prove()
        moved.append((at.name, wait_s))
        return {"leads": at.name, "term": 3, "seconds": 4.5, "held_s": 2.5}

    monkeypatch.setattr(takeover, "move", move)
    monkeypatch.setattr(second_site, "compare", lambda at, _study: next(reports) if at is MAIN else None)
    done = run(word, "--wait", "60")
    assert done.exit_code == (ExitCode.OK if equal else ExitCode.FAILED), done.output
    assert f"{to} leads with term 3" in done.output
    assert ("same 1,200 images" in done.output) == equal
    machine = run(word, "--json")
    assert machine.exit_code == done.exit_code
    assert json.loads(machine.stdout)["comparison"]["equal"] == equal
    assert moved == [(to, 60), (to, 3600)]
    page = Path(json.loads(machine.stdout)["page"]).read_text(encoding="utf-8")
    assert f"hapacs dr {word}" in page
    assert "2.5 s of 4.5 s" in page
    assert ("no image is missing" in page) == equal
    assert ("<th>only here</th><td>4,100</td>" in page) != equal


def test_a_move_of_sites_that_differ_is_refused_before_anything_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_site, "compare", lambda *_: DIFFERENT)
    monkeypatch.setattr(takeover, "move", lambda _sites, _to, _wait, prove, _now: prove())
    done = run("failback")
    assert isinstance(done.exception, HapacsError)
    assert "4,100 only here" in str(done.exception)


@pytest.mark.parametrize(("words", "source"), [((), "dr"), (("--from", "main"), "main")])
def test_all_images_are_planned_again_from_the_site_that_leads_or_is_named(
    words: tuple[str, ...], source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(Sites, "look", lambda _: (seen(MAIN, "fenced"), seen(DR, "leads")))
    monkeypatch.setattr(takeover, "resync", lambda at: asked.append(at.name))
    done = run("resync", *words, "--json")
    assert json.loads(done.stdout) == {"deployment": "lab", "from": source}
    assert asked == [source]


def test_a_refusal_changes_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object) -> None:
        raise RefusedError("main answers", "")

    monkeypatch.setattr(takeover, "promote", refuse)
    done = run("promote")
    assert isinstance(done.exception, RefusedError)
    assert not (tmp_path / "dr").exists()
