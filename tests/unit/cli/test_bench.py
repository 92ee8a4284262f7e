import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hapacs.bench import copies, growth, ingest, reconcile, retrieve, routing, viewer
from hapacs.cli import app
from hapacs.deployment import Deployment
from hapacs.site import access
from tests.unit.bench import fakes

RESULTS = {
    "ingest": (ingest, fakes.ingest),
    "retrieve": (retrieve, fakes.retrieve),
    "growth": (growth, fakes.growth),
    "routing": (routing, fakes.routing),
    "copies": (copies, fakes.copies),
    "viewer": (viewer, fakes.viewer),
}


@pytest.fixture
def asked(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Let every benchmark end at once, and return the options with which it was begun."""
    options: list[Any] = []

    def measure(document: dict[str, Any]) -> Any:
        def run(_: Any, given: Any, on_step: Any) -> dict[str, Any]:
            on_step("measuring")
            options.append(given)
            return document

        return run

    monkeypatch.setattr(Deployment, "load", lambda _: deployment)
    monkeypatch.setattr(access, "sites", lambda _: [fakes.site()])
    for module, document in RESULTS.values():
        monkeypatch.setattr(module, "run", measure(document()))
    return options


@pytest.mark.parametrize("kind", RESULTS)
def test_a_machine_gets_one_document_and_the_deployment_keeps_it(
    kind: str, asked: list[Any], deployment: Deployment
) -> None:
    done = CliRunner().invoke(app, ["bench", kind, "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["benchmark"] == kind
    assert document["failed"] == 0
    assert json.loads((deployment.state / "bench" / f"{kind}.json").read_text()) == document
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("ingest", "ratio 0.50"),
        ("retrieve", "wado-rs"),
        ("growth", "1,000,000"),
        ("routing", "live_ratio 0.97"),
        ("copies", "p95_ratio 1.08 beside 10,000 images"),
        ("viewer", "cold_ratio 0.90 for 500"),
    ],
)
@pytest.mark.usefixtures("asked")
def test_people_get_the_figures(kind: str, told: str) -> None:
    done = CliRunner().invoke(app, ["bench", kind])
    assert done.exit_code == 0, done.output
    assert told in done.output
    assert "hapacs bench report" in done.output


def test_options_reach_the_benchmark(asked: list[Any]) -> None:
    words = ["bench", "ingest", "--associations", "4", "--instances", "40", "--size", "64", "--rounds", "2", "--json"]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert asked == [ingest.Options(associations=4, instances=40, rows=64, rounds=2)]


def test_options_of_copies_are_those_of_ingest_and_a_backlog(asked: list[Any]) -> None:
    words = ["bench", "copies", "--backlog", "2000", "--instances", "40", "--size", "64", "--rounds", "2", "--json"]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert asked == [copies.Options(associations=8, instances=40, rows=64, rounds=2, backlog=2000)]


def test_a_failed_image_is_an_exit_code(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Deployment, "load", lambda _: deployment)
    monkeypatch.setattr(access, "sites", lambda _: [fakes.site()])
    monkeypatch.setattr(ingest, "run", lambda *_: fakes.ingest(failed=2, failures=["status 0xA700"]))
    done = CliRunner().invoke(app, ["bench", "ingest"])
    assert done.exit_code == 4
    assert "status 0xA700" in done.output


@pytest.mark.parametrize(
    ("changes", "code"), [({}, 0), ({"within": False}, 4), ({"findings": 1}, 4)], ids=["well", "too much", "a finding"]
)
def test_reconcile_fails_when_it_takes_too_much_or_rows_do_not_agree(
    changes: dict[str, Any], code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    measured = {"rows": 2000, "compare_s": 12.0, "processor_s": 7.0, "most_bytes": 90_000_000, "findings": 0}
    measured |= {"within": True} | changes
    monkeypatch.setattr(reconcile, "run", lambda rows, _: measured | {"rows": rows})
    words = ["bench", "reconcile", "--rows", "2000", "--output", str(tmp_path / "result.json")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == code, done.output
    assert "2,000 rows: 12 s, 7 s of processor time, at most 90 MB" in done.output
    machine = CliRunner().invoke(app, [*words, "--json"])
    assert machine.exit_code == code
    assert json.loads(machine.stdout) == json.loads((tmp_path / "result.json").read_text())
