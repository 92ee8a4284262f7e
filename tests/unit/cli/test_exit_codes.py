"""The exit code of each kind of end, and the command of a copied tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from hapacs import cli
from hapacs.cli import commands
from hapacs.deployment import PROJECT
from hapacs.errors import ExitCode, HapacsError, RefusedError, UsageError
from hapacs.settings import SettingsError
from hapacs.settings.problem import Problem


def _raise(error: BaseException) -> Callable[[], None]:
    def run() -> None:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (HapacsError("It failed.", "Try again."), 1),
        (UsageError("There is no check x.", "Known checks: y."), 2),
        (RefusedError("It is not up.", "Run up."), 3),
        (SettingsError("settings.yaml", [Problem("vip", "is missing")]), 3),
        (PermissionError(13, "Permission denied", "/state"), 1),
        (typer.Exit(ExitCode.UNHEALTHY), 4),
        (KeyboardInterrupt(), 130),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_kind_of_error_has_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int
) -> None:
    app = typer.Typer()
    app.command()(_raise(error))
    monkeypatch.setattr(commands, "app", app)
    monkeypatch.setattr(sys, "argv", ["hapacs"])
    with pytest.raises(SystemExit) as leaving:
        cli.main()
    assert leaving.value.code == code
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err


@pytest.mark.parametrize("words", ["nosuch", "up --nosuch", "drain lab", "verify lab --only nosuch"])
def test_a_wrong_command_line_ends_with_2_and_prints_nothing_on_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["hapacs", *words.split()])
    with pytest.raises(SystemExit) as leaving:
        cli.main()
    assert leaving.value.code == ExitCode.USAGE
    said = capsys.readouterr()
    assert said.out == ""
    if "only" in words:
        assert "c-store" in said.err


def test_the_command_of_a_copied_tree_is_refused(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    launcher = copy / ".venv" / "bin" / "hapacs"
    launcher.parent.mkdir(parents=True)
    shutil.copytree(PROJECT / "pulumi" / "hapacs" / "cli", copy / "pulumi" / "hapacs" / "cli")
    # A copied launcher still names the interpreter of the tree it came from.
    launcher.write_text(f"#!{sys.executable}\nfrom hapacs.cli import main\nmain()\n", encoding="utf-8")
    launcher.chmod(0o755)
    done = subprocess.run([launcher, "--version"], capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == ExitCode.REFUSED
    assert f"would run the code of another tree: {PROJECT}." in done.stderr
    assert f"Run `make setup` in {copy}" in done.stderr
    link = tmp_path / "hapacs"
    link.symlink_to(launcher)
    assert subprocess.run([link, "--version"], capture_output=True, check=False).returncode == ExitCode.REFUSED


def test_the_version_names_the_tree(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["hapacs", "--version"])
    with pytest.raises(SystemExit) as leaving:
        cli.main()
    assert leaving.value.code == ExitCode.OK
    assert str(PROJECT) in capsys.readouterr().out
