"""A disk becomes read-only and files refuse to be read, and both are as before afterwards."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.unit.ansible.loading import load_script

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts and changes owners")
NOBODY = 65534


@pytest.fixture
def das() -> ModuleType:
    return load_script("drill/files/drill_das.py")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    subprocess.run(["mount", "-t", "tmpfs", "disk", str(tmp_path)], check=True)
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    for name in "abc":
        (tmp_path / name).write_bytes(b"bytes")
        os.chown(tmp_path / name, NOBODY, NOBODY)
        (tmp_path / name).chmod(0o440)
    return sorted(tmp_path.iterdir())


def test_disk_refuses_writes_until_the_fault_is_undone(das: ModuleType, disk: Path) -> None:
    fault = das.ReadOnly({"directory": str(disk)})
    plan = fault.plan()
    assert fault.proof(plan) == ""
    fault.apply(plan)
    assert "Read-only" in fault.proof(plan)
    with pytest.raises(das.RefusedError, match="already"):
        fault.plan()
    fault.undo(plan)
    (disk / "new").touch()


def test_disk_that_stays_busy_is_reported(das: ModuleType, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(das, "PATIENCE_S", 0.1)
    with (disk / "open").open("w"), pytest.raises(subprocess.CalledProcessError):
        das.ReadOnly({"directory": str(disk)}).apply({})


def test_directory_of_the_system_is_not_made_read_only(das: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(das.RefusedError, match="no disk of its own"):
        das.ReadOnly({"directory": str(tmp_path)}).plan()


def test_owner_can_not_read_until_the_fault_is_undone(das: ModuleType, images: list[Path]) -> None:
    images[0].parent.chmod(0o755)
    fault = das.Unreadable({"files": f"{images[0].parent}/*"})
    plan = fault.plan()
    assert fault.proof(plan) == ""
    fault.apply(plan)
    assert fault.proof(plan).startswith("3 files")
    # The site restores one from the archive and evicts another one.
    images[1].unlink()
    images[1].write_bytes(b"bytes")
    images[1].chmod(0o400)
    images[2].unlink()
    fault.undo(plan)
    assert [path.stat().st_mode & 0o777 for path in images[:2]] == [0o440, 0o400]
    assert fault.proof(plan) == ""


def test_files_that_root_alone_owns_are_no_proof(das: ModuleType, images: list[Path]) -> None:
    for image in images:
        os.chown(image, 0, 0)
    fault = das.Unreadable({"files": f"{images[0].parent}/*"})
    plan = fault.plan()
    fault.apply(plan)
    assert fault.proof(plan) == "", "root reads every file"


def test_files_of_different_modes_are_refused(das: ModuleType, images: list[Path]) -> None:
    images[0].chmod(0o400)
    with pytest.raises(das.RefusedError, match="2 different modes"):
        das.Unreadable({"files": f"{images[0].parent}/*"}).plan()
