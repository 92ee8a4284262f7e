"""Runs Pulumi through its Automation API: an inline program, a local file backend, no account, no language host."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pulumi.runtime.rpc import UNKNOWN

from hapacs import contract, program, secrets, targets
from hapacs.changes import Change, Changes, compare
from hapacs.deployment import PULUMI_VERSION
from hapacs.errors import HapacsError, RefusedError
from pulumi import automation

if TYPE_CHECKING:
    from hapacs.deployment import Deployment

PROJECT_NAME = "hapacs"
_LAUNCHER = "pulumi-resource-pulumi-python"
_QUIET = {"same", "read", "refresh"}


class EngineError(HapacsError):
    """Pulumi failed."""


@dataclass
class _Found:
    """Result of an engine run: its changes and the contract."""

    machines: list[Change] = field(default_factory=list)
    drift: dict[str, dict[str, tuple[Any, Any]]] = field(default_factory=dict)
    contract: dict[str, Any] = field(default_factory=dict)

    def take(self, exported: dict[str, Any]) -> None:
        """Keep the contract that the program exports."""
        self.contract = exported

    def look(self, metadata: automation.StepEventMetadata) -> None:
        """Keep the differences that a refresh found between the last run and now."""
        if _operation(metadata) == "refresh" and metadata.old is not None and metadata.new is not None:
            left, has = metadata.old.outputs or {}, metadata.new.outputs or {}
            self.drift[metadata.urn] = {
                key: (has[key], value) for key, value in left.items() if key in has and has[key] != value
            }


class Engine:
    """The Pulumi stack of one deployment.

    Parameters
    ----------
    deployment
        The deployment that the stack belongs to.
    on_change
        Called for each thing that the engine starts to do.
    """

    def __init__(self, deployment: Deployment, on_change: Callable[[Change], None] = lambda _: None) -> None:
        self._deployment = deployment
        self._on_change = on_change

    @cached_property
    def _target(self) -> targets.Target:
        return targets.create(self._deployment.settings, self._deployment.state)

    def preview(self) -> Changes:
        """Compare the settings with the resources and the last `up`, and write the contract of the settings."""
        deployment, found = self._deployment, _Found()
        self._target.ready()
        with self._stack("plan", found) as (stack, log):
            stack.preview(refresh=True, color="never", on_output=log, on_event=self._watch(found))
        new = contract.planned(found.contract, contract.read(deployment.contract_file))
        contract.write(deployment.planned_contract_file, new)
        return self._changes(found.machines, new)

    def up(self) -> Changes:
        """Make the machines that the settings describe, and write the inventory contract."""
        deployment, found = self._deployment, _Found()
        self._target.ready()
        contract.write(deployment.unfinished_file, self._configured() or {})
        with self._stack("up", found) as (stack, log):
            if self._resources(stack):
                # Resources of an interrupted run are adopted when they are made again: its pending entries can go.
                stack.refresh(clear_pending_creates=True, color="never", on_output=log, on_event=self._watch(found))
            stack.up(color="never", on_output=log, on_event=self._watch(found))
        contract.write(deployment.contract_file, found.contract)
        return self._changes(found.machines, found.contract)

    def _configured(self) -> dict[str, Any] | None:
        """Return the contract that the nodes were configured by, or None before the first `up`."""
        unfinished = contract.read(self._deployment.unfinished_file)
        return contract.read(self._deployment.contract_file) if unfinished is None else unfinished or None

    def _changes(self, machines: list[Change], new: dict[str, Any]) -> Changes:
        last = self._configured()
        settings = None if last is None else compare(last, new)
        return Changes(new, machines, settings, self._target.consequences(machines, last))

    def down(self) -> list[Change]:
        """Remove all resources of the stack, and the stack."""
        found = _Found()
        with self._stack("down", found) as (stack, log):
            if self._resources(stack):
                stack.refresh(clear_pending_creates=True, color="never", on_output=log)
                stack.destroy(color="never", on_output=log, on_event=self._watch(found))
            stack.workspace.remove_stack(self._deployment.name)
        for file in (self._deployment.contract_file, self._deployment.unfinished_file):
            file.unlink(missing_ok=True)
        return found.machines

    def _watch(self, found: _Found) -> Callable[[automation.EngineEvent], None]:
        def event(happened: automation.EngineEvent) -> None:
            if happened.res_outputs_event is not None:
                found.look(happened.res_outputs_event.metadata)
            if happened.resource_pre_event is None:
                return
            metadata = happened.resource_pre_event.metadata
            operation = _operation(metadata)
            # Components and the engine's own entries are not machines.
            if operation in _QUIET or metadata.type.startswith((f"{PROJECT_NAME}:", "pulumi:")):
                return
            values = found.drift.get(metadata.urn, {}) | _values(metadata)
            name = metadata.urn.rsplit("::", 1)[-1]
            change = Change(operation, metadata.type.rsplit(":", 1)[-1], name, tuple(values), values)
            found.machines.append(change)
            self._on_change(change)

        return event

    @contextmanager
    def _stack(self, verb: str, found: _Found) -> Iterator[tuple[automation.Stack, Callable[[str], None]]]:
        """Open the stack with a log; turn the engine's failures into errors with a remedy."""
        deployment = self._deployment
        deployment.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        log_file = deployment.logs / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-pulumi-{verb}.log"
        # Without a given directory the workspace makes one for each run and never removes it.
        with log_file.open("w", encoding="utf-8") as log, TemporaryDirectory(prefix="hapacs-pulumi-") as workspace:

            def write(line: str) -> None:
                log.write(f"{line}\n")

            try:
                yield self._open(workspace, found), write
            except automation.CommandError as error:
                log.write(str(error))
                raise EngineError(
                    f"Pulumi failed ({verb}): {_reason(str(error))}",
                    f"The whole log: {log_file}\nRemove the cause, then run the same command again: it continues.",
                ) from error

    def _open(self, workspace: str, found: _Found) -> automation.Stack:
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
                lambda: program.program(deployment.settings, self._target, found.take),
                opts=automation.LocalWorkspaceOptions(
                    work_dir=workspace,
                    env_vars=variables | {"PULUMI_CONFIG_PASSPHRASE": passphrase},
                ),
            )
        except FileNotFoundError as error:
            raise RefusedError(
                f"The Pulumi engine {PULUMI_VERSION} is not installed.", "Run `make setup`, which fetches or builds it."
            ) from error

    def _clear_stale_locks(self, backend: Path) -> None:
        """Remove the locks of engine runs that were killed; the lock of a running one stays."""
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

    @staticmethod
    def _resources(stack: automation.Stack) -> bool:
        return bool((stack.export_stack().deployment or {}).get("resources"))


def _operation(metadata: automation.StepEventMetadata) -> str:
    return metadata.op.value if hasattr(metadata.op, "value") else str(metadata.op)


def _values(metadata: automation.StepEventMetadata) -> dict[str, tuple[Any, Any]]:
    """Return present and wanted values of a resource's properties that differ."""
    if metadata.old is None or metadata.new is None:
        return {}
    has, asked = metadata.old.outputs or {}, metadata.new.inputs or {}
    return {
        key: (has[key], None if UNKNOWN in str(value) else value)
        for key, value in asked.items()
        if not key.startswith("__") and key in has and has[key] != value
    }


def _reason(message: str) -> str:
    """Return the errors in the engine's diagnostics, each once."""
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
