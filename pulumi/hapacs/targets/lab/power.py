"""Faults of a node of the lab, each with its repair: power lost, network cut, all processes frozen."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from hapacs import ssh
from hapacs.targets.lab.podman import LabError, inspect, podman


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
