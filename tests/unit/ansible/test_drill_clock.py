"""A wrong clock: never in a container, and set right again from the time since the boot."""

from __future__ import annotations

import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from tests.unit.ansible.loading import load_script


class Machine:
    """Its clocks; `ahead` is how far the one that can be set is ahead of the time since the boot."""

    def __init__(self) -> None:
        self.ahead, self.commands = 1000.0, list[tuple[str, ...]]()

    def time(self) -> float:
        return self.clock_gettime(time.CLOCK_BOOTTIME) + self.ahead

    def clock_gettime(self, _clock: int) -> float:
        return time.monotonic()

    def clock_settime(self, _clock: int, to: float) -> None:
        self.ahead = to - time.monotonic()


@pytest.fixture
def module() -> ModuleType:
    return load_script("drill/files/drill_clock.py")


@pytest.fixture
def machine(module: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    made = Machine()
    for name in ("time", "clock_gettime", "clock_settime"):
        monkeypatch.setattr(module.time, name, getattr(made, name))
    monkeypatch.setattr(module, "run", lambda *words: made.commands.append(words))
    monkeypatch.setattr(module.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=1, stdout="none\n"))
    monkeypatch.setattr(module, "BOOT", tmp_path / "boot_id")
    module.BOOT.write_text("first")
    return made


def test_clock_is_wrong_and_right_again(module: ModuleType, machine: Machine) -> None:
    clock = module.Clock({"seconds": 600})
    plan = clock.plan()
    assert clock.proof(plan) == ""
    clock.apply(plan)
    assert machine.ahead == pytest.approx(1600, abs=1)
    assert clock.proof(plan) == "the clock is wrong by 600 s"
    clock.undo(plan)
    assert machine.ahead == pytest.approx(1000, abs=1)
    assert machine.commands == [("systemctl", "stop", "chrony.service"), ("systemctl", "start", "chrony.service")]


def test_clock_is_not_set_after_a_reboot(module: ModuleType, machine: Machine) -> None:
    clock = module.Clock({"seconds": 600})
    plan = clock.plan()
    module.BOOT.write_text("second")
    machine.ahead = 77
    clock.undo(plan)
    assert machine.ahead == 77
    assert machine.commands == [("systemctl", "start", "chrony.service")]


def test_container_is_refused(module: ModuleType, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=0, stdout="podman\n"))
    with pytest.raises(module.RefusedError, match="has the clock of its host"):
        module.Clock({"seconds": 600}).plan()
    assert machine.ahead == 1000
