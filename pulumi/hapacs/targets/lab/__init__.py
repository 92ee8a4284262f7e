"""The target `lab`: a deployment on this machine; nodes are containers that boot systemd, disks loop devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pulumi.dynamic import Resource

import pulumi
from hapacs import ssh
from hapacs.errors import RefusedError
from hapacs.settings import Settings
from hapacs.targets import DiskArgs, NetworkArgs, NodeArgs, NodeOutputs, expected
from hapacs.targets.lab import data, loops, teardown
from hapacs.targets.lab.providers import DiskProvider, NetworkProvider, NodeProvider

if TYPE_CHECKING:
    from hapacs.changes import Change
    from hapacs.deployment import Deployment


class LabNetwork(Resource, module="lab", name="LabNetwork"):
    """A site's network: a podman bridge."""

    name: pulumi.Output[str]

    def __init__(self, name: str, properties: dict[str, Any], parent: pulumi.Resource) -> None:
        super().__init__(NetworkProvider(), name, properties, pulumi.ResourceOptions(parent=parent))


class LabDisk(Resource, module="lab", name="LabDisk"):
    """A node's disk: a sparse file attached as a loop device."""

    device: pulumi.Output[str]

    def __init__(self, name: str, properties: dict[str, Any], parent: pulumi.Resource) -> None:
        outputs = {"device": None, "attached": None}
        super().__init__(DiskProvider(), name, properties | outputs, pulumi.ResourceOptions(parent=parent))


class LabNode(Resource, module="lab", name="LabNode"):
    """A node: a container that boots systemd."""

    address: pulumi.Output[str]
    devices: pulumi.Output[Sequence[str]]

    def __init__(self, name: str, properties: dict[str, Any], parent: pulumi.Resource) -> None:
        outputs = {"state": None, "fingerprint": None}
        super().__init__(NodeProvider(), name, properties | outputs, pulumi.ResourceOptions(parent=parent))


class LabTarget:
    """Makes the machines of one deployment.

    Parameters
    ----------
    settings
        The deployment; containers are called ``<deployment>-<node>``.
    state
        Its state directory.
    image
        The image that new nodes start from.
    """

    def __init__(self, settings: Settings, state: Path, image: str) -> None:
        self._settings = settings
        self._deployment = settings.deployment
        self._state = state
        self._image = image

    def prepare(self, on_step: Callable[[str], None]) -> None:
        """Build the golden image unless it is there."""
        from hapacs import image  # noqa: PLC0415 - it reads the roles, which only a real run needs

        image.ensure(on_step=on_step)

    def sweep(self, deployment: Deployment) -> None:
        """Remove containers, networks, disks, files and secrets."""
        teardown.sweep(deployment)

    def consequences(self, machines: Sequence[Change], before: Mapping[str, Any] | None) -> list[str]:
        """Say what happens to disks and to what nodes keep."""
        return data.consequences(machines, before)

    def ready(self) -> None:
        """Refuse disks that would become smaller; everything else that the lab needs is made."""
        sizes = {file.stem: file.stat().st_size for file in self._disks.glob("*.img")}
        if found := data.shrunk(self._settings, sizes):
            raise RefusedError(
                "\n".join(["A disk can't become smaller: data would be cut off.", *(f"  {line}" for line in found)]),
                "Nothing was touched. Give the size that it has, or more.",
            )

    def network(self, args: NetworkArgs, parent: pulumi.Resource) -> pulumi.Output[str]:
        """Make the bridge of a site."""
        properties = {
            "name": f"{self._deployment}-{args.site}",
            "deployment": self._deployment,
            "subnet": str(args.cluster),
            "gateway": str(args.gateway),
        }
        return LabNetwork(f"{args.site}-network", properties, parent).name

    def disk(self, args: DiskArgs, parent: pulumi.Resource) -> pulumi.Output[str]:
        """Make a disk and return its device."""
        path = self._disks / f"{args.node}-{args.index}.img"
        properties = {"path": str(path), "size_bytes": args.size_bytes}
        device = LabDisk(f"{args.node}-disk{args.index}", properties, parent).device
        # A disk that is attached keeps its device when it changes.
        present = loops.attached(path)
        return device if present is None else expected(device, present)

    def node(self, args: NodeArgs, parent: pulumi.Resource) -> NodeOutputs:
        """Make a node."""
        address = str(args.node.address)
        properties = {
            "container": f"{self._deployment}-{args.name}",
            "deployment": self._deployment,
            "hostname": args.name,
            "network": args.network,
            "address": address,
            "image": self._image,
            "devices": list(args.disks),
            "data": str(self._state / "lab" / "data" / args.name),
            "keys": str(self._state / "ssh"),
        }
        node = LabNode(args.name, properties, parent)
        return NodeOutputs(
            address=node.address,
            management_address=node.address,
            ssh_user=pulumi.Output.from_input(ssh.USER),
            ssh_port=pulumi.Output.from_input(22),
            das_devices=node.devices,
            data_directory=pulumi.Output.from_input("/srv/data"),
        )

    @property
    def _disks(self) -> Path:
        return self._state / "lab" / "disks"


def create(settings: Settings, state: Path) -> LabTarget:
    """Return the lab of a deployment."""
    # Imported here because computing the image's name reads the roles, which only a real run needs.
    from hapacs import image  # noqa: PLC0415

    return LabTarget(settings, state, image.tag())
