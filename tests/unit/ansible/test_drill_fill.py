"""A disk is filled, and filled again when space came free before the proof."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from tests.unit.ansible.loading import load_script

MIB = 1 << 20


class Disk:
    """Has room for a file of `room` bytes."""

    def __init__(self) -> None:
        self.room = 10 * MIB

    def allocate(self, file: int, offset: int, length: int) -> None:
        if offset + length > self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        os.ftruncate(file, offset + length)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    made = Disk()
    monkeypatch.setattr(os, "posix_fallocate", made.allocate)
    return made


@pytest.fixture
def plan(tmp_path: Path) -> dict[str, Any]:
    return {"path": str(tmp_path / ".hapacs-drill")}


@pytest.fixture
def fill(tmp_path: Path, plan: dict[str, Any], disk: Disk) -> Any:
    made = load_script("drill/files/drill_fill.py").Fill({"directory": str(tmp_path)})
    made.apply(plan)
    assert 0 <= disk.room - size(plan) < MIB
    return made


def size(plan: dict[str, Any]) -> int:
    return Path(plan["path"]).stat().st_size


def test_space_that_came_free_is_filled_too(fill: Any, plan: dict[str, Any], disk: Disk) -> None:
    disk.room += 20 * MIB
    assert fill.proof(plan) == ""
    assert 0 <= disk.room - size(plan) < MIB


def test_refused_write_is_the_proof(fill: Any, plan: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "was refused: No space left on device" in fill.proof(plan)


def test_other_failure_is_no_proof(fill: Any, plan: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    assert fill.proof(plan) == ""


def test_undoing_leaves_nothing(fill: Any, plan: dict[str, Any], tmp_path: Path) -> None:
    fill.proof(plan)
    fill.undo(plan)
    assert list(tmp_path.iterdir()) == []
