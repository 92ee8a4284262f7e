"""``hapacs drain`` and its kin: what is handed to the playbooks, and what is made of their answer."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hapacs import cli, playbook
from hapacs.deployment import Deployment
from hapacs.errors import ExitCode, HapacsError


class Played:
    """Stands for the playbooks."""

    def __init__(self, directory: Path) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.failure: HapacsError | None = None
        self._log = directory / "log"

    def run(self, name: str, **options: Any) -> playbook.Outcome:
        self.asked.append((name, options["variables"]))
        if self.failure:
            raise self.failure
        return playbook.Outcome(self._log, {"pacs2": {"ok": 3, "changed": 1}}, said=["pacs2 is drained."])

    def fail(self, message: str, *refused: str) -> None:
        failures = [playbook.Failure("pacs3", "Ask", "lost"), playbook.Failure("pacs1", "Assert", message, refused)]
        self.failure = playbook.failed("drain", playbook.Outcome(self._log, failures=failures))


@pytest.fixture
def played(deployment: Deployment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Played:
    made = Played(tmp_path)
    deployment.contract_file.parent.mkdir(parents=True, exist_ok=True)
    deployment.contract_file.write_text('{"sites": {}}')
    monkeypatch.setattr(Deployment, "load", lambda _name: deployment)
    monkeypatch.setattr(playbook, "run", made.run)
    return made


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["hapacs", *words])
    with pytest.raises(SystemExit) as leaving:
        cli.main()
    return int(leaving.value.code or 0)


@pytest.mark.parametrize(
    ("words", "verb", "variables"),
    [
        ("drain lab --node pacs2", "drain", {"node": "pacs2"}),
        ("drain lab --node pacs2 --wait 9 --cut", "drain", {"node": "pacs2", "wait_s": 9, "cut": True}),
        ("undrain lab --node pacs2", "undrain", {"node": "pacs2"}),
        ("switchover lab --what storing", "switchover", {"what": "storing"}),
        ("switchover lab --what address", "switchover", {"what": "address"}),
        (
            "switchover lab --what database --node pacs3 --site primary",
            "switchover",
            {"what": "database", "node": "pacs3", "site": "primary"},
        ),
        ("restart lab", "restart", {"service": "all"}),
        ("restart lab --service etcd --site dr", "restart", {"service": "etcd", "site": "dr"}),
        ("renew lab --days 60", "renew", {"days": 60}),
        ("rotate lab --kind pacs", "rotate", {"kind": "pacs", "user": "verify"}),
    ],
)
def test_each_command_is_the_playbook_of_its_name(
    played: Played, words: str, verb: str, variables: dict[str, Any]
) -> None:
    done = CliRunner().invoke(cli.app, words.split(), catch_exceptions=False)
    assert done.exit_code == ExitCode.OK, done.output
    assert played.asked == [(verb, variables)]
    assert "pacs2 is drained." in done.stdout


def test_in_json_it_is_one_document(played: Played) -> None:
    done = CliRunner().invoke(cli.app, ["drain", "lab", "--node", "pacs2", "--json"], catch_exceptions=False)
    document = json.loads(done.stdout)
    assert (document["verb"], document["said"], document["changed"]) == ("drain", "pacs2 is drained.", 1)
    assert played.asked


def test_what_a_playbook_refuses_has_the_exit_code_of_a_refusal(
    played: Played, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    played.fail("a text for people", "pacs3 does not answer by SSH: switch it on")
    assert call(monkeypatch, "drain", "lab", "--node", "pacs1") == ExitCode.REFUSED
    assert "pacs3 does not answer by SSH: switch it on" in capsys.readouterr().err


def test_a_failure_later_on_is_a_failure(
    played: Played, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    played.fail("Refused, nothing was changed: 3 associations still go on")
    assert call(monkeypatch, "drain", "lab", "--node", "pacs1") == ExitCode.FAILED
    assert "3 associations still go on" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["drain lab", "switchover lab", "switchover lab --what etcd", "rotate lab"])
def test_a_command_that_lacks_a_word_is_given_wrongly(
    played: Played, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    assert call(monkeypatch, *words.split()) == ExitCode.USAGE
    assert played.asked == []


def test_a_kind_of_secret_that_is_not_rotated_is_refused_before_anything(
    played: Played, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "rotate", "lab", "--kind", "pulumi") == ExitCode.REFUSED
    assert "change-secrets-provider" in capsys.readouterr().err
    assert played.asked == []


def test_a_deployment_that_is_not_up_is_refused(
    played: Played, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment.contract_file.unlink()
    assert call(monkeypatch, "restart", "lab") == ExitCode.REFUSED
    assert played.asked == []
