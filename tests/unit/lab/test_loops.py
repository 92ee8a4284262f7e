import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hapacs.targets.lab import loops
from hapacs.targets.lab.podman import LabError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="loop devices need root")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "disks" / "disk0.img"
    yield path
    loops.detach(path)


def test_disk_is_sparse_and_detaching_removes_its_device(disk: Path) -> None:
    loops.make_file(disk, 64 << 20)
    device = loops.attach(disk)

    assert disk.stat().st_size == 64 << 20
    assert disk.stat().st_blocks == 0
    assert loops.attached(disk) == device
    assert int(device.removeprefix("/dev/loop")) >= loops.FIRST_NUMBER

    loops.detach(disk)

    assert loops.attached(disk) is None
    assert not Path(device).exists()


def test_existing_disk_keeps_its_content_and_its_device(disk: Path) -> None:
    loops.make_file(disk, 1 << 20)
    first = loops.attach(disk)
    Path(first).write_bytes(b"kept")
    loops.detach(disk)

    loops.make_file(disk, 2 << 20)
    second = loops.attach(disk, preferred=first)

    assert second == first
    assert Path(second).read_bytes()[:4] == b"kept"
    assert Path(second).stat().st_rdev == os.makedev(7, int(second.removeprefix("/dev/loop")))
    assert Path(f"/sys/block/{Path(second).name}/size").read_text().strip() == str((2 << 20) // 512)


def test_second_attach_returns_the_same_device(disk: Path) -> None:
    loops.make_file(disk, 1 << 20)
    assert loops.attach(disk) == loops.attach(disk)


def test_attached_disk_grows(disk: Path) -> None:
    loops.make_file(disk, 1 << 20)
    device = loops.attach(disk)
    loops.make_file(disk, 4 << 20)
    loops.attach(disk)
    assert Path(f"/sys/block/{Path(device).name}/size").read_text().strip() == str((4 << 20) // 512)


def test_shrinking_a_disk_is_refused(disk: Path) -> None:
    loops.make_file(disk, 2 << 20)
    with pytest.raises(LabError, match="cut data off"):
        loops.make_file(disk, 1 << 20)
    assert disk.stat().st_size == 2 << 20


def test_disks_are_attached_and_detached_concurrently(tmp_path: Path) -> None:
    def come_and_go(number: int) -> set[str]:
        disk, devices = tmp_path / f"disk{number}.img", set()
        loops.make_file(disk, 1 << 20)
        for _ in range(12):
            devices.add(loops.attach(disk))
            assert loops.attached(disk) is not None
            loops.detach(disk)
        return devices

    with ThreadPoolExecutor(6) as pool:
        taken = list(pool.map(come_and_go, range(6)))
    assert all(taken)
    assert not any(
        path.exists() for path in map(Path, set().union(*taken)) if not (Path("/sys/block") / path.name).exists()
    )
