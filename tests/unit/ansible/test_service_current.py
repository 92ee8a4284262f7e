from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from tests.unit.ansible.loading import Ended, load

current = load("modules/service_current")

STARTED = "Tue 2026-11-24 10:00:00.000000 UTC"
STARTED_S = 1795514400.0


class Machine:
    """Systemd with one unit, and commands by their first word."""

    def __init__(self, **properties: str) -> None:
        self.properties = {
            "LoadState": "loaded",
            "ActiveState": "active",
            "InactiveExitTimestamp": STARTED,
            "StateChangeTimestamp": STARTED,
            "NeedDaemonReload": "no",
            "UnitFileState": "enabled",
            "FragmentPath": "",
            "DropInPaths": "",
        } | properties
        self.commands: dict[str, Callable[[], tuple[int, str]]] = {}
        self.done: list[str] = []

    def run(self, arguments: list[str]) -> tuple[int, str]:
        if arguments[:2] == ["systemctl", "show"]:
            return 0, "\n".join(f"{key}={value}" for key, value in self.properties.items())
        self.done.append(" ".join(arguments[:2]))
        return self.commands.get(arguments[0], lambda: (0, ""))()


def apply(machine: Machine, monkeypatch: pytest.MonkeyPatch, **arguments: Any) -> dict[str, Any]:
    def end(_self: Any, **said: Any) -> None:
        raise Ended(said)

    monkeypatch.setattr(current, "run", machine.run)
    monkeypatch.setattr(current, "POLL_S", 0)
    monkeypatch.setattr(current.AnsibleModule, "exit_json", end)
    monkeypatch.setattr(current.AnsibleModule, "fail_json", lambda self, **said: end(self, failed=True, **said))
    with patch_module_args({"unit": "x.service", "timeout_s": 0} | arguments), pytest.raises(Ended) as ended:
        current.main()
    return ended.value.said


@pytest.fixture
def younger(tmp_path: Path) -> str:
    path = tmp_path / "x.conf"
    path.write_text("new")
    return str(path)


def test_times_are_read_as_systemctl_prints_them() -> None:
    assert current.parse_timestamp(STARTED) == STARTED_S
    assert current.parse_timestamp("Tue 2026-11-24 10:00:00 UTC") == STARTED_S
    assert current.parse_timestamp("") is None
    assert current.parse_timestamp("n/a") is None


def test_the_youngest_file_is_found_below_directories_by_its_change_time(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "below" / "new"
    new.parent.mkdir()
    old.write_text("")
    time.sleep(0.02)
    new.write_text("")
    # A file that is moved into place keeps its old modification time.
    os.utime(new, (0, 0))
    changed, where = current.youngest([str(tmp_path), str(tmp_path / "missing")])
    assert where == str(new)
    assert changed == new.stat().st_ctime


@pytest.mark.parametrize(
    ("properties", "files", "unit_files", "reload", "action"),
    [
        ({}, STARTED_S - 1, 0, False, "none"),
        ({}, STARTED_S + 1, 0, False, "restart"),
        ({}, STARTED_S + 1, 0, True, "reload"),
        ({"StateChangeTimestamp": "Tue 2026-11-24 10:00:05 UTC"}, STARTED_S + 1, 0, True, "none"),
        ({"StateChangeTimestamp": "Tue 2026-11-24 10:00:05 UTC"}, STARTED_S + 1, 0, False, "restart"),
        ({}, 0, STARTED_S + 1, True, "restart"),
        ({"NeedDaemonReload": "yes"}, 0, 0, True, "restart"),
        ({"ActiveState": "inactive"}, 0, 0, False, "start"),
        ({"ActiveState": "failed"}, STARTED_S + 1, 0, True, "start"),
        ({"ActiveState": "activating"}, 0, 0, False, "start"),
        ({"ActiveState": "inactive", "InactiveExitTimestamp": ""}, 0, 0, False, "start"),
    ],
)
def test_action_follows_from_the_times(
    properties: dict[str, str], files: float, unit_files: float, reload: bool, action: str
) -> None:
    unit = Machine(**properties).properties
    assert current.decide(unit, (files, "/f"), (unit_files, "/u"), reload)[0] == action


def test_requested_restart_applies_to_older_processes_only() -> None:
    unit = {
        "ActiveState": "active",
        "NeedDaemonReload": "no",
        "InactiveExitTimestamp": "Tue 2026-11-24 16:16:22.000000 UTC",
        "StateChangeTimestamp": "Tue 2026-11-24 16:16:23.000000 UTC",
    }
    started = current.parse_timestamp(unit["InactiveExitTimestamp"])
    nothing = (0.0, "")
    assert current.decide(unit, nothing, nothing, True, started + 1) == ("restart", "a restart was requested")
    assert current.decide(unit, nothing, nothing, True, started - 1)[0] == "none"


def test_current_and_healthy_unit_is_not_restarted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "x.conf"
    path.write_text("old")
    machine = Machine(InactiveExitTimestamp="Sat 2999-11-24 10:00:00 UTC")
    said = apply(machine, monkeypatch, files=[str(path)], check=["probe", "it"])
    assert (said["changed"], said["action"]) == (False, "none")
    assert machine.done == ["probe it"]


def test_unhealthy_unit_fails_the_run_without_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine()
    machine.commands["probe"] = lambda: (1, "no quorum")
    machine.commands["journalctl"] = lambda: (0, "last words")
    said = apply(machine, monkeypatch, check=["probe"])
    assert said["failed"]
    assert "no quorum" in said["msg"]
    assert said["journal"] == "last words"
    assert "systemctl restart" not in machine.done


def test_a_younger_file_restarts_between_two_checks(monkeypatch: pytest.MonkeyPatch, younger: str) -> None:
    machine = Machine()
    said = apply(machine, monkeypatch, files=[younger], check=["probe", "it"])
    assert (said["changed"], said["action"]) == (True, "restart")
    assert machine.done == ["probe it", "systemctl restart", "probe it"]


def test_no_restart_while_the_cluster_is_degraded(monkeypatch: pytest.MonkeyPatch, younger: str) -> None:
    machine = Machine()
    machine.commands["others"] = lambda: (1, "b is missing")
    said = apply(machine, monkeypatch, files=[younger], check=["probe"], before=["others"])
    assert said["failed"]
    assert "b is missing" in said["msg"]
    assert "systemctl restart" not in machine.done


def test_the_check_is_repeated_until_the_unit_is_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(ActiveState="inactive")
    answers = iter([(1, "starting"), (1, "starting"), (0, "")])
    machine.commands["probe"] = lambda: next(answers)
    said = apply(machine, monkeypatch, check=["probe", "it"], timeout_s=5)
    assert said["action"] == "start"
    assert machine.done == ["systemctl restart", "probe it", "probe it", "probe it"]


def test_reload_works_in_a_degraded_cluster(monkeypatch: pytest.MonkeyPatch, younger: str) -> None:
    machine = Machine()
    apply(machine, monkeypatch, files=[younger], before=["others"], check=["probe", "it"], reload=True)
    assert machine.done == ["systemctl reload", "probe it"]


def test_systemd_reloads_the_unit_before_the_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(NeedDaemonReload="yes")
    apply(machine, monkeypatch)
    assert machine.done == ["systemctl daemon-reload", "systemctl restart"]


@pytest.mark.parametrize(
    ("state", "enabled", "switch"),
    [("disabled", True, "enable"), ("enabled", False, "disable"), ("enabled", True, None), ("static", True, None)],
)
def test_unit_is_enabled_or_disabled_as_requested(
    state: str, enabled: bool, switch: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(UnitFileState=state)
    said = apply(machine, monkeypatch, enabled=enabled)
    assert said["changed"] is (switch is not None)
    assert machine.done == ([f"systemctl {switch}"] if switch else [])


def test_check_mode_reports_the_change_without_making_it(monkeypatch: pytest.MonkeyPatch, younger: str) -> None:
    machine = Machine()
    said = apply(machine, monkeypatch, files=[younger], check=["probe"], _ansible_check_mode=True)
    assert (said["changed"], said["action"]) == (True, "restart")
    assert younger in said["reason"]
    assert machine.done == []


def test_a_missing_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    said = apply(Machine(), monkeypatch, files=["/nowhere/x.conf"])
    assert said["failed"]
    assert "/nowhere/x.conf" in said["msg"]


def test_unknown_unit_fails_except_in_check_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(LoadState="not-found")
    assert apply(machine, monkeypatch)["failed"]
    assert apply(machine, monkeypatch, _ansible_check_mode=True)["changed"]
