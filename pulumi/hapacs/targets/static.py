"""The target ``static``: machines that exist, described by the settings. Nothing is made, nothing is removed."""

from pathlib import Path

import pulumi
from hapacs.settings import Settings, StaticTarget
from hapacs.targets import DiskArgs, NetworkArgs, NodeArgs, NodeOutputs, Target

DATA_DIRECTORY = "/srv/data"


class Static:
    """Passes on what the settings say."""

    def __init__(self, settings: Settings, target: StaticTarget) -> None:
        self._settings = settings
        self._target = target

    def network(self, args: NetworkArgs, parent: pulumi.Resource) -> pulumi.Output[str]:  # noqa: ARG002 - the Protocol's
        """Return the network's address."""
        return pulumi.Output.from_input(str(args.cluster))

    def disk(self, args: DiskArgs, parent: pulumi.Resource) -> pulumi.Output[str]:  # noqa: ARG002 - the Protocol's
        """Return the device that the settings name."""
        node = self._settings.sites[args.site].nodes[args.node]
        return pulumi.Output.from_input(node.das_devices[args.index])

    def node(self, args: NodeArgs, parent: pulumi.Resource) -> NodeOutputs:  # noqa: ARG002 - the Protocol's
        """Return how the machine is reached."""
        site = self._settings.sites[args.site]
        return NodeOutputs(
            address=pulumi.Output.from_input(str(args.node.address)),
            management_address=pulumi.Output.from_input(str(site.management_address(args.name))),
            ssh_user=pulumi.Output.from_input(self._target.ssh_user),
            ssh_port=pulumi.Output.from_input(self._target.ssh_port),
            das_devices=pulumi.Output.all(*args.disks),
            data_directory=pulumi.Output.from_input(DATA_DIRECTORY),
        )


def create(settings: Settings, state: Path) -> Target:  # noqa: ARG001 - nothing is kept on the controller
    """Return the target for a deployment of kind ``static``."""
    if not isinstance(settings.target, StaticTarget):
        raise TypeError(f"the settings ask for the target {settings.target.kind}")
    return Static(settings, settings.target)
