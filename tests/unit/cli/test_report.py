"""``hapacs report``: the files that it writes, and what it says when numbers are missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hapacs import cli
from hapacs.availability import numbers, page
from hapacs.availability.numbers import Numbers
from hapacs.deployment import PROJECT, Deployment
from hapacs.errors import ExitCode, HapacsError
from hapacs.site.access import Site, sites


@pytest.fixture
def lab(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    deployment.contract_file.parent.mkdir(parents=True, exist_ok=True)
    contract = (PROJECT / "tests" / "contract" / "lab.json").read_text(encoding="utf-8")
    deployment.contract_file.write_text(contract, encoding="utf-8")
    monkeypatch.setattr(Deployment, "load", lambda _name: deployment)
    monkeypatch.setattr(numbers, "of_site", lambda _site: Numbers({"pacs1": "http://127.0.0.1:9"}, None))
    return deployment


def test_command_writes_page_and_json_and_says_that_nothing_answered(lab: Deployment) -> None:
    words = ["report", "availability", "lab", "--month", "2026-10", "--json"]
    done = CliRunner().invoke(cli.app, words, catch_exceptions=False)
    assert done.exit_code == ExitCode.UNHEALTHY
    document = json.loads(done.stdout)
    assert [one["name"] for one in document["sites"]] == ["primary", "dr"]
    assert "No Prometheus answered" in done.stderr
    file = Path(document["page"])
    assert file.parent == lab.state / "reports"
    assert json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))["month"] == "2026-10"
    assert "@media print" in file.read_text(encoding="utf-8")


def test_command_ends_well_when_all_sites_were_measured(lab: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "site_month", lambda *_: page.SiteMonth("primary", [], [], [], [], measured=True))
    done = CliRunner().invoke(cli.app, ["report", "availability"], catch_exceptions=False)
    assert done.exit_code == ExitCode.OK
    assert list((lab.state / "reports").glob("availability-*.html"))


def test_missing_certificates_are_said_with_what_makes_them(lab: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    def tls(_self: Site, authority: str, *, client: bool) -> None:
        raise FileNotFoundError(f"{authority} {client}")

    monkeypatch.undo()
    monkeypatch.setattr(Site, "tls", tls)
    with pytest.raises(HapacsError) as caught:
        numbers.of_site(sites(lab)[0])
    assert "the Prometheus of primary can't be read: monitoring True" in caught.value.message
    assert "hapacs up lab" in caught.value.hint
