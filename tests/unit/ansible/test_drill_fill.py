"""A disk is filled, and filled again when space came free before the proof."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
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


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    # Its last pages are fewer than the smallest piece that is allocated, so some room remains for a part of a write.
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={MIB + 3 * 4096}", "disk", str(tmp_path)], check=True)
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_part_of_a_write_that_still_fits_is_no_room(small_disk: Path) -> None:
    fill = load_script("drill/files/drill_fill.py").Fill({"directory": str(small_disk)})
    plan = fill.plan()
    fill.apply(plan)
    assert "was refused: No space left on device" in fill.proof(plan)
    fill.undo(plan)
    assert list(small_disk.iterdir()) == []
