"""The disks of a node's online store."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from hapacs.settings.models import DasDisks
from hapacs.targets import DiskArgs, Target


@dataclass(frozen=True)
class DasVolumeArgs:
    """The node, and the number and size of its disks."""

    target: Target
    site: str
    node: str
    das: DasDisks


class DasVolume(pulumi.ComponentResource):
    """The disks that a node's btrfs raid1 is made of.

    Attributes
    ----------
    disks
        The target's own name of each disk.
    """

    disks: Sequence[pulumi.Output[str]]

    def __init__(self, name: str, args: DasVolumeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("hapacs:site:DasVolume", name, None, opts)
        self.disks = [
            args.target.disk(DiskArgs(args.site, args.node, index, int(args.das.size_bytes)), parent=self)
            for index in range(args.das.count)
        ]
        self.register_outputs({"disks": self.disks, "usable_bytes": args.das.usable_bytes})
