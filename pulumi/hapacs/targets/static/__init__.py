"""The target `static`: machines that exist, described by the settings. Nothing is made, nothing is removed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pulumi
from hapacs.errors import RefusedError
from hapacs.services.model import GROUPS
from hapacs.settings import Settings, StaticTarget
from hapacs.targets import DiskArgs, NetworkArgs, NodeArgs, NodeOutputs
from hapacs.targets.static import data
from hapacs.targets.static.asking import Access, ask_all
from hapacs.targets.static.judge import Answer, Wanted, problems

if TYPE_CHECKING:
    from hapacs.changes import Change
    from hapacs.deployment import Deployment

DATA_DIRECTORY = "/srv/data"


class Static:
    """Checks the machines, and passes on their description in the settings.

    Parameters
    ----------
    settings
        The deployment.
    access
        How its machines are reached.
    """

    def __init__(self, settings: Settings, access: Access) -> None:
        self._settings = settings
        self._access = access
        self._answers: Mapping[Wanted, Answer] | None = None

    def prepare(self, on_step: Callable[[str], None]) -> None:
        """Do nothing: the machines exist."""

    def consequences(self, machines: Sequence[Change], before: Mapping[str, Any] | None) -> list[str]:  # noqa: ARG002 - the Protocol's
        """Say what happens to disks and to machines that are no longer named."""
        return data.consequences(self._answers or {}, before)

    def sweep(self, deployment: Deployment) -> None:
        """Do nothing: machines and data stay."""

    def ready(self) -> None:
        """Ask every machine for its facts, once, and refuse machines that do not fit."""
        if self._answers is not None:
            return
        machines = wanted(self._settings)
        answers = ask_all(machines, self._access)
        if found := problems(answers):
            count = f"{len(found)} problem{'s' if len(found) > 1 else ''}"
            raise RefusedError(
                "\n".join([f"The {len(machines)} machines are not ready: {count}.", *(f"  {line}" for line in found)]),
                "Nothing was touched. Correct this and run again.",
            )
        self._answers = answers

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
            ssh_user=pulumi.Output.from_input(self._access.user),
            ssh_port=pulumi.Output.from_input(self._access.port),
            das_devices=pulumi.Output.all(*args.disks),
            data_directory=pulumi.Output.from_input(DATA_DIRECTORY),
        )


def wanted(settings: Settings) -> list[Wanted]:
    """Return what the settings want of each machine."""
    return [
        Wanted(
            name=name,
            path=f"sites.{site_name}.nodes.{name}",
            reached_at=str(site.management_address(name)),
            address=str(node.address),
            groups=tuple(group for group in GROUPS if name in site.members(group)),
            devices=node.das_devices,
            size_bytes=int(site.disks.das.size_bytes),
            wipe_serials=node.wipe_serials,
        )
        for site_name, site in settings.sites.items()
        for name, node in site.nodes.items()
    ]


def create(settings: Settings, state: Path) -> Static:
    """Return the target for a deployment of kind ``static``."""
    target = settings.target
    if not isinstance(target, StaticTarget):
        raise TypeError(f"the settings ask for the target {target.kind}")
    keys = state / "ssh"
    return Static(settings, Access(target.ssh_user, target.ssh_port, keys / "id_ed25519", keys / "known_hosts"))
