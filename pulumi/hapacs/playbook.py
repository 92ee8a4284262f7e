"""Runs a playbook: follows its events, keeps its log, and raises failures that say what to do next."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hapacs.deployment import PROJECT
from hapacs.errors import HapacsError, RefusedError

_PLAYBOOKS = PROJECT / "ansible" / "playbooks"
_CALLBACK = "hapacs_events"
_SHOWN_FAILURES = 3
_SHOWN_LINES = 12


@dataclass(frozen=True)
class Failure:
    """A task that failed on a host.

    Attributes
    ----------
    message
        The task's message.
    refused
        Why the playbook refused to begin; empty for other failures. A refusal changes nothing.
    """

    host: str
    task: str
    message: str
    refused: tuple[str, ...] = ()


@dataclass
class Outcome:
    """Result of a playbook.

    Parameters
    ----------
    log
        File with Ansible's output.
    recap
        Counts by host: ok, changed, unreachable, failed, skipped, rescued, ignored.
    tasks
        The tasks that changed something, each with its hosts.
    said
        Messages of the playbook for the operator.
    """

    log: Path
    recap: dict[str, dict[str, int]] = field(default_factory=dict)
    tasks: dict[str, set[str]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    @property
    def changed(self) -> int:
        """Changes on all hosts together."""
        return sum(host.get("changed", 0) for host in self.recap.values())

    @property
    def refused(self) -> list[str]:
        """Why the playbook refused to begin; empty when it did not."""
        return list(dict.fromkeys(reason for failure in self.failures for reason in failure.refused))

    def take(self, event: Mapping[str, Any]) -> None:
        """Take an event of the callback plugin (ansible/plugins/callback/hapacs_events.py)."""
        match event:
            case {"event": "changed", "host": host, "task": task}:
                self.tasks.setdefault(task, set()).add(host)
            case {"event": "message", "message": message}:
                if message not in self.said:
                    self.said.append(message)
            case {"event": "failed", "host": host, "task": task, "message": message, "refused": refused}:
                self.failures.append(Failure(host, task, message, tuple(refused)))
            case {"event": "recap", "hosts": hosts}:
                self.recap = dict(hosts)


class PlaybookError(HapacsError):
    """A playbook did not finish."""

    def __init__(self, name: str, outcome: Outcome) -> None:
        lines = [f"The playbook {name} failed."]
        for failure in outcome.failures[:_SHOWN_FAILURES]:
            lines += [f"  host {failure.host}, task [{failure.task}]:"]
            lines += [f"    {line}" for line in failure.message.splitlines()[:_SHOWN_LINES]]
        hint = f"The whole log: {outcome.log}\nRepair the cause, then run the same command again: it continues."
        super().__init__("\n".join(lines), hint)
        self.outcome = outcome


def run(
    name: str,
    *,
    inventory: Path,
    logs: Path,
    variables: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    on_task: Callable[[str], None] = lambda _: None,
    options: tuple[str, ...] = (),
) -> Outcome:
    """Run ``ansible/playbooks/<name>.yml``.

    Parameters
    ----------
    inventory
        A deployment's directory below ``inventories/``, or an inventory file.
    logs
        Directory of the log.
    variables
        Extra variables; no secrets, because the process list shows them.
    environment
        By default that of this process, with the programs of this virtual environment first in PATH.
    on_task
        Called with the name of each play and task that begins.
    options
        More options for ansible-playbook, such as ``--check``.

    Raises
    ------
    RefusedError
        If the playbook refused to begin: nothing was changed.
    PlaybookError
        If a task failed or a host was not reached.
    """
    logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    outcome = Outcome(logs / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{name.replace('/', '-')}.log")
    programs = Path(sys.executable).parent
    command = [
        str(programs / "ansible-playbook"), "--inventory", str(inventory),
        "--extra-vars", json.dumps(dict(variables or {})), *options, str(_PLAYBOOKS / f"{name}.yml"),
    ]  # fmt: skip
    reading, writing = os.pipe()
    with os.fdopen(reading, encoding="utf-8") as events, outcome.log.open("w", encoding="utf-8") as log:
        try:
            process = subprocess.Popen(
                command, cwd=PROJECT, env=_environment(programs, environment or {}, writing), pass_fds=(writing,),
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        finally:
            os.close(writing)
        try:
            for line in events:
                event = json.loads(line)
                if event["event"] in {"play", "task"}:
                    on_task(event["name"])
                outcome.take(event)
        finally:
            # On Ctrl-C hapacs.interruption passes the signal on, and kills what doesn't end soon.
            code = process.wait()
    if not code:
        return outcome
    if not outcome.failures:
        tail = outcome.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-_SHOWN_LINES:]
        outcome.failures.append(Failure("controller", "start", "\n".join(tail)))
    raise failed(name, outcome)


def failed(name: str, outcome: Outcome) -> HapacsError:
    """Return the error that a playbook with failures ends with."""
    if not outcome.refused:
        return PlaybookError(name, outcome)
    reasons = "\n".join(f"- {reason}" for reason in outcome.refused)
    return RefusedError(f"Refused, nothing was changed:\n{reasons}", f"The whole log: {outcome.log}")


def _environment(programs: Path, given: Mapping[str, str], events: int) -> dict[str, str]:
    own = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    return {
        **own,
        "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
        **given,
        "PYTHONUNBUFFERED": "1",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_CALLBACK_PLUGINS": str(PROJECT / "ansible" / "plugins" / "callback"),
        "ANSIBLE_CALLBACKS_ENABLED": _CALLBACK,
        "HAPACS_EVENTS_FD": str(events),
    }
