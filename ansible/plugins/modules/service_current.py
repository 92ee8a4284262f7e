#!/usr/bin/python
"""Ansible module: run a unit with its current configuration and wait until it is healthy."""

from __future__ import annotations

DOCUMENTATION = r"""
module: service_current
short_description: Run a systemd unit with its current configuration, and wait until it is healthy
description:
  - Starts the unit when it does not run. Restarts (or reloads) it when one of I(files) is younger than the running
    process, so that a run which was interrupted between writing a file and restarting is finished by the next one.
  - Before a restart the health check must pass, so that a cluster that lacks a member loses no second one. With
    C(throttle 1) on the task, nodes restart one after the other.
  - Without a change the module waits for health all the same, so that the next task finds the unit working.
options:
  unit:
    description: Name of the unit, with its suffix.
    type: str
    required: true
  files:
    description: >-
      Files and directories whose content the process reads when it starts. A missing one is an error. The unit
      file and its drop-ins always count; a younger one restarts the unit even with I(reload).
    type: list
    elements: str
    default: []
  check:
    description: Command (no shell) that succeeds when the service, and the cluster seen from it, is healthy.
    type: list
    elements: str
    default: []
  before:
    description: >-
      Command that must succeed before a restart; by default I(check). For a member of a quorum, one that asks whether
      the others are healthy, so that a broken member can be restarted with a corrected configuration.
    type: list
    elements: str
  timeout_s:
    description: Maximum time that the check may fail before and after a restart, in seconds.
    type: int
    default: 60
  reload:
    description: Reload instead of restart. The unit must have ExecReload.
    type: bool
    default: false
  since:
    description: >-
      A time in seconds since the epoch, by unit without suffix. A unit that started earlier is
      restarted even with the same configuration, and even with I(reload). For planned restarts, through
      C(module_defaults).
    type: dict
    default: {}
  enabled:
    description: Whether the unit starts at boot. A unit without an install section is not changed.
    type: bool
    default: true
author: hapacs
"""

EXAMPLES = r"""
- name: Run etcd with its current configuration
  service_current:
    unit: etcd.service
    files: [/etc/etcd/etcd.yml, /etc/etcd/tls/server.crt]
    check: [etcdctl, endpoint, health, --cluster]
  throttle: 1
"""

RETURN = r"""
unit:
  description: Which unit it is about.
  returned: always
  type: str
action:
  description: What was done, one of none, start, restart, reload.
  returned: always
  type: str
reason:
  description: Why it was done.
  returned: always
  type: str
"""

import os
import subprocess
import time
from datetime import datetime
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

PROPERTIES = (
    "ActiveState",
    "InactiveExitTimestamp",
    "StateChangeTimestamp",
    "NeedDaemonReload",
    "UnitFileState",
    "LoadState",
    "FragmentPath",
    "DropInPaths",
)
POLL_S = 0.5


def parse_timestamp(text: str) -> float | None:
    """Read a time as ``systemctl show --timestamp=us+utc`` prints it.

    Parameters
    ----------
    text
        Such as ``Tue 2026-11-24 16:16:22.123456 UTC``; empty or ``n/a`` when the unit never got there.

    Returns
    -------
    float or None
        Seconds since the epoch.
    """
    if text in {"", "n/a"}:
        return None
    _, date, clock, _ = text.split()
    return datetime.fromisoformat(f"{date}T{clock}+00:00").timestamp()


def youngest(paths: list[str]) -> tuple[float, str]:
    """Return the latest change time below `paths`, in seconds since the epoch, and the path that has it.

    The change time, not the modification time: a file moved into place keeps its old modification time.
    """
    latest, where = 0.0, ""
    for path in paths:
        found = [path]
        if Path(path).is_dir():
            found += [f"{top}/{name}" for top, _, names in os.walk(path) for name in names]
        for name in found:
            try:
                changed = Path(name).stat().st_ctime
            except FileNotFoundError:
                continue
            if changed > latest:
                latest, where = changed, name
    return latest, where


def decide(
    properties: dict[str, str], files: tuple[float, str], unit_files: tuple[float, str], reload: bool, since: float = 0
) -> tuple[str, str]:
    """Return the necessary action.

    Parameters
    ----------
    properties
        Of the unit, from ``systemctl show``.
    files, unit_files
        What `youngest` returned for the configuration and for the unit's own files.
    reload
        Whether the unit takes its configuration by a reload.
    since
        Time of a requested restart, whatever its configuration is.

    Returns
    -------
    tuple of str
        The action (none, start, restart or reload) and its reason.
    """
    state = properties["ActiveState"]
    # The time of leaving inactivity, not of becoming active: the process reads its files in between.
    started = parse_timestamp(properties["InactiveExitTimestamp"])
    if state not in {"active", "reloading", "refreshing"} or started is None:
        # Failed, or in a loop of failing starts: no health is at risk.
        return "start", f"it is {state}"
    if properties["NeedDaemonReload"] == "yes":
        return "restart", "its unit file changed"
    # Compared as well: a daemon-reload for another unit clears NeedDaemonReload of this one.
    if unit_files[0] > started:
        return "restart", f"{unit_files[1]} is younger than the process"
    if since > started:
        return "restart", "a restart was requested"
    read = max(started, parse_timestamp(properties["StateChangeTimestamp"]) or started) if reload else started
    if files[0] > read:
        return ("reload" if reload else "restart"), f"{files[1]} is younger than the process"
    return "none", "it runs with its current configuration"


def run(arguments: list[str]) -> tuple[int, str]:
    """Run a command without a shell; return its exit code and the end of its output."""
    try:
        done = subprocess.run(
            arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
        )
    except FileNotFoundError:
        return 127, f"{arguments[0]}: there is no such command"
    except subprocess.TimeoutExpired:
        return 124, f"{arguments[0]}: no answer within 60 s"
    return done.returncode, (done.stdout + done.stderr).strip()[-2000:]


def wait(check: list[str], timeout_s: int) -> str | None:
    """Run `check` until it succeeds; return its last output when it did not within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while check:
        code, output = run(check)
        if code == 0:
            return None
        if time.monotonic() > deadline:
            return f"{' '.join(check)}: exit code {code}: {output}"
        time.sleep(POLL_S)
    return None


def show(unit: str) -> dict[str, str]:
    """Return the properties of a unit that are needed here."""
    code, output = run(["systemctl", "show", unit, "--timestamp=us+utc", "--property=" + ",".join(PROPERTIES)])
    if code:
        raise RuntimeError(output)
    return dict(line.split("=", 1) for line in output.splitlines() if "=" in line)


def apply(module: AnsibleModule, action: str) -> None:
    """Apply the action and wait until the unit is healthy; fail the module otherwise."""
    unit, check, timeout_s = module.params["unit"], module.params["check"], module.params["timeout_s"]
    if action == "restart":
        before = check if module.params["before"] is None else module.params["before"]
        trouble = wait(before, timeout_s)
        if trouble:
            module.fail_json(
                msg=f"{unit} has a new configuration but is not restarted: the cluster is not healthy within "
                f"{timeout_s} s ({trouble}). Repair the fault that the check names, then run this again."
            )
    code, output = 0, ""
    if action != "none":
        # A unit in a loop of failing starts counts as started: `restart` starts it in either case.
        code, output = run(["systemctl", "restart" if action == "start" else action, unit])
    trouble = output if code else wait(check, timeout_s)
    if trouble:
        journal = run(["journalctl", "--unit", unit, "--no-pager", "--lines=25", "--output=cat"])[1]
        when = "although it runs" if action == "none" else f"after its {action}"
        module.fail_json(msg=f"{unit} is not healthy within {timeout_s} s {when}: {trouble}", journal=journal)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "unit": {"type": "str", "required": True},
            "files": {"type": "list", "elements": "str", "default": []},
            "check": {"type": "list", "elements": "str", "default": []},
            "before": {"type": "list", "elements": "str"},
            "timeout_s": {"type": "int", "default": 60},
            "reload": {"type": "bool", "default": False},
            "since": {"type": "dict", "default": {}},
            "enabled": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    unit, enabled = module.params["unit"], module.params["enabled"]
    missing = [path for path in module.params["files"] if not Path(path).exists()]
    if missing and not module.check_mode:
        module.fail_json(
            msg=f"{unit}: its files {', '.join(missing)} are missing; run the role's configure part first."
        )
    properties = show(unit)
    if properties["LoadState"] != "loaded":
        if module.check_mode:
            module.exit_json(changed=True, unit=unit, action="start", reason="the unit is not there yet")
        module.fail_json(msg=f"{unit} is {properties['LoadState']}; run the role's install and configure parts first.")
    unit_files = [path for path in (properties["FragmentPath"], *properties["DropInPaths"].split()) if path]
    since = float(module.params["since"].get(unit.removesuffix(".service"), 0))
    action, reason = decide(
        properties, youngest(module.params["files"]), youngest(unit_files), module.params["reload"], since
    )
    switch = {(True, "disabled"): "enable", (False, "enabled"): "disable"}.get((enabled, properties["UnitFileState"]))
    result = {"changed": action != "none" or switch is not None, "unit": unit, "action": action, "reason": reason}
    if module.check_mode:
        module.exit_json(**result)
    if properties["NeedDaemonReload"] == "yes":
        run(["systemctl", "daemon-reload"])
    if switch:
        code, output = run(["systemctl", switch, unit])
        if code:
            module.fail_json(msg=f"{unit}: systemctl {switch} failed: {output}")
    apply(module, action)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
