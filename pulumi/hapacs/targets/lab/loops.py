"""Disks of the lab: sparse files attached as loop devices.

A file that exists is never formatted, shrunk or replaced: it is the disk, and its content belongs to the node.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from hapacs.targets.lab.podman import LabError

# The first loop devices are what `losetup --find` and other programs of the machine take: stay clear of them.
FIRST_NUMBER = 64
_LOOP_MAJOR = 7
_CTL_ADD = 0x4C80
_CTL_REMOVE = 0x4C81
# Labs of several deployments share the numbers: while one takes a device, another must not remove it.
_LOCK = Path("/run/hapacs.loops.lock")


def attached(path: Path) -> str | None:
    """Return the loop device that a file is attached to."""
    return _backed_by(str(path))


def _backed_by(name: str) -> str | None:
    for entry in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            backing = entry.read_text(encoding="utf-8").rstrip("\n")
        except OSError:  # detached while we looked
            continue
        if backing == name:
            return f"/dev/{entry.parent.parent.name}"
    return None


def make_file(path: Path, size_bytes: int) -> None:
    """Make the sparse file, or let one that exists grow.

    Raises
    ------
    LabError
        If the file is larger than asked for: shrinking would lose data.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        present = os.fstat(descriptor).st_size
        if present > size_bytes:
            raise LabError(
                f"The disk {path} has {present} bytes; the settings ask for {size_bytes}, which would cut data off.",
                "Set the disk's size back to what it was or larger, or remove the lab with `hapacs down`.",
            )
        os.truncate(descriptor, size_bytes)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Hold the lock under which loop devices are given out and removed."""
    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def attach(path: Path, preferred: str = "") -> str:
    """Attach a file, to the device it had before where that is free, and return the device."""
    with _alone():
        return _attach(path, preferred)


def _attach(path: Path, preferred: str) -> str:
    if device := attached(path):
        _losetup("--set-capacity", device)
        return device
    # Of a file that was removed while it was attached the kernel keeps the bytes until the device lets it go.
    if stale := _backed_by(f"{path} (deleted)"):
        _losetup("--detach", stale)
    first = int(preferred.removeprefix("/dev/loop")) if preferred else FIRST_NUMBER
    for number in [first, *range(FIRST_NUMBER, FIRST_NUMBER + 512)]:
        device = f"/dev/loop{number}"
        if Path(f"/sys/block/loop{number}/loop").exists():
            continue
        _add(number)
        done = subprocess.run(["losetup", device, str(path)], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return device
        if "busy" not in done.stderr:
            raise LabError(f"{path} cannot be attached: {done.stderr.strip()}", "The kernel must have the loop driver.")
    raise LabError("No loop device is free.", "Detach some: `losetup --list` shows what uses them.")


def detach(path: Path, timeout_s: float = 20) -> None:
    """Detach a file and remove the device that was added for it; the file stays."""
    device = attached(path)
    if device is None:
        return
    _losetup("--detach", device)
    deadline = time.monotonic() + timeout_s
    # The kernel detaches when the last mount of a container that is just going away is gone.
    while attached(path) == device:
        if time.monotonic() > deadline:
            raise LabError(
                f"{device} ({path}) is still in use.",
                "See which process holds it: `lsblk` and `findmnt`; then run it again.",
            )
        time.sleep(0.1)
    number = int(device.removeprefix("/dev/loop"))
    if number >= FIRST_NUMBER:
        with _alone():
            _remove(number)


def _add(number: int) -> None:
    device = Path(f"/dev/loop{number}")
    if not Path(f"/sys/block/loop{number}").exists():
        # Another process may have been first.
        with Path("/dev/loop-control").open("rb") as control, contextlib.suppress(FileExistsError):
            fcntl.ioctl(control, _CTL_ADD, number)
    # Inside a container /dev is no devtmpfs and no udev makes the device node.
    if not device.exists():
        os.mknod(device, stat.S_IFBLK | 0o600, os.makedev(_LOOP_MAJOR, number))


def _remove(number: int) -> None:
    with Path("/dev/loop-control").open("rb") as control:
        try:
            fcntl.ioctl(control, _CTL_REMOVE, number)
        except OSError:  # in use again, or gone
            return
    Path(f"/dev/loop{number}").unlink(missing_ok=True)


def _losetup(*words: str) -> None:
    done = subprocess.run(["losetup", *words], capture_output=True, text=True, check=False)
    # Another process detached it first, which is fine.
    if done.returncode and "No such device" not in done.stderr:
        raise LabError(f"`losetup {' '.join(words)}` failed: {done.stderr.strip()}", "See `losetup --list`.")
