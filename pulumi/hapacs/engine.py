"""Pulumi, driven through its Automation API: an inline program, a local file backend, no account, no language host."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from hapacs import program, secrets, targets
from hapacs.deployment import PULUMI_VERSION
from hapacs.errors import HapacsError, RefusedError
from pulumi import automation

if TYPE_CHECKING:
    from hapacs.deployment import Deployment

PROJECT_NAME = "hapacs"
_LAUNCHER = "pulumi-resource-pulumi-python"
_QUIET = {"same", "read", "refresh"}


@dataclass(frozen=True)
class Change:
    """One thing that the engine would do or did.

    Parameters
    ----------
    operation
        ``create``, ``update``, ``delete``, ``replace``...
    kind, name
        Type and name of the resource.
    properties
        Which properties differ, where the engine says so.
    """

    operation: str
    kind: str
    name: str
    properties: tuple[str, ...]


class EngineError(HapacsError):
    """Pulumi failed."""


class Engine:
    """The Pulumi stack of one deployment.

    Parameters
    ----------
    deployment
        Whose stack.
    on_change
        Called for each thing that the engine starts to do.
    """

    def __init__(self, deployment: Deployment, on_change: Callable[[Change], None] = lambda _: None) -> None:
        self._deployment = deployment
        self._on_change = on_change

    @cached_property
    def _target(self) -> targets.Target:
        return targets.create(self._deployment.settings, self._deployment.state)

    def preview(self) -> list[Change]:
        """Return what `up` would do, compared with what is really there; nothing is changed."""
        changes: list[Change] = []
        self._target.ready()
        with self._stack("plan") as (stack, log):
            stack.preview(refresh=True, color="never", on_output=log, on_event=self._watch(changes))
        return changes

    def up(self) -> list[Change]:
        """Make everything as the settings say, and write the inventory contract."""
        changes: list[Change] = []
        self._target.ready()
        with self._stack("up") as (stack, log):
            if self._resources(stack):
                # What an interrupted run began is adopted when it is made again, so its note can go.
                stack.refresh(clear_pending_creates=True, color="never", on_output=log)
            done = stack.up(color="never", on_output=log, on_event=self._watch(changes))
            self._write_contract(done.outputs[program.OUTPUT].value)
        return changes

    def down(self) -> list[Change]:
        """Remove everything that the stack made, and the stack."""
        changes: list[Change] = []
        with self._stack("down") as (stack, log):
            if self._resources(stack):
                stack.refresh(clear_pending_creates=True, color="never", on_output=log)
                stack.destroy(color="never", on_output=log, on_event=self._watch(changes))
            stack.workspace.remove_stack(self._deployment.name)
        self._deployment.contract_file.unlink(missing_ok=True)
        return changes

    def _watch(self, changes: list[Change]) -> Callable[[automation.EngineEvent], None]:
        def event(happened: automation.EngineEvent) -> None:
            if happened.resource_pre_event is None:
                return
            metadata = happened.resource_pre_event.metadata
            operation = metadata.op.value if hasattr(metadata.op, "value") else str(metadata.op)
            # Components and the engine's own entries are no things that somebody could touch.
            if operation in _QUIET or metadata.type.startswith((f"{PROJECT_NAME}:", "pulumi:")):
                return
            change = Change(
                operation,
                metadata.type.rsplit(":", 1)[-1],
                metadata.urn.rsplit("::", 1)[-1],
                tuple(metadata.diffs or ()),
            )
            changes.append(change)
            self._on_change(change)

        return event

    @contextmanager
    def _stack(self, verb: str) -> Iterator[tuple[automation.Stack, Callable[[str], None]]]:
        """Open the stack with a log; turn the engine's failures into what an operator can act on."""
        deployment = self._deployment
        deployment.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        log_file = deployment.logs / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-pulumi-{verb}.log"
        # Without a directory of its own the workspace makes one for each run and leaves it behind.
        with log_file.open("w", encoding="utf-8") as log, TemporaryDirectory(prefix="hapacs-pulumi-") as workspace:

            def write(line: str) -> None:
                log.write(f"{line}\n")

            try:
                yield self._open(workspace), write
            except automation.CommandError as error:
                log.write(str(error))
                raise EngineError(
                    f"Pulumi failed ({verb}): {_reason(str(error))}",
                    f"The whole log: {log_file}\nMend the cause, then run the same command again: it continues.",
                ) from error

    def _open(self, workspace: str) -> automation.Stack:
        deployment = self._deployment
        self._install_launcher()
        variables = deployment.variables()
        # The Automation API looks for `pulumi` on this process's own path.
        os.environ["PATH"] = variables["PATH"]
        backend = deployment.backend
        backend.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._clear_stale_locks(backend)
        passphrase = str(secrets.read(deployment)["hapacs_secret_pulumi_passphrase"])
        try:
            return automation.create_or_select_stack(
                deployment.name,
                PROJECT_NAME,
                lambda: program.program(deployment.settings, self._target),
                opts=automation.LocalWorkspaceOptions(
                    work_dir=workspace,
                    env_vars=variables | {"PULUMI_CONFIG_PASSPHRASE": passphrase},
                ),
            )
        except FileNotFoundError as error:
            raise RefusedError(
                f"The Pulumi engine {PULUMI_VERSION} is not here.", "Run `make setup`, which fetches or builds it."
            ) from error

    def _clear_stale_locks(self, backend: Path) -> None:
        """Remove the locks of engine runs that were killed; a living one is respected."""
        for path in (backend / ".pulumi" / "locks").rglob("*.json"):
            try:
                holder = json.loads(path.read_text(encoding="utf-8"))
            except (json.JSONDecodeError, FileNotFoundError):  # killed while writing it
                holder = {}
            process = int(holder.get("pid", 0))
            if process and Path(f"/proc/{process}").exists():
                raise EngineError(
                    f"A pulumi process ({process}) is working on this stack.", "Wait until it is done, then run again."
                )
            path.unlink(missing_ok=True)

    def _install_launcher(self) -> None:
        """Write the program that the engine starts to serve dynamic providers."""
        launcher = self._deployment.state / "bin" / _LAUNCHER
        content = f'#!/bin/sh\nexec "{sys.executable}" -u -m pulumi.dynamic "$@"\n'
        if not launcher.exists() or launcher.read_text(encoding="utf-8") != content:
            launcher.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            launcher.write_text(content, encoding="utf-8")
            launcher.chmod(0o755)

    def _write_contract(self, contract: Any) -> None:
        file = self._deployment.contract_file
        new = file.with_name(f".{file.name}.new")
        new.write_text(json.dumps(contract, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        new.replace(file)

    @staticmethod
    def _resources(stack: automation.Stack) -> bool:
        return bool((stack.export_stack().deployment or {}).get("resources"))


def _reason(message: str) -> str:
    """Return what the engine's diagnostics say is wrong, each thing once."""
    found: list[str] = []
    taking = False
    for line in message.partition("Diagnostics:")[2].splitlines():
        text = line.strip()
        if text.startswith("error:"):
            taking = not text.endswith(("update failed", "preview failed"))
            text = text.removeprefix("error: ").removeprefix("Exception calling application: ")
        elif not text or text.endswith("):"):  # the next resource
            taking = False
        if taking and text not in found:
            found.append(text)
    return "\n".join(found) or message.strip()[-1500:]
