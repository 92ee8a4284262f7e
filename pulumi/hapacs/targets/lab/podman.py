"""podman, called by its command line inside the lab's namespace."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

from hapacs.errors import HapacsError
from hapacs.targets.lab.namespace import NAMESPACE

# Everything of ours carries this label, with the deployment's name as its value.
LABEL = "org.hapacs.deployment"


class LabError(HapacsError):
    """A command of the lab's machinery failed."""


def podman(*words: str, stdin: bytes | None = None, timeout_s: float = 600) -> str:
    """Run podman and return what it printed.

    Raises
    ------
    LabError
        With podman's own message when it fails.
    """
    if shutil.which("podman") is None:
        raise LabError("podman is not installed.", "Run `make setup`, which installs what the lab needs.")
    with NAMESPACE.enter() as prefix:
        done = subprocess.run(
            [*prefix, "podman", *words], input=stdin, capture_output=True, timeout=timeout_s, check=False
        )
    if done.returncode:
        message = done.stderr.decode(errors="replace").strip()
        raise LabError(f"`podman {' '.join(words[:3])} ...` failed: {message}", _remedy(message))
    return done.stdout.decode(errors="replace").strip()


def _remedy(message: str) -> str:
    if "IPAM error" in message:
        return (
            "podman lost sight of the node's network, as happens when it is called outside the lab's namespace "
            "(docs/operations/cli.md). `hapacs down` and then `hapacs up` make the lab again."
        )
    return "The same command again continues where it stopped."


def inspect(kind: str, name: str) -> dict[str, Any] | None:
    """Return podman's description of a ``container``, ``network`` or ``image``, or None when there is none."""
    try:
        found: list[dict[str, Any]] = json.loads(podman(kind, "inspect", name))
    except LabError as error:
        if "no such" in error.message or "not found" in error.message or "not known" in error.message:
            return None
        raise
    return found[0]


def containers(deployment: str | None = None) -> list[str]:
    """Return the names of the containers of one deployment, or of all of ours."""
    label = LABEL if deployment is None else f"{LABEL}={deployment}"
    return podman("ps", "--all", "--filter", f"label={label}", "--format", "{{.Names}}").split()


def leave() -> bool:
    """Remove the namespace when no container at all is left in it; return whether it is gone."""

    def unused() -> bool:
        # The lock is held: a call through `podman()` would wait for itself.
        words = NAMESPACE.command("podman", "ps", "--all", "--quiet")
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        return done.returncode == 0 and not done.stdout.strip()

    return NAMESPACE.remove_if(unused)


def check_owner(kind: str, name: str, labels: dict[str, str] | None, deployment: str) -> None:
    """Refuse a leftover of the right name that is not this deployment's.

    Raises
    ------
    LabError
        If the labels are not ours.
    """
    if (labels or {}).get(LABEL) != deployment:
        raise LabError(
            f"A {kind} named {name!r} exists that does not belong to the deployment {deployment!r}.",
            f"Look at it with `podman {kind} inspect {name}`; remove or rename it, then run `hapacs up` again.",
        )
