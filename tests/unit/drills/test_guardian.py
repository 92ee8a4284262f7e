"""The process that undoes a fault when the command is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hapacs.drills import guardian


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "fault-is-there"
    made.write_text("pacs2")
    return made


def test_fault_is_undone_when_the_command_is_gone(file: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as gone:
        gone.wait()
    healed: list[str] = []
    assert guardian.guard(file, gone.pid, healed.append)
    assert healed == ["pacs2"]
    assert not file.exists()


def test_every_place_is_undone_when_the_command_is_gone(file: Path) -> None:
    file.write_text("pacs2\npacs3\n")
    with subprocess.Popen([sys.executable, "-c", "pass"]) as gone:
        gone.wait()
    healed: list[str] = []
    assert guardian.guard(file, gone.pid, healed.append)
    assert healed == ["pacs2", "pacs3", ""]


def test_fault_that_the_command_undid_is_left_alone(file: Path) -> None:
    file.unlink()
    healed: list[str] = []
    assert not guardian.guard(file, os.getpid(), healed.append)
    assert healed == []


def test_command_that_ends_with_the_fault_undone_is_left_alone(file: Path) -> None:
    file.unlink()
    with subprocess.Popen([sys.executable, "-c", "pass"]) as gone:
        gone.wait()
    assert not guardian.guard(file, gone.pid, lambda _: pytest.fail("there was nothing to undo"))
