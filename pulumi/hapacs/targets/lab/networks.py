"""The lab's network: a podman bridge with a fixed subnet."""

from __future__ import annotations

from dataclasses import dataclass

from hapacs.targets.lab.podman import LABEL, check_owner, inspect, podman


@dataclass(frozen=True)
class Network:
    """A bridge on this machine.

    Parameters
    ----------
    name, deployment
        podman's name of it, and whose it is.
    subnet, gateway
        In CIDR notation; the gateway is the machine's own address in it.
    """

    name: str
    deployment: str
    subnet: str
    gateway: str


def find(name: str) -> Network | None:
    """Return the network as podman has it."""
    found = inspect("network", name)
    if found is None:
        return None
    subnet = (found.get("subnets") or [{}])[0]
    return Network(
        name, (found.get("labels") or {}).get(LABEL, ""), subnet.get("subnet", ""), subnet.get("gateway", "")
    )


def ensure(network: Network) -> None:
    """Make the network; adopt our own leftover, refuse a foreign one."""
    present = find(network.name)
    if present is not None:
        check_owner("network", network.name, {LABEL: present.deployment}, network.deployment)
        if present == network:
            return
        # Nodes on it go with it: they are made anew with the new addresses.
        podman("network", "rm", "--force", network.name)
    podman(
        "network", "create", "--driver", "bridge", "--disable-dns", "--label", f"{LABEL}={network.deployment}",
        "--subnet", network.subnet, "--gateway", network.gateway, network.name,
    )  # fmt: skip


def remove(name: str, deployment: str) -> None:
    """Remove the network if it is there and ours."""
    present = find(name)
    if present is not None:
        check_owner("network", name, {LABEL: present.deployment}, deployment)
        podman("network", "rm", name)
