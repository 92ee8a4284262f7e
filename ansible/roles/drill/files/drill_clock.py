"""A clock that is wrong: on a machine with a clock of its own only, because a container has that of its host."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

from drill_base import RefusedError, run

BOOT = Path("/proc/sys/kernel/random/boot_id")
KEEPER = "chrony.service"
TOLERANCE_S = 5


class Clock:
    """Moves the node's clock, and stops what would set it right."""

    def __init__(self, fault: dict[str, Any]) -> None:
        self.seconds = int(fault["seconds"])

    def plan(self) -> dict[str, Any]:
        """Return how far the clock is ahead of the time since the boot, which nobody sets."""
        found = subprocess.run(["systemd-detect-virt", "--container"], check=False, capture_output=True, text=True)
        if found.returncode == 0:
            kind = found.stdout.strip()
            raise RefusedError(
                f"this node is a container ({kind}) and has the clock of its host: every node's would be wrong"
            )
        return {"ahead": self._ahead(), "boot": BOOT.read_text()}

    def apply(self, plan: dict[str, Any]) -> None:
        """Set the clock."""
        run("systemctl", "stop", KEEPER)
        self._set(plan["ahead"] + self.seconds)

    def proof(self, plan: dict[str, Any]) -> str:
        """Return by how much the clock is wrong, or empty."""
        wrong_s = self._ahead() - plan["ahead"]
        return f"the clock is wrong by {wrong_s:.0f} s" if abs(wrong_s - self.seconds) < TOLERANCE_S else ""

    def undo(self, plan: dict[str, Any]) -> None:
        """Set the clock right; after a reboot only start what keeps it."""
        if BOOT.read_text() == plan["boot"]:
            self._set(plan["ahead"])
        run("systemctl", "start", KEEPER)

    @staticmethod
    def _ahead() -> float:
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)

    @staticmethod
    def _set(ahead: float) -> None:
        time.clock_settime(time.CLOCK_REALTIME, time.clock_gettime(time.CLOCK_BOOTTIME) + ahead)
