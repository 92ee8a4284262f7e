"""What an interrupted command says: what was stopped, what may still run, and what to do next."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass
class Running:
    """The command that is being run.

    Attributes
    ----------
    command, deployment
        Empty until the command line was read.
    step
        The step that has begun, of commands that have steps.
    """

    command: str = ""
    deployment: str = ""
    step: str = ""


running = Running()


def remember(name: str) -> str:
    """Note the deployment; typer calls it with the argument's value."""
    running.deployment = name
    return name


_AGAIN = "Run the same command again: it completes what is missing."
_NOTHING_CHANGED = "Nothing was changed."
# Of `up`, what is true differs from step to step.
_STEPS_OF_UP: Mapping[str, str] = {
    "Machines": "Machines may be half made; the next run adopts or replaces them. " + _AGAIN,
    "Configuration": "Some nodes may have the new configuration and others the former one. A task that was running "
    "on a node may still finish there. " + _AGAIN,
    "Verification": "Machines and configuration are complete; only the verification was stopped. Test images that it "
    "stored may remain on the site. Run `hapacs verify {name}` to verify.",
}
_COMMANDS: Mapping[str, str] = {
    "init": "Keys and secrets that were written stay. " + _AGAIN,
    "plan": "No machine was changed.",
    "up": "No machine was changed. " + _AGAIN,
    "status": _NOTHING_CHANGED,
    "find": _NOTHING_CHANGED,
    "env": _NOTHING_CHANGED,
    "report": _NOTHING_CHANGED,
    "load": "The ledger has everything that was sent; images without an answer are unknown in it. "
    "`hapacs load check {name}` checks it.",
    "verify": "The verification has no result: its remaining checks did not run. Test images that it stored may remain "
    "on the site. Run the same command again to verify.",
    "drain": "The node may be partly drained, and a task may still finish on it. `hapacs status {name}` shows its "
    "state. Run the same command again to complete it, or `hapacs undrain` to take the node back into service.",
    "undrain": "The node may still be drained. `hapacs status {name}` shows its state. " + _AGAIN,
    "switchover": "The switchover may have happened or not. `hapacs status {name}` shows who leads and who stores.",
    "restart": "The node whose turn it was may still be excluded by the balancers, and a service may still be "
    "starting. `hapacs status {name}` shows it. Run the same command again: it begins with the first node.",
    "backup": "A backup that was begun goes on at the node that keeps it. `hapacs backup list {name}` shows it when it "
    "is whole.",
    "restore": "A rehearsal goes on at the node that keeps the backups, and ends by itself. A restore in place may "
    "have stopped services and the database: run the same command again, it goes on where it was.",
    "renew": "Certificates that were renewed stay; some services may still use their former one. " + _AGAIN,
    "rotate": "Some services may use the new secrets and others the former ones. Run the same command again at once: "
    "it completes the rotation.",
    "bench": "The benchmark has no result. Images that it stored may remain on the site (patients HAPACS-BENCH-...), "
    "and the bare Orthanc may run on the first node for up to an hour. The next run removes rows that `growth` made.",
    "drill": "The drill has no result. A process of its own undoes the fault now, and the node undoes it by itself "
    "when its lease ends. `hapacs status {name}` shows whether the site is whole.",
    "down": "Part of the deployment may remain. Run the same command again: it removes the rest.",
}


def sentence() -> str:
    """Return what to print when the command is interrupted."""
    if not running.command:
        return "Interrupted before anything was begun."
    words = shlex.join(["hapacs", *sys.argv[1:]])
    stopped = f"Interrupted: `{words}`" + (f", in the step {running.step!r}." if running.step else ".")
    said = _COMMANDS.get(running.command, _AGAIN)
    if running.command == "up":
        said = _STEPS_OF_UP.get(running.step, said)
    return f"{stopped}\n{said.format(name=running.deployment)}"
