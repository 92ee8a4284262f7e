"""A machine of a site with its disks."""

from dataclasses import dataclass
from typing import Any

import pulumi
from hapacs.components.das_volume import DasVolume, DasVolumeArgs
from hapacs.settings import Node
from hapacs.settings.models import DasDisks
from hapacs.targets import NodeArgs, Target


@dataclass(frozen=True)
class PacsNodeArgs:
    """Which machine, in which network, with which disks."""

    target: Target
    site: str
    node: Node
    network: pulumi.Output[str]
    das: DasDisks


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
        das = DasVolume(
            f"{name}-das",
            DasVolumeArgs(args.target, args.site, name, args.das),
            pulumi.ResourceOptions(parent=self),
        )
        outputs = args.target.node(NodeArgs(args.site, name, args.node, args.network, das.disks), parent=self)
        self.contract = pulumi.Output.all(
            zone=args.node.zone,
            address=outputs.address,
            management_address=outputs.management_address,
            ssh_user=outputs.ssh_user,
            # Numbers of a dynamic resource come back from the engine as floats.
            ssh_port=outputs.ssh_port.apply(int),
            das_devices=outputs.das_devices,
            data_directory=outputs.data_directory,
        )
        self.register_outputs({"contract": self.contract})
