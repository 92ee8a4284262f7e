"""Where nodes come from: the Protocol that every target implements, and how a target is found.

A target is a module ``hapacs.targets.<kind>`` with a function ``create(settings, state) -> Target``, and its settings:
a subclass of `hapacs.settings.models.TargetSettings`, which also says what holds for all its deployments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from pulumi.output import contains_unknowns

import pulumi
from hapacs.errors import RefusedError
from hapacs.settings import Node, Settings

if TYPE_CHECKING:
    from hapacs.changes import Change
    from hapacs.deployment import Deployment


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


def expected[T](output: pulumi.Output[T], value: T) -> pulumi.Output[T]:
    """Return an output that is `value` where a preview doesn't know it."""
    return output.apply(lambda known: value if contains_unknowns(known) else known, run_with_unknowns=True)


class Target(Protocol):
    """Makes the machines of a deployment, or passes on machines that exist.

    `hapacs up` calls `prepare` and `ready` before the Pulumi program runs, and the program calls `ready` again. `hapacs
    down` calls `sweep` after Pulumi has removed what it made.

    `network`, `disk` and `node` are called while the program runs: once a site, once a disk, and once a node after its
    disks. They register resources below `parent` (``ResourceOptions(parent=parent)``) with names that are unique in the
    deployment; the resource of a machine has the node's name.
    """

    def prepare(self, on_step: Callable[[str], None]) -> None:
        """Make what machines are made from, such as an image; `on_step` gets what is done now."""
        ...

    def consequences(self, machines: Sequence[Change], before: Mapping[str, Any] | None) -> list[str]:
        """Return what happens to data, in sentences; called after `ready`.

        Parameters
        ----------
        machines
            What the engine changes of this target's resources.
        before
            The contract of the last `hapacs up`, if there was one.
        """
        ...

    def sweep(self, deployment: Deployment) -> None:
        """Remove everything of a deployment that is not in Pulumi's state; nothing where machines are not made."""
        ...

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


class Power(Protocol):
    """Switches the machines of a deployment off and on, by their names. Only targets with `switches_power` have it."""

    def off(self, node: str) -> None:
        """Cut the power at once, and return when the machine is dead."""
        ...

    def on(self, node: str) -> None:
        """Switch the machine on, and return when it answers by SSH."""
        ...

    def is_on(self, node: str) -> bool:
        """Return whether the machine runs."""
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


def power(deployment: Deployment) -> Power:
    """Return the power switch of a deployment's machines.

    Raises
    ------
    RefusedError
        When its target has none.
    """
    target = deployment.settings.target
    if not target.switches_power:
        raise RefusedError(
            f"The target {target.kind} can't switch machines off.",
            "Drills that need it run in a lab: `hapacs drill list`.",
        )
    module = import_module(f"{__name__}.{target.kind}.power")
    return cast("Power", module.create(deployment))
