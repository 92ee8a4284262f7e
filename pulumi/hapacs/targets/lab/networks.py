"""The lab's network: a podman bridge with a fixed subnet."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from hapacs.targets.lab.podman import LABEL, check_owner, inspect, podman

# The addresses of containers; netavark makes this file again.
_ADDRESSES = Path("/run/containers/networks/ipam.db")
_INTERFACES = Path("/sys/class/net")
# An address that was set (include/uapi/linux/netdevice.h, NET_ADDR_SET).
_SET = "3"


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
        _withdraw(network.name)
    podman(
        "network", "create", "--driver", "bridge", "--disable-dns", "--label", f"{LABEL}={network.deployment}",
        "--subnet", network.subnet, "--gateway", network.gateway, network.name,
    )  # fmt: skip


def keep_hardware_address(name: str) -> None:
    """Let the bridge keep the hardware address that it has.

    Until one is set, a bridge has the lowest of its ports' addresses. When a node comes or goes the machine then has
    another one, and the other nodes, which still know the former, lose their connections with it.
    """
    bridge = _INTERFACES / str((inspect("network", name) or {}).get("network_interface", ""))
    try:
        if (bridge / "addr_assign_type").read_text(encoding="ascii").strip() == _SET:
            return
        address = (bridge / "address").read_text(encoding="ascii").strip()
    except OSError:
        # It went with its last node.
        return
    subprocess.run(["ip", "link", "set", "dev", bridge.name, "address", address], check=False, capture_output=True)


def remove(name: str, deployment: str) -> None:
    """Remove the network if it is there and ours."""
    present = find(name)
    if present is not None:
        check_owner("network", name, {LABEL: present.deployment}, deployment)
        _withdraw(name)


def _withdraw(name: str) -> None:
    interface = (inspect("network", name) or {}).get("network_interface", "")
    # Nodes on it go with it: those that are wanted are made again with their new addresses, and leftovers of an
    # interrupted `up` block nothing.
    podman("network", "rm", "--force", "--time", "0", name)
    # podman takes the bridge away and frees the addresses with the last container. One that it lost sight of (somebody
    # called podman outside the lab's namespace, say) leaves both, and no network can have these addresses again.
    if interface and (_INTERFACES / interface / "bridge").is_dir():
        subprocess.run(["ip", "link", "delete", "dev", interface, "type", "bridge"], check=False, capture_output=True)
    # A node that is paused has its address as well, and podman lists it only when asked for.
    if not podman("ps", "--all", "--quiet", "--filter", "status=running", "--filter", "status=paused"):
        _ADDRESSES.unlink(missing_ok=True)
