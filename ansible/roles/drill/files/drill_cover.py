"""A directory that is covered by another file system, for every process of the node."""

from __future__ import annotations

import ctypes
import errno
import os
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from drill_base import RefusedError, run

MARK = "hapacs-drill"
PLACE = Path("/run", MARK)
PAGE_BYTES = 4096
# Linux: asm-generic/unistd.h, linux/mount.h, linux/fcntl.h.
OPEN_TREE, MOVE_MOUNT = 428, 429
OPEN_TREE_CLONE, MOVE_MOUNT_F_EMPTY_PATH, MNT_DETACH, AT_FDCWD, AT_EMPTY_PATH = 1, 4, 2, -100, 0x1000
LIBC = ctypes.CDLL(None, use_errno=True)


class Cover:
    """Puts something over a directory: `nothing` as without its disk, an `empty` file system, or a `full` one."""

    def __init__(self, fault: dict[str, Any]) -> None:
        self.directory, self.by = Path(fault["directory"]), str(fault["by"])
        self.size_mb = int(fault.get("size_mb", 0))
        self._below = self.directory.parent / f".{MARK}"

    def plan(self) -> dict[str, Any]:
        """Check the fault. What has to be undone is read from the processes' mounts."""
        if self.by not in {"nothing", "empty", "full"} or (self.by == "empty") != bool(self.size_mb):
            raise RefusedError("`by` is nothing, full, or empty with `size_mb`")
        if not self.directory.is_dir():
            raise RefusedError(f"{self.directory} is no directory")
        if self.by == "nothing" and not os.path.ismount(self.directory):
            raise RefusedError(f"{self.directory} is no disk of its own, so its disk can't be lost")
        return {}

    def apply(self, _plan: dict[str, Any]) -> None:
        """Cover it in every mount namespace: services have namespaces of their own."""
        self._make()
        try:
            tree = _checked(LIBC.syscall(OPEN_TREE, AT_FDCWD, os.fsencode(PLACE), OPEN_TREE_CLONE))
            for pid in self._namespaces():
                if not self._is_covered(pid):
                    # Each needs a copy of the mount, all of one file system.
                    copy = _checked(LIBC.syscall(OPEN_TREE, tree, b"", OPEN_TREE_CLONE | AT_EMPTY_PATH))
                    _inside(pid, lambda copy=copy: self._attach(copy))  # type: ignore[misc]
        finally:
            run("umount", "--lazy", str(PLACE))

    def proof(self, _plan: dict[str, Any]) -> str:
        """Return in how many namespaces it is covered, or empty when one was left out."""
        seen = [self._is_covered(pid) for pid in self._namespaces()]
        if not seen or not all(seen):
            return ""
        if self.by == "full":
            probe = self.directory / f"{MARK}-probe"
            with suppress(OSError):
                probe.touch()
                probe.unlink()
                return ""
        what = {"nothing": "has no disk", "empty": "is an empty disk", "full": "is full: a new file was refused"}
        return f"{self.directory} {what[self.by]}, for all processes in {len(seen)} mount namespaces"

    def undo(self, _plan: dict[str, Any]) -> None:
        """Uncover it."""
        if os.path.ismount(PLACE):
            run("umount", "--lazy", str(PLACE))
        for pid in self._namespaces():
            while self._is_covered(pid):
                _inside(pid, self._detach)
        with suppress(FileNotFoundError):
            self._below.rmdir()

    def _make(self) -> None:
        """Mount at a place of our own what covers the directory."""
        held = self.directory.stat()
        PLACE.mkdir(exist_ok=True)
        if self.by == "nothing":
            # On the file system that has the mount point, where only root writes: so a mount point is without its disk.
            self._below.mkdir(mode=0o700, exist_ok=True)
            run("mount", "--bind", str(self._below), str(PLACE))
            return
        # The full one has one page and one file.
        limits = f"size={self.size_mb}m" if self.by == "empty" else f"size={PAGE_BYTES},nr_inodes=2"
        owner = f"uid={held.st_uid},gid={held.st_gid},mode={held.st_mode & 0o777:o}"
        run("mount", "-t", "tmpfs", "-o", f"{limits},{owner},nodev,nosuid,noexec", MARK, str(PLACE))
        if self.by == "full":
            (PLACE / f".{MARK}").write_bytes(bytes(PAGE_BYTES))

    def _namespaces(self) -> list[int]:
        """Return one process of each mount namespace that has the directory, this one's first."""
        found: dict[int, int] = {Path("/proc/self/ns/mnt").stat().st_ino: os.getpid()}
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if (process / "root" / self.directory.relative_to("/")).is_dir():
                    found.setdefault((process / "ns" / "mnt").stat().st_ino, int(process.name))
        return list(found.values())

    def _is_covered(self, pid: int) -> bool:
        """Return whether the last mount at the directory is ours (proc_pid_mountinfo(5))."""
        mine = False
        with suppress(FileNotFoundError, ProcessLookupError):
            for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
                fields = line.split()
                if fields[4] == str(self.directory):
                    mine = fields[3].endswith(f"/.{MARK}") or fields[fields.index("-") + 2] == MARK
        return mine

    def _attach(self, tree: int) -> None:
        _checked(LIBC.syscall(MOVE_MOUNT, tree, b"", AT_FDCWD, os.fsencode(self.directory), MOVE_MOUNT_F_EMPTY_PATH))

    def _detach(self) -> None:
        _checked(LIBC.umount2(os.fsencode(self.directory), MNT_DETACH))


def _checked(result: int) -> int:
    """Return the result of a system call; raise its error."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _inside(pid: int, work: Callable[[], None]) -> None:
    """Do some work in the mount namespace of a process. A process that has ended takes its namespace with it."""
    try:
        namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY)
    except FileNotFoundError:
        return
    child = os.fork()
    if not child:
        try:
            if pid != os.getppid():
                os.setns(namespace, os.CLONE_NEWNS)
            work()
        except BaseException:  # noqa: BLE001 - the child must not return
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(namespace)
    if os.waitpid(child, 0)[1]:
        raise OSError(errno.EIO, f"the mounts of process {pid} could not be changed")
