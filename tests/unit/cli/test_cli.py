"""The command line, with its machinery played."""

import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from hapacs import backport, cli, engine, image, playbook, secrets, status_page, verify, viewer, wheelhouse
from hapacs.changes import Change, Changes
from hapacs.cli import down as cli_down
from hapacs.deployment import PROJECT, Deployment
from hapacs.errors import ExitCode
from hapacs.targets.lab import teardown
from hapacs.verify import Check, Report

NODE = Change("create", "LabNode", "pacs1", ())


@pytest.fixture
def played(deployment: Deployment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """Everything that touches the machine is replaced by a note of what was asked for."""
    told: list[str] = []
    played = SimpleNamespace(told=told, checks=[Check("etcd", True, "3 members")], changes=[NODE], failure=None)

    class PlayedEngine:
        def __init__(self, _deployment: Deployment, on_change: Callable[[Change], object] = lambda _: None) -> None:
            self._on_change = on_change

        def preview(self) -> Changes:
            return Changes({"sites": {}}, played.changes)

        def up(self) -> Changes:
            told.append("machines")
            self._on_change(NODE)
            return Changes({"sites": {}}, played.changes)

        def down(self) -> list[Change]:
            told.append("forget")
            return []

    def run(name: str, **options: Any) -> playbook.Outcome:
        told.append(" ".join([name, *options.get("options", ())]))
        played.variables = options["variables"]
        if played.failure:
            raise played.failure
        counts = {"ok": 9, "changed": 2, "unreachable": 0, "failed": 0}
        return playbook.Outcome(tmp_path / "log", {"pacs1": counts, "pacs2": counts}, {"Firewall": {"pacs2", "pacs1"}})

    def prove(*_: object, **__: object) -> Report:
        told.append("verify")
        return Report(tuple(played.checks))

    monkeypatch.setattr(Deployment, "load", lambda _name: deployment)
    monkeypatch.setattr(engine, "Engine", PlayedEngine)
    monkeypatch.setattr(image, "ensure", lambda **_: told.append("image"))
    monkeypatch.setattr(image, "identifier", lambda: "abc")
    monkeypatch.setattr(image, "package_variables", lambda: {"hapacs_node_wheel": "/wheel"})
    monkeypatch.setattr(wheelhouse, "ensure", lambda: told.append("wheels"))
    monkeypatch.setattr(wheelhouse, "node_wheel", lambda: None)
    monkeypatch.setattr(viewer, "ensure", lambda: told.append("viewer"))
    monkeypatch.setattr(status_page, "ensure", lambda: told.append("status page"))
    monkeypatch.setattr(backport, "ensure", lambda _on_step: told.append("packages"))
    monkeypatch.setattr(playbook, "run", run)
    monkeypatch.setattr(verify, "run", prove)
    monkeypatch.setattr(teardown, "sweep", lambda _deployment: told.append("sweep"))
    return played


def call(*words: str, typed: str = "") -> Result:
    return CliRunner().invoke(cli.app, list(words), input=typed, catch_exceptions=False)


def call_main(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["hapacs", *words])
    with pytest.raises(SystemExit) as leaving:
        cli.main()
    return int(leaving.value.code or 0)


def test_up_does_everything_in_its_order_and_says_so(played: SimpleNamespace) -> None:
    done = call("up", "lab")
    assert done.exit_code == ExitCode.OK
    assert played.told == ["wheels", "viewer", "status page", "packages", "image", "machines", "site", "verify"]
    assert played.variables == {"hapacs_image_id": "abc", "hapacs_node_wheel": "/wheel"}
    assert "pacs1 : ok=9 changed=2 unreachable=0 failed=0" in done.stdout
    assert "changed=4 in all" in done.stdout
    assert "10.89.77.10:11112" in done.stdout
    for step in ("Secrets", "Packages", "Golden image", "Machines", "Configuration", "Verification"):
        assert f"✓ {step}" in done.stdout


def test_up_in_json_is_one_document(played: SimpleNamespace) -> None:
    document = json.loads(call("up", "lab", "--json").stdout)
    assert document["ok"] is True
    assert document["changed"] == 4
    assert document["recap"]["pacs1"]["changed"] == 2
    assert document["checks"] == [{"name": "etcd", "ok": True, "detail": "3 members"}]
    assert document["machines"][0]["name"] == "pacs1"
    assert set(document["seconds"]) >= {"Machines", "Configuration"}
    assert played.told[-1] == "verify"


def test_up_that_ends_unhealthy_says_what_and_has_its_own_exit_code(played: SimpleNamespace) -> None:
    played.checks.append(Check("C-ECHO", False, "refused"))
    done = call("up", "lab")
    assert done.exit_code == ExitCode.UNHEALTHY
    assert "C-ECHO: refused" in done.stdout
    assert "1 of 2 checks failed" in done.stdout


def test_a_failed_step_ends_without_a_traceback_and_says_what_to_do(
    played: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    outcome = playbook.Outcome(tmp_path / "the.log", failures=[playbook.Failure("pacs2", "etcd : Run", "no quorum")])
    played.failure = playbook.PlaybookError("site", outcome)
    assert call_main(monkeypatch, "up", "lab") == ExitCode.FAILED
    said = capsys.readouterr()
    assert "host pacs2, task [etcd : Run]" in said.err
    assert "the.log" in said.err
    assert "it continues" in said.err
    assert "Traceback" not in said.err + said.out
    assert "verify" not in played.told


def test_an_interruption_has_its_own_exit_code_and_says_what_may_be_half_done(
    played: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    played.failure = KeyboardInterrupt()
    assert call_main(monkeypatch, "up", "lab") == ExitCode.INTERRUPTED
    said = capsys.readouterr().err
    assert "Interrupted: `hapacs up lab`, in the step 'Configuration'." in said
    assert "Some nodes may have the new configuration and others the former one." in said
    assert "Run the same command again" in said


@pytest.mark.usefixtures("played")
def test_two_at_a_time_are_refused(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with deployment.alone():
        assert call_main(monkeypatch, "up", "lab") == ExitCode.REFUSED
    assert "Another hapacs is working on 'lab'" in capsys.readouterr().err
    assert call("up", "lab").exit_code == ExitCode.OK


def test_settings_that_are_wrong_touch_nothing(
    played: SimpleNamespace, deployment: Deployment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = deployment.directory / "settings.yaml"
    settings.write_text(settings.read_text().replace("router_id: 77", "router_id: 7777"))
    assert call_main(monkeypatch, "up", "lab") == ExitCode.REFUSED
    assert "sites.primary.vip.router_id" in capsys.readouterr().err
    assert played.told == []
    assert not deployment.secrets_file.exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("st john", "A possible name: 'st-john'."),
        ("Lab", "Did you mean 'lab'?"),
        ("lap", "Did you mean 'lab'?"),
        ("9", "begins with a letter"),
        ("../lab", "lower-case letters, digits and hyphens"),
        ("nowhere", "write inventories/nowhere/settings.yaml"),
    ],
)
def test_an_unknown_deployment_is_refused_with_a_name_that_is_possible(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    assert call_main(monkeypatch, "plan", name) == ExitCode.REFUSED
    assert said in (printed := capsys.readouterr().err)
    if not re.fullmatch("[a-z]+", name):
        assert f"inventories/{name}" not in printed


@pytest.mark.parametrize("words", ["status lab", "verify lab", "drain lab --node pacs1"])
def test_a_deployment_that_is_not_up_here_names_the_places_looked_at(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, words: str
) -> None:
    monkeypatch.setenv("HAPACS_STATE_DIR", str(tmp_path))
    assert call_main(monkeypatch, *words.split()) == ExitCode.REFUSED
    said = capsys.readouterr().err
    assert str(tmp_path / "lab") in said
    assert str(PROJECT) in said
    assert "another user or another HAPACS_STATE_DIR" in said


@pytest.mark.usefixtures("played")
def test_init_makes_keys_and_secrets_once(deployment: Deployment) -> None:
    first = json.loads(call("init", "lab", "--json").stdout)
    assert len(first["secrets_made"]) > 10
    assert deployment.ssh_key.exists()
    assert json.loads(call("init", "lab", "--json").stdout)["secrets_made"] == []


def test_down_of_a_lab_that_never_held_an_image_asks_nothing(played: SimpleNamespace) -> None:
    call("init", "lab")
    assert call("down", "lab").exit_code == ExitCode.OK
    assert played.told == ["forget", "sweep"]


def test_down_of_a_lab_whose_secrets_are_lost_removes_it(played: SimpleNamespace) -> None:
    assert call("down", "lab").exit_code == ExitCode.OK
    assert played.told == ["sweep"]


@pytest.fixture
def lab_with_images(played: SimpleNamespace, deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    assert played.told == []
    call("init", "lab")
    deployment.contract_file.write_text('{"sites": {}}')
    monkeypatch.setattr(cli_down, "_count_images", lambda _: 1234)
    return deployment


@pytest.mark.usefixtures("lab_with_images")
def test_down_of_a_lab_without_a_terminal_is_refused_and_says_what_would_be_lost(
    played: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("lab\n"))
    assert call_main(monkeypatch, "down", "lab") == ExitCode.REFUSED
    said = capsys.readouterr().err
    assert "1,234 images" in said
    assert "`hapacs down lab --yes`" in said
    assert played.told == []


@pytest.mark.parametrize("words", [("--yes",), ("--confirm", "lab"), ("--yes", "--json")])
@pytest.mark.usefixtures("lab_with_images")
def test_down_of_a_confirmed_lab_removes_it(played: SimpleNamespace, words: tuple[str, ...]) -> None:
    done = call("down", "lab", *words)
    assert done.exit_code == ExitCode.OK
    assert played.told == ["forget", "sweep"]
    if "--json" in words:
        assert json.loads(done.stdout)["machines_removed"] is True


@pytest.mark.parametrize(("typed", "code"), [("lab", ExitCode.OK), ("lap", ExitCode.REFUSED), ("", ExitCode.REFUSED)])
@pytest.mark.usefixtures("lab_with_images")
def test_down_of_a_lab_at_a_terminal_wants_its_name(
    played: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, typed: str, code: ExitCode
) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("typer.prompt", lambda *_, **__: typed)
    assert call_main(monkeypatch, "down", "lab") == code
    assert bool(played.told) == (code == ExitCode.OK)


def test_the_size_of_sparse_files_is_what_they_use(tmp_path: Path) -> None:
    with (tmp_path / "disk.img").open("wb") as disk:
        disk.truncate(2**30)
    assert cli_down._allocated_bytes(tmp_path) < 2**20


@pytest.fixture
def hospital(played: SimpleNamespace, deployment: Deployment) -> Deployment:
    assert played.told == []
    settings = deployment.directory / "settings.yaml"
    text = settings.read_text().replace("kind: lab", "kind: static")
    for node in ("pacs1", "pacs2", "pacs3", "dr1"):
        disks = ", ".join(f"/dev/disk/by-id/{node}-{disk}" for disk in "ab")
        text = text.replace(f"{node}: {{zone", f"{node}: {{das_devices: [{disks}], zone")
    settings.write_text(text)
    call("init", "lab")
    return deployment


@pytest.mark.parametrize(("words", "typed"), [((), "wrong\n"), ((), "\n"), (("--confirm", "other"), "")])
@pytest.mark.usefixtures("hospital")
def test_down_of_any_other_deployment_wants_its_name(
    played: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], typed: str
) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("typer.prompt", lambda *_, **__: typed.strip())
    assert call_main(monkeypatch, "down", "lab", *words) == ExitCode.REFUSED
    assert played.told == []


def test_down_with_the_name_forgets_and_touches_nothing(played: SimpleNamespace, hospital: Deployment) -> None:
    assert call("down", "lab", "--confirm", "lab").exit_code == ExitCode.OK
    assert played.told == ["forget"]
    assert hospital.secrets_file.exists()
    assert hospital.ssh_key.exists()


@pytest.mark.usefixtures("played")
def test_env_prints_exports_and_no_secret(deployment: Deployment) -> None:
    call("init", "lab")
    printed = call("env", "lab").stdout
    assert f"export PULUMI_BACKEND_URL=file://{deployment.state}/pulumi" in printed
    assert 'PULUMI_CONFIG_PASSPHRASE="$(sops' in printed
    assert not [value for value in secrets.read(deployment).values() if str(value) in printed]


def test_the_help_lists_every_command_and_the_exit_codes() -> None:
    printed = call("--help").stdout
    for word in ("init", "plan", "up", "status", "verify", "down", "env", "Exit codes"):
        assert word in printed


@pytest.mark.parametrize("words", [["init"], ["plan"], ["up"]])
@pytest.mark.usefixtures("hospital")
def test_warnings_are_printed_and_the_command_goes_on(words: list[str]) -> None:
    done = call(*words, "lab")
    assert done.exit_code == ExitCode.OK
    assert "! sites.primary.policy.retention_days: a lock of 1 day is short" in done.stderr
