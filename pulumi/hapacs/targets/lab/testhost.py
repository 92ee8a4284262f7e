"""Single hosts to try a role on: ``python -m hapacs.targets.lab.testhost up NAME`` and ``down NAME``.

``up`` prints a JSON object: name, address, ssh_key, known_hosts, devices. A host that is there already is kept.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any

import typer

from hapacs.deployment import state_directory
from hapacs.errors import HapacsError
from hapacs.targets.lab import base_image, loops, networks, nodes
from hapacs.targets.lab.podman import LabError, containers, inspect, leave

_OWNER = "testhosts"
_DISK_BYTES = 512 << 20

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Hosts to try a role on.")


@contextmanager
def _alone() -> Iterator[Path]:
    """Hold the directory of all test hosts: addresses and the network are handed out one at a time."""
    state = state_directory()
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Beside the directory, not in it: `down` removes that with its last host, while others may be waiting here.
    with (state / f".{_OWNER}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        root = state / _OWNER
        root.mkdir(mode=0o700, exist_ok=True)
        yield root


def _networks(container: str) -> dict[str, str]:
    """Return the container's networks and its address in each."""
    settings = (inspect("container", container) or {}).get("NetworkSettings", {})
    return {
        name: (network.get("IPAMConfig") or {}).get("IPv4Address") or network.get("IPAddress", "")
        for name, network in (settings.get("Networks") or {}).items()
    }


def _address(container: str, network: networks.Network) -> str:
    """Return the first address that no other test host has; one that exists keeps its own."""
    taken = {name: _networks(name).get(network.name, "") for name in containers(_OWNER)}
    if taken.get(container):
        return taken[container]
    for host in list(ip_network(network.subnet).hosts())[10:]:
        if str(host) not in taken.values():
            return str(host)
    raise LabError(f"No address is free in {network.subnet}.", "Remove test hosts that are not needed any more.")


def up(name: str, disks: int, image: str, address: str, subnet: str) -> dict[str, Any]:
    """Make a test host and return how to reach it."""
    network = networks.Network(
        f"hapacs-test-{subnet.split('/', maxsplit=1)[0].replace('.', '-')}",
        _OWNER,
        subnet,
        str(next(ip_network(subnet).hosts())),
    )
    if image == "golden":
        from hapacs import image as golden  # noqa: PLC0415

        image_name = golden.ensure()
    else:
        image_name = base_image.ensure()
    with _alone() as root:
        networks.ensure(network)
        address = address or _address(name, network)
        devices = []
        for index in range(disks):
            path = root / name / f"disk{index}.img"
            loops.make_file(path, _DISK_BYTES)
            devices.append(loops.attach(path))
        node = nodes.Node(
            name,
            _OWNER,
            name,
            network.name,
            address,
            image_name,
            tuple(devices),
            root / name / "data",
            root / name / "ssh",
        )
        nodes.ensure(node)
    keys = node.keys
    return {
        "name": name,
        "address": address,
        "ssh_key": str(keys / "id_ed25519"),
        "known_hosts": str(keys / "known_hosts"),
        "devices": devices,
    }


def down(name: str) -> None:
    """Remove a test host and everything that was made for it."""
    with _alone() as root:
        mine = _networks(name)
        nodes.remove(name, _OWNER)
        for path in sorted((root / name).glob("disk*.img")):
            loops.detach(path)
        shutil.rmtree(root / name, ignore_errors=True)
        if not containers(_OWNER):
            shutil.rmtree(root)
        used = {network for other in containers(_OWNER) for network in _networks(other)}
        for network in mine.keys() - used:
            networks.remove(network, _OWNER)
    leave()


@app.command("up")
def _up(
    name: str,
    disks: Annotated[int, typer.Option(help="Block devices of 512 MiB to give it.")] = 0,
    image: Annotated[str, typer.Option(help="base or golden.")] = "base",
    address: Annotated[str, typer.Option(help="Address in the subnet; the first free one by default.")] = "",
    subnet: Annotated[str, typer.Option(help="Network of the host, in CIDR notation.")] = "10.89.79.0/24",
) -> None:
    """Make a host, or find it, and print how to reach it as JSON."""
    json.dump(up(name, disks, image, address, subnet), sys.stdout)
    sys.stdout.write("\n")


@app.command("down")
def _down(name: str) -> None:
    """Remove a host."""
    down(name)


if __name__ == "__main__":
    try:
        app()
    except HapacsError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
