"""A byte of an image that changes on a disk."""

from __future__ import annotations

import glob
import hashlib
import mmap
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from drill_base import RefusedError


class Flip:
    """Changes one byte of a file in place, behind the bytes that are looked for."""

    def __init__(self, fault: dict[str, Any]) -> None:
        self.pattern, self.bytes = str(fault["files"]), bytes.fromhex(fault["bytes"])

    def plan(self) -> dict[str, Any]:
        """Find the file and the place in it."""
        for path in sorted(glob.iglob(self.pattern), key=os.path.getmtime, reverse=True):  # noqa: PTH207 - an absolute one
            with Path(path).open("rb") as file:
                if not (size := os.fstat(file.fileno()).st_size):
                    continue
                with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as content:
                    place = content.find(self.bytes)
                    if 0 <= place < size - len(self.bytes):
                        place += len(self.bytes)
                        inode = os.fstat(file.fileno()).st_ino
                        return {"path": path, "place": place, "was": content[place], "inode": inode}
        raise RefusedError(f"no file of {self.pattern} holds these bytes")

    def apply(self, plan: dict[str, Any]) -> None:
        """Change the byte."""
        before = self._digest(plan)
        self._write(plan, plan["was"] ^ 0xFF)
        plan["changed"] = before != self._digest(plan)

    def proof(self, plan: dict[str, Any]) -> str:
        """Return what was changed: the site may have replaced the file since."""
        return f"one byte of {plan['path']} was changed, and its digest with it" if plan.get("changed") else ""

    def undo(self, plan: dict[str, Any]) -> None:
        """Change the byte back, unless the site has replaced the file."""
        path = Path(plan["path"])
        with suppress(FileNotFoundError):
            if path.stat().st_ino == plan["inode"] and self._byte(plan) == plan["was"] ^ 0xFF:
                self._write(plan, plan["was"])

    @staticmethod
    def _digest(plan: dict[str, Any]) -> str:
        with Path(plan["path"]).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @staticmethod
    def _byte(plan: dict[str, Any]) -> int:
        with Path(plan["path"]).open("rb") as file:
            return os.pread(file.fileno(), 1, plan["place"])[0]

    @staticmethod
    def _write(plan: dict[str, Any], value: int) -> None:
        with Path(plan["path"]).open("r+b", buffering=0) as file:
            os.pwrite(file.fileno(), bytes([value]), plan["place"])
            os.fsync(file.fileno())
