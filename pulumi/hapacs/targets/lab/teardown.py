"""Removal of a lab, complete in whatever state it is."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from pathlib import Path

from hapacs.deployment import Deployment
from hapacs.targets.lab import loops, networks, nodes
from hapacs.targets.lab.podman import LABEL, containers, leave, podman


def sweep(deployment: Deployment) -> None:
    """Remove containers, networks, loop devices, files and secrets, and the namespace if no other lab uses it.

    Everything is found by the deployment's label or below its own state directory, so this also clears up after a run
    whose Pulumi state is lost. The cache stays.
    """
    for container in containers(deployment.name):
        nodes.remove(container, deployment.name)
    for network in podman(
        "network", "ls", "--filter", f"label={LABEL}={deployment.name}", "--format", "{{.Name}}"
    ).split():
        networks.remove(network, deployment.name)
    for disk in (deployment.state / "lab" / "disks").glob("*.img"):
        loops.detach(disk)
    _end_connections(deployment.state / "ansible" / "cp")
    if deployment.state.exists():
        shutil.rmtree(deployment.state)
    deployment.secrets_file.unlink(missing_ok=True)
    deployment.authorities_file.unlink(missing_ok=True)
    for directory in (deployment.state.parent, deployment.secrets_file.parent, deployment.secrets_file.parent.parent):
        with contextlib.suppress(OSError):  # not empty: something else is in it
            directory.rmdir()
    leave()


def _end_connections(sockets: Path) -> None:
    """End the SSH connections that Ansible keeps open for a while after a run."""
    for socket in sockets.glob("*"):
        command = ["ssh", "-F", "none", "-o", f"ControlPath={socket}", "-O", "exit", "node"]
        subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=10, check=False)
