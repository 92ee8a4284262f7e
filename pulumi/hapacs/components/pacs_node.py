"""A machine of a site with its disks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from hapacs.changes import NOT_MADE_YET
from hapacs.components.das_volume import DasVolume, DasVolumeArgs
from hapacs.settings import Node
from hapacs.settings.models import DasDisks
from hapacs.targets import NodeArgs, Target, expected


@dataclass(frozen=True)
class PacsNodeArgs:
    """A machine, its network and its disks; a node that keeps no images has no disks."""

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
        address = str(args.node.address)
        # A preview knows only a part: the settings say the rest, and `contract.planned` what devices there are.
        self.contract = pulumi.Output.all(
            zone=args.node.zone,
            address=expected(outputs.address, address),
            management_address=expected(outputs.management_address, str(args.node.management_address or address)),
            ssh_user=expected(outputs.ssh_user, NOT_MADE_YET),
            # Numbers of a dynamic resource come back from the engine as floats.
            ssh_port=expected(outputs.ssh_port, 22).apply(int),
            das_devices=expected(outputs.das_devices, [NOT_MADE_YET] * len(disks)),
            das_wipe_serials=list(args.node.wipe_serials),
            data_directory=expected(outputs.data_directory, NOT_MADE_YET),
        )
        self.register_outputs({"contract": self.contract})
