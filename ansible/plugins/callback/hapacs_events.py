"""Ansible callback: writes what a playbook does as JSON, one object a line, for `hapacs.playbook`.

Each object has an ``event``:

play, task
    Something begins: ``name``.
changed
    A task changed a ``host``: ``task``.
message
    A task shows a ``message`` to people: ``host``, ``task``.
failed
    A task failed on a ``host``, or the host was not reached: ``task``, ``message``, and ``refused``, the reasons when
    the action `refuse` failed. Failures that the playbook ignores are left out.
recap
    The end: ``hosts``, for each its counts.

Ansible has removed the results of tasks with ``no_log`` before it calls this plugin.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: hapacs_events
type: aggregate
short_description: Writes the events of a playbook as JSON lines
description:
  - Writes to a file descriptor that the calling program passed, beside the log that people read.
requirements:
  - Enabled by C(ANSIBLE_CALLBACKS_ENABLED), which C(hapacs) sets.
options:
  descriptor:
    description: Number of the open file descriptor.
    type: int
    required: true
    env:
      - name: HAPACS_EVENTS_FD
"""

_CENSORED = "the result is hidden because the task has no_log"
# Parts of a result that say why a task failed, the most important first.
_REASONS = ("msg", "stderr", "stdout", "journal")
_COUNTS = {
    "ok": "ok", "changed": "changed", "unreachable": "unreachable", "failed": "failures", "skipped": "skipped",
    "rescued": "rescued", "ignored": "ignored",
}  # fmt: skip


def failure_message(result: Mapping[str, Any]) -> str:
    """Return why a task failed: its message and the output of its command, each text once."""
    if "censored" in result:
        return _CENSORED
    parts = [str(result[key]).strip() for key in _REASONS if result.get(key)]
    return "\n".join(dict.fromkeys(parts)) or json.dumps(result, default=str)


class CallbackModule(CallbackBase):
    """Follow a playbook."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "hapacs_events"
    CALLBACK_NEEDS_ENABLED = True

    def set_options(self, *args: Any, **kwargs: Any) -> None:
        """Take the descriptor, and keep programs that Ansible starts from inheriting it."""
        super().set_options(*args, **kwargs)
        descriptor: int = self.get_option("descriptor")
        os.set_inheritable(descriptor, False)
        self._events = os.fdopen(descriptor, "w", encoding="utf-8")
        # Of loops under way, by host and task. Whether they count is known at the end of the loop.
        self._failed_items: dict[tuple[str, str], list[Mapping[str, Any]]] = {}

    def _write(self, event: str, **fields: Any) -> None:
        # The reader may be gone; the playbook goes on without it.
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps({"event": event, **fields}, default=str), file=self._events, flush=True)

    def _failed(self, result: Any) -> None:
        """Report a failed task: each failed item of a loop, else the whole."""
        for one in self._failed_items.pop(self._key(result), [result.result]):
            self._write(
                "failed",
                host=result.host.get_name(),
                task=result.task.get_name(),
                message=failure_message(one),
                refused=[str(reason) for reason in one.get("refused", ())],
            )

    @staticmethod
    def _key(result: Any) -> tuple[str, str]:
        return result.host.get_name(), result.task._uuid

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Report a play."""
        self._write("play", name=play.get_name())

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:  # noqa: ARG002 - Ansible's
        """Report a task."""
        self._write("task", name=task.get_name())

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        """Report a handler."""
        self._write("task", name=task.get_name())

    def v2_runner_on_ok(self, result: Any) -> None:
        """Report a change, and what the task shows."""
        host, task = result.host.get_name(), result.task.get_name()
        self._failed_items.pop(self._key(result), None)
        if result.result.get("changed"):
            self._write("changed", host=host, task=task)
        if "success_msg" not in result.task.args and result.task.action.rpartition(".")[2] == "assert":
            return
        for one in result.result.get("results", [result.result]):
            if one.get("_ansible_verbose_always") and one.get("msg"):
                self._write("message", host=host, task=task, message=str(one["msg"]))

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Report a failure that counts."""
        if ignore_errors:
            self._failed_items.pop(self._key(result), None)
        else:
            self._failed(result)

    def v2_runner_item_on_failed(self, result: Any) -> None:
        """Keep the failure of an item until the end of its loop."""
        self._failed_items.setdefault(self._key(result), []).append(result.result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Report a host that was lost, unless the task expects it."""
        if not result.task.ignore_unreachable:
            self._failed(result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Report the counts of each host."""
        summaries = {host: stats.summarize(host) for host in sorted(stats.processed)}
        hosts = {host: {name: summary[key] for name, key in _COUNTS.items()} for host, summary in summaries.items()}
        self._write("recap", hosts=hosts)
