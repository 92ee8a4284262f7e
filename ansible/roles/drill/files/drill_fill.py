"""A disk that is full."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

from drill_base import RefusedError

CHUNK_BYTES = 64 * 1024**2
PROBE_BYTES = 4 * 1024**2


class Fill:
    """Fills a disk with one file."""

    def __init__(self, fault: dict[str, Any]) -> None:
        self.directory = Path(fault["directory"])

    def plan(self) -> dict[str, Any]:
        """Return the file's path."""
        if not os.path.ismount(self.directory):
            raise RefusedError(f"{self.directory} is no disk of its own: filling it would stop the node")
        return {"path": str(self.directory / ".hapacs-drill")}

    def apply(self, plan: dict[str, Any]) -> None:
        """Allocate space until there is none."""
        Path(plan["path"]).unlink(missing_ok=True)
        self._allocate(plan)

    @staticmethod
    def _allocate(plan: dict[str, Any]) -> None:
        with Path(plan["path"]).open("ab") as file:
            end, step = os.fstat(file.fileno()).st_size, CHUNK_BYTES
            while step:
                try:
                    os.posix_fallocate(file.fileno(), end, step)
                    end += step
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    step = step // 4 if step > 65536 else 0  # noqa: PLR2004 - a page or two remain
            os.fsync(file.fileno())

    def proof(self, plan: dict[str, Any]) -> str:
        """Return that a write was refused, or empty.

        A disk that is almost full takes the first bytes of a write and says how many. Only the rest is refused, so all
        of it is written. Space that came free meanwhile is allocated too: btrfs gives back after its next commit what
        it has reserved for this file, and the node may evict copies.
        """
        probe = Path(f"{plan['path']}-probe")
        try:
            with probe.open("wb") as file:
                file.write(os.urandom(PROBE_BYTES))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            return f"a write to {self.directory} was refused: {error.strerror}" if error.errno == errno.ENOSPC else ""
        finally:
            probe.unlink(missing_ok=True)
        self._allocate(plan)
        return ""

    def undo(self, plan: dict[str, Any]) -> None:
        """Remove the file."""
        Path(plan["path"]).unlink(missing_ok=True)
