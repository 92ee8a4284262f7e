"""Where nodes come from: the Protocol that every target implements, and how a target is found.

A target is a module ``hapacs.targets.<kind>`` with a function ``create(settings, state) -> Target``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Protocol, cast

import pulumi
from hapacs.settings import Node, Settings


@dataclass(frozen=True)
class NetworkArgs:
    """A site's cluster network."""

    site: str
    cluster: IPv4Network
    gateway: IPv4Address | None


@dataclass(frozen=True)
class DiskArgs:
    """One disk of a node's DAS; `index` counts from 0."""

    site: str
    node: str
    index: int
    size_bytes: int


@dataclass(frozen=True)
class NodeArgs:
    """One machine, its network and its disks.

    Attributes
    ----------
    network
        What `Target.network` returned for the site.
    disks
        What `Target.disk` returned for each of the node's disks, in order.
    """

    site: str
    name: str
    node: Node
    network: pulumi.Output[str]
    disks: Sequence[pulumi.Output[str]]


@dataclass(frozen=True)
class NodeOutputs:
    """What is known of a machine once it is there.

    Attributes
    ----------
    das_devices
        Paths of the DAS disks, as seen on the node.
    data_directory
        On the node; databases and CAS live below it and it outlives the machine's root.
    """

    address: pulumi.Output[str]
    management_address: pulumi.Output[str]
    ssh_user: pulumi.Output[str]
    ssh_port: pulumi.Output[int]
    das_devices: pulumi.Output[Sequence[str]]
    data_directory: pulumi.Output[str]


class Target(Protocol):
    """Makes the machines of a deployment.

    `ready` comes first, and again whenever the program runs.

    Each method registers its resources below `parent` (``ResourceOptions(parent=parent)``), with names that are
    unique in the deployment, and is called while the Pulumi program runs. A component calls `network` once a site,
    `disk` once a disk, and `node` once a node, after its disks.
    """

    def ready(self) -> None:
        """Raise `RefusedError` with everything that the target needs and does not find; change nothing."""
        ...

    def network(self, args: NetworkArgs, parent: pulumi.Resource) -> pulumi.Output[str]:
        """Make a site's network and return the target's own name of it."""
        ...

    def disk(self, args: DiskArgs, parent: pulumi.Resource) -> pulumi.Output[str]:
        """Make a DAS disk and return the target's own name of it, such as a device path or a volume id."""
        ...

    def node(self, args: NodeArgs, parent: pulumi.Resource) -> NodeOutputs:
        """Make a machine with its disks attached; its outputs resolve when it answers on SSH."""
        ...


class _TargetModule(Protocol):
    def create(self, settings: Settings, state: Path) -> Target: ...


def create(settings: Settings, state: Path) -> Target:
    """Return the target that the settings ask for.

    Parameters
    ----------
    settings
        The deployment.
    state
        The deployment's state directory on the controller, for keys, disk images and the like.
    """
    # Imported by name so that no target needs what another one needs.
    module = cast("_TargetModule", import_module(f"{__name__}.{settings.target.kind}"))
    return module.create(settings, state)
