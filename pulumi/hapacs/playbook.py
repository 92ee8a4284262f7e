"""Running a playbook as a person would, with progress, a log, and failures that say what to do next."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import yaml

from hapacs.deployment import PROJECT
from hapacs.errors import HapacsError

_PLAYBOOKS = PROJECT / "ansible" / "playbooks"
_BANNER = re.compile(r"^(PLAY|TASK|RUNNING HANDLER) \[(.*?)\] \**$")
_CHANGED = re.compile(r"^changed: \[([^\]\s]+)")
_FAILED = re.compile(r"^(?:fatal|failed): \[([^\]]+)\]")
_SAID = re.compile(r"^ok: \[[^\]]+\](?: => \(item=.*\))? => ?$")
_SILENT = {"All assertions passed"}
_RECAP = re.compile(r"^(\S+)\s+: (.*failed=\d+.*)$")
_SHOWN_LINES = 12


@dataclass(frozen=True)
class Failure:
    """A task that failed on a host, with what it said."""

    host: str
    task: str
    message: str


@dataclass
class Outcome:
    """What a run of a playbook came to.

    Parameters
    ----------
    log
        Everything that Ansible printed.
    recap
        For each host: ok, changed, unreachable, failed, skipped, rescued, ignored.
    tasks
        The tasks that changed something, each with its hosts.
    said
        What tasks had to say to whoever runs the playbook.
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


class PlaybookError(HapacsError):
    """A playbook did not finish."""

    def __init__(self, name: str, outcome: Outcome) -> None:
        lines = [f"The playbook {name} failed."]
        for failure in outcome.failures[:3]:
            lines += [f"  host {failure.host}, task [{failure.task}]:"]
            lines += [f"    {line}" for line in failure.message.splitlines()[:_SHOWN_LINES]]
        hint = f"The whole log: {outcome.log}\nMend the cause, then run the same command again: it continues."
        super().__init__("\n".join(lines), hint)
        self.outcome = outcome


class Reader:
    """Follows what ansible-playbook prints.

    Parameters
    ----------
    on_task
        Called with each play and task that begins.
    """

    def __init__(self, outcome: Outcome, on_task: Callable[[str], None]) -> None:
        self._outcome = outcome
        self._on_task = on_task
        self._task = ""
        self._failing: tuple[str, list[str]] | None = None
        self._saying: list[str] | None = None

    def line(self, text: str) -> None:
        """Take the next line."""
        under_way = self._failing[1] if self._failing is not None else self._saying
        if under_way is not None and text.startswith((" ", "\t")):
            under_way.append(text)
            return
        self._finish_failure()
        self._finish_saying()
        self._begin(text)

    def _begin(self, text: str) -> None:
        if banner := _BANNER.match(text):
            if banner[1] != "PLAY":
                self._task = banner[2]
            self._on_task(banner[2])
        elif changed := _CHANGED.match(text):
            self._outcome.tasks.setdefault(self._task, set()).add(changed[1])
        elif _SAID.match(text):
            self._saying = []
        elif text == "...ignoring" and self._outcome.failures:
            self._outcome.failures.pop()
        elif failed := _FAILED.match(text):
            rest = text.partition("=>")[2].strip()
            self._failing = (failed[1], [rest] if rest else [])
        elif recap := _RECAP.match(text):
            counts = (pair.split("=") for pair in recap[2].split())
            self._outcome.recap[recap[1]] = {name: int(count) for name, count in counts}

    def _finish_failure(self) -> None:
        if self._failing is not None:
            host, lines = self._failing
            self._outcome.failures.append(Failure(host, self._task, _message(lines)))
            self._failing = None

    def _finish_saying(self) -> None:
        if (said := _message(self._saying or [])) and said not in {*_SILENT, *self._outcome.said}:
            self._outcome.said.append(said)
        self._saying = None

    def end(self) -> None:
        """Take the end of the output."""
        self._finish_failure()
        self._finish_saying()


def _message(lines: list[str]) -> str:
    """Return what a failed task's result says of why: its message and what the command printed."""
    text = textwrap.dedent("\n".join(lines))
    try:
        result = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    if not isinstance(result, dict):
        return text
    parts = [str(result[key]).strip() for key in ("msg", "stderr", "stdout", "journal") if result.get(key)]
    return "\n".join(part for number, part in enumerate(parts) if part not in parts[:number]) or text


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
        Where the log goes.
    variables
        Extra variables; no secrets, they are seen in the process list.
    environment
        By default this process's own, with the programs of this virtual environment first.
    on_task
        Called with each play and task that begins.
    options
        More words for ansible-playbook, such as ``--check``.

    Raises
    ------
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
    own = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    own["ANSIBLE_CONFIG"] = str(PROJECT / "ansible.cfg")
    reader = Reader(outcome, on_task)
    with outcome.log.open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            command, cwd=PROJECT, env={**own, **(environment or {}), "PYTHONUNBUFFERED": "1", "ANSIBLE_NOCOLOR": "1"},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        )  # fmt: skip
        try:
            for text in process.stdout or ():
                log.write(text)
                log.flush()
                reader.line(text.rstrip("\n"))
            code = process.wait()
        except KeyboardInterrupt:
            # hapacs.interruption passes the signal on, and kills what doesn't end soon.
            process.wait()
            raise
    reader.end()
    if code:
        if not outcome.failures:
            tail = outcome.log.read_text(encoding="utf-8").strip().splitlines()[-_SHOWN_LINES:]
            outcome.failures.append(Failure("controller", "start", "\n".join(tail)))
        raise PlaybookError(name, outcome)
    return outcome
