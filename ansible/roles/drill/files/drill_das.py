"""Disks that take no writes, and files that can't be read."""

from __future__ import annotations

import errno
import glob
import os
import stat
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from drill_base import RefusedError, run

PATIENCE_S = 10
PROBES = 20


class ReadOnly:
    """Makes a file system read-only for every process, as btrfs does by itself after an error."""

    def __init__(self, fault: dict[str, Any]) -> None:
        self.directory = Path(fault["directory"])

    def plan(self) -> dict[str, Any]:
        """Check the directory."""
        if not os.path.ismount(self.directory):
            raise RefusedError(f"{self.directory} is no disk of its own: making it read-only would stop the node")
        if self._refuses():
            raise RefusedError(f"{self.directory} is read-only already")
        return {}

    def apply(self, _plan: dict[str, Any]) -> None:
        """Make it read-only: it is busy while any file is being written."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                run("mount", "-o", "remount,ro", str(self.directory))
            except subprocess.CalledProcessError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return

    def proof(self, _plan: dict[str, Any]) -> str:
        """Return that a write was refused, or empty."""
        return f"a write to {self.directory} was refused: {os.strerror(errno.EROFS)}" if self._refuses() else ""

    def undo(self, _plan: dict[str, Any]) -> None:
        """Make it writable."""
        run("mount", "-o", "remount,rw", str(self.directory))

    def _refuses(self) -> bool:
        probe = self.directory / ".hapacs-drill-probe"
        try:
            probe.touch()
            probe.unlink()
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
            return True
        return False


class Unreadable:
    """Takes the permission to read files away from their owner. New files can be written and read."""

    def __init__(self, fault: dict[str, Any]) -> None:
        self.pattern = str(fault["files"])

    def plan(self) -> dict[str, Any]:
        """Return the files' mode, which is the same for all."""
        modes = {stat.S_IMODE(Path(path).stat().st_mode) for path in self._files()}
        if len(modes) != 1 or not min(modes):
            raise RefusedError(f"the files of {self.pattern} have {len(modes)} different modes, or none can be read")
        return {"mode": min(modes), "count": 0}

    def apply(self, plan: dict[str, Any]) -> None:
        """Take the permission away."""
        plan["count"] = self._change(plan["mode"], 0)

    def proof(self, plan: dict[str, Any]) -> str:
        """Return that their owner was refused, or empty."""
        unreadable = [path for path in self._files() if not self._mode(path)][:PROBES]
        refused = [path for path in unreadable if self._refuses_owner(path)]
        if not refused or refused != unreadable:
            return ""
        return f"{plan['count']} files of {self.pattern} refuse to be read: {os.strerror(errno.EACCES)}"

    def undo(self, plan: dict[str, Any]) -> None:
        """Give it back, except where the site has replaced the file."""
        self._change(0, plan["mode"])

    def _files(self) -> list[str]:
        return glob.glob(self.pattern)  # noqa: PTH207 - an absolute one

    def _change(self, before: int, after: int) -> int:
        changed = 0
        for path in self._files():
            if self._mode(path) == before:
                # The site may have evicted it.
                with suppress(FileNotFoundError):
                    Path(path).chmod(after)
                    changed += 1
        return changed

    @staticmethod
    def _mode(path: str) -> int | None:
        with suppress(FileNotFoundError):
            return stat.S_IMODE(Path(path).stat().st_mode)
        return None

    @staticmethod
    def _refuses_owner(path: str) -> bool:
        owner = Path(path).stat()
        mine = os.geteuid(), os.getegid()
        try:
            os.setegid(owner.st_gid)
            os.seteuid(owner.st_uid)
            Path(path).open("rb").close()
        except PermissionError:
            return True
        finally:
            os.seteuid(mine[0])
            os.setegid(mine[1])
        return False
