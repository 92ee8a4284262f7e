"""A machine of a site with its disks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from hapacs.components.das_volume import DasVolume, DasVolumeArgs
from hapacs.settings import Node
from hapacs.settings.models import DasDisks
from hapacs.targets import NodeArgs, Target


@dataclass(frozen=True)
class PacsNodeArgs:
    """Which machine, in which network, with which disks; a node that keeps no images has none."""

    target: Target
    site: str
    node: Node
    network: pulumi.Output[str]
    das: DasDisks | None


class PacsNode(pulumi.ComponentResource):
    """A machine and its DAS.

    Attributes
    ----------
    contract
        The node's part of the inventory contract.
    """

    contract: pulumi.Output[dict[str, Any]]

    def __init__(self, name: str, args: PacsNodeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("hapacs:site:PacsNode", name, None, opts)
        disks: Sequence[pulumi.Output[str]] = ()
        if args.das is not None:
            volume = DasVolumeArgs(args.target, args.site, name, args.das)
            disks = DasVolume(f"{name}-das", volume, pulumi.ResourceOptions(parent=self)).disks
        outputs = args.target.node(NodeArgs(args.site, name, args.node, args.network, disks), parent=self)
        self.contract = pulumi.Output.all(
            zone=args.node.zone,
            address=outputs.address,
            management_address=outputs.management_address,
            ssh_user=outputs.ssh_user,
            # Numbers of a dynamic resource come back from the engine as floats.
            ssh_port=outputs.ssh_port.apply(int),
            das_devices=outputs.das_devices,
            das_wipe_serials=list(args.node.wipe_serials),
            data_directory=outputs.data_directory,
        )
        self.register_outputs({"contract": self.contract})
