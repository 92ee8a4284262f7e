"""Processes that are killed or stopped by a signal, and units that are stopped."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from drill_base import RefusedError, run


class Processes:
    """Sends a signal to every process of a unit, or to its main process only, or stops the unit."""

    def __init__(self, fault: dict[str, Any], number: signal.Signals | None) -> None:
        self.unit, self.number, self.whom = str(fault["unit"]), number, str(fault.get("whom", "all"))

    def plan(self) -> dict[str, Any]:
        """Return the processes with their start times, which distinguish them from later ones."""
        found = {pid: started for pid in self._numbers() if (started := self._status(pid)[1])}
        if not found:
            raise RefusedError(f"the unit {self.unit} has no process here")
        return {"processes": found}

    def _numbers(self) -> list[str]:
        if self.whom == "main":
            return run("systemctl", "show", "--property=MainPID", "--value", self.unit).split()
        group = run("systemctl", "show", "--property=ControlGroup", "--value", self.unit).strip()
        files = Path(f"/sys/fs/cgroup{group}").rglob("cgroup.procs") if group else ()
        return [pid for file in files for pid in file.read_text().split()]

    def apply(self, _plan: dict[str, Any]) -> None:
        """Send the signal; without one stop the unit."""
        how = (
            ["kill", f"--kill-whom={self.whom}", f"--signal={self.number.name}"]
            if self.number
            else ["stop", "--no-block"]
        )
        run("systemctl", *how, self.unit)

    def proof(self, plan: dict[str, Any]) -> str:
        """Return what shows that no process was left out, or empty."""
        states = {pid: self._status(pid) for pid in plan["processes"]}
        alive = [state for pid, (state, started) in states.items() if started == plan["processes"][pid]]
        if self.number != signal.SIGSTOP:
            return "" if set(alive) - {"Z"} else f"{len(states)} processes of {self.unit} are gone"
        return f"{len(alive)} processes of {self.unit} are stopped" if alive and set(alive) == {"T"} else ""

    def undo(self, _plan: dict[str, Any]) -> None:
        """Let the processes go on, or start the unit unless systemd has done it."""
        if self.number == signal.SIGSTOP:
            run("systemctl", "kill", "--kill-whom=all", "--signal=SIGCONT", self.unit)
        else:
            run("systemctl", "start", "--no-block", self.unit)

    @staticmethod
    def _status(pid: str) -> tuple[str, str]:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return "", ""
        return fields[0], fields[19]
