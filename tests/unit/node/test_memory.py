"""A process that is out of memory, in child processes with a limit like the unit's."""

from __future__ import annotations

import os

import pytest

from hapacs_node import settings
from hapacs_node.health import Health, try_once
from hapacs_node.metrics import Metrics
from tests.unit.node import guarded

PROCESS = """
import resource, sys, time
from pathlib import Path
from hapacs_node.memory import MemoryGuard

def leave(mebibytes):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData"))
    resource.setrlimit(resource.RLIMIT_DATA, (int(line.split()[1]) * 1024 + (mebibytes << 20), resource.RLIM_INFINITY))

MemoryGuard(needed_bytes=16 << 20, patience_s=1.0, period_s=0.05).start()
leave(int(sys.argv[1]))
time.sleep(0.5)
if sys.argv[2] == "for a moment":
    leave(64)
time.sleep(2.0)
print("goes on")
"""


def test_a_process_that_stays_out_of_memory_ends() -> None:
    done = guarded.run(PROCESS, 4, "for good")
    guarded.assert_ended(done, os.EX_OSERR, "event=out_of_memory needed_bytes=16777216")


@pytest.mark.parametrize(("left_mebibytes", "for_how_long"), [(64, "for good"), (4, "for a moment")])
def test_a_process_with_memory_or_a_short_shortage_continues(left_mebibytes: int, for_how_long: str) -> None:
    guarded.assert_goes_on(guarded.run(PROCESS, left_mebibytes, for_how_long))


def test_a_probe_without_memory_fails() -> None:
    def probe() -> str:
        raise MemoryError

    check = try_once(probe)
    assert (check.ok, check.detail) == (False, "out of memory")


def test_probing_continues_after_a_memory_error(monkeypatch: pytest.MonkeyPatch) -> None:
    health = Health("pacs1", "store", {"das": lambda: "good"}, settings.Health(), Metrics())
    refresh, asked = health.refresh, []

    def refreshed(name: str) -> None:
        asked.append(name)
        if len(asked) == 1:
            raise MemoryError
        refresh(name)
        health.stop()

    monkeypatch.setattr(health, "refresh", refreshed)
    monkeypatch.setattr(health._stop, "wait", lambda _timeout: health._stop.is_set())
    health._repeat("das")
    assert asked == ["das", "das"]
    assert health.report()["ok"]
