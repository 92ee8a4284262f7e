"""A process that a guard of ours may end, and how it ended."""

from __future__ import annotations

import subprocess
import sys


def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own. Its last statement is to print ``goes on``."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def assert_ended(done: subprocess.CompletedProcess[str], status: int, event: str) -> None:
    """The guard ended the process with this exit status, and said why."""
    assert (done.returncode, done.stdout) == (status, "")
    assert event in done.stderr


def assert_goes_on(done: subprocess.CompletedProcess[str]) -> None:
    """The guard left the process alone, and said nothing."""
    assert (done.returncode, done.stdout, done.stderr) == (0, "goes on\n", "")
