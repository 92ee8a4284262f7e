"""A directory is covered for every process, and only where that can do no harm."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.unit.ansible.loading import load_script

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")


@pytest.fixture
def cover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module; what it mounts first is below a temporary directory."""
    module = load_script("drill/files/drill_cover.py")
    monkeypatch.setattr(module, "PLACE", tmp_path / "place")
    return module


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    found = tmp_path / "das"
    found.mkdir(mode=0o750)
    (found / "image").write_bytes(b"bytes")
    return found


@pytest.fixture
def service() -> Iterator[int]:
    """A process with a mount namespace of its own that gets no mounts of others, as in a container."""
    process = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sleep", "60"])
    deadline = time.monotonic() + 10
    while Path(f"/proc/{process.pid}/ns/mnt").stat().st_ino == Path("/proc/self/ns/mnt").stat().st_ino:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    yield process.pid
    process.kill()
    process.wait()


def names(pid: int, directory: Path) -> list[str]:
    """List a directory as a process sees it."""
    return sorted(path.name for path in (Path(f"/proc/{pid}/root") / directory.relative_to("/")).iterdir())


def test_all_processes_see_one_empty_disk_until_it_is_taken_away(
    cover: ModuleType, directory: Path, service: int
) -> None:
    fault = cover.Cover({"directory": str(directory), "by": "empty", "size_mb": 1})
    fault.apply(fault.plan())
    try:
        assert "empty disk" in fault.proof({})
        (directory / "new").touch()
        assert names(service, directory) == names(os.getpid(), directory) == ["new"]
        assert directory.stat().st_mode & 0o777 == 0o750
    finally:
        fault.undo({})
    assert names(service, directory) == names(os.getpid(), directory) == ["image"]
    assert fault.proof({}) == ""


def test_full_disk_takes_no_file_and_has_no_room(cover: ModuleType, directory: Path, service: int) -> None:
    fault = cover.Cover({"directory": str(directory), "by": "full"})
    fault.apply(fault.plan())
    try:
        assert "refused" in fault.proof({})
        assert os.statvfs(f"/proc/{service}/root{directory}").f_bavail == 0
        with pytest.raises(OSError, match="No space left"):
            (directory / "new").touch()
    finally:
        fault.undo({})
    assert names(service, directory) == ["image"]


def test_lost_disk_leaves_a_directory_that_is_no_mount_point(cover: ModuleType, directory: Path) -> None:
    fault = cover.Cover({"directory": str(directory), "by": "nothing"})
    with pytest.raises(cover.RefusedError, match="no disk of its own"):
        fault.plan()
    subprocess.run(["mount", "-t", "tmpfs", "disk", str(directory)], check=True)
    try:
        (directory / "image").touch()
        fault.apply(fault.plan())
        assert "has no disk" in fault.proof({})
        assert names(os.getpid(), directory) == []
        assert directory.stat().st_dev == directory.parent.stat().st_dev
        fault.undo({})
        assert names(os.getpid(), directory) == ["image"]
        assert names(os.getpid(), directory.parent) == ["das", "place"]
    finally:
        fault.undo({})
        subprocess.run(["umount", str(directory)], check=True)


def test_namespace_that_is_left_out_is_no_proof(
    cover: ModuleType, directory: Path, service: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = cover.Cover({"directory": str(directory), "by": "full"})
    with monkeypatch.context() as patch:
        patch.setattr(fault, "_namespaces", lambda: [os.getpid()])
        fault.apply(fault.plan())
    try:
        assert names(service, directory) == ["image"]
        assert fault.proof({}) == ""
    finally:
        fault.undo({})


@pytest.mark.parametrize("fault", [{"by": "water"}, {"by": "empty"}, {"by": "full", "size_mb": 4}])
def test_unknown_cover_is_refused(cover: ModuleType, directory: Path, fault: dict[str, object]) -> None:
    with pytest.raises(cover.RefusedError, match="`by`"):
        cover.Cover({"directory": str(directory)} | fault).plan()
