"""Faults of a node of the lab, each with its repair: power lost, network cut, all processes frozen."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from hapacs import ssh
from hapacs.deployment import Deployment
from hapacs.load.waiting import eventually
from hapacs.targets.lab import networks
from hapacs.targets.lab.podman import LabError, inspect, podman

_DEAD_S = 10


class LabPower:
    """The power switch of the nodes of one lab."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    def off(self, node: str) -> None:
        """Cut a node's power, and return when it is dead."""
        power_off(self._container(node))
        eventually(f"{node} is off", lambda: not self.is_on(node), _DEAD_S, 0.05)

    def on(self, node: str) -> None:
        """Switch a node on, and return when it answers by SSH."""
        power_on(self._container(node), self._deployment.ssh_key.parent)

    def is_on(self, node: str) -> bool:
        """Return whether a node runs."""
        return is_on(self._container(node))

    def _container(self, node: str) -> str:
        return f"{self._deployment.name}-{node}"


def create(deployment: Deployment) -> LabPower:
    """Return the power switch of a lab."""
    return LabPower(deployment)


def power_off(container: str) -> None:
    """Switch the node off at once: every process is killed without a chance to shut down."""
    podman("kill", "--signal", "KILL", container)


def power_on(container: str, keys: Path, timeout_s: float = 90) -> None:
    """Switch the node on, and return when it answers by SSH.

    Parameters
    ----------
    container
        ``<deployment>-<node>``.
    keys
        ``<state>/ssh`` of the deployment.
    """
    podman("start", container)
    for network in _inspect(container)["NetworkSettings"]["Networks"]:
        networks.keep_hardware_address(network)
    ssh.wait(_address(container), keys / "id_ed25519", keys / "known_hosts", timeout_s)


def is_on(container: str) -> bool:
    """Return whether the node runs."""
    return bool(_inspect(container)["State"]["Running"])


def pause(container: str) -> None:
    """Freeze every process of the node: it keeps its connections and answers nothing."""
    podman("pause", container)


def resume(container: str) -> None:
    """Let a frozen node go on."""
    podman("unpause", container)


def cut(container: str) -> None:
    """Pull the node's network cable: the bridge's end of it goes down, routes and addresses stay."""
    _link(container, "down")


def heal(container: str) -> None:
    """Plug the network cable in again."""
    _link(container, "up")


def _link(container: str, state: str) -> None:
    peer = int(podman("exec", container, "cat", "/sys/class/net/eth0/iflink"))
    for entry in Path("/sys/class/net").iterdir():
        if int((entry / "ifindex").read_text(encoding="utf-8")) == peer:
            subprocess.run(["ip", "link", "set", entry.name, state], check=True, capture_output=True)
            return
    raise LabError(f"The network cable of {container} is not found.", "Is the node switched on?")


def _address(container: str) -> str:
    settings = next(iter(_inspect(container)["NetworkSettings"]["Networks"].values()))
    return str((settings.get("IPAMConfig") or {}).get("IPv4Address") or settings["IPAddress"])


def _inspect(container: str) -> dict[str, Any]:
    found = inspect("container", container)
    if found is None:
        raise LabError(f"There is no node {container}.", "`hapacs up` makes the lab.")
    return found
