"""One place with its own index and its own archive."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from hapacs import contract, settings
from hapacs.components.cas_store import CasStore, CasStoreArgs
from hapacs.components.load_balancer import LoadBalancer, LoadBalancerArgs
from hapacs.components.pacs_node import PacsNode, PacsNodeArgs
from hapacs.services.model import GROUPS
from hapacs.targets import NetworkArgs, Target
from hapacs_node.replication.model import SecondSite


@dataclass(frozen=True)
class SiteArgs:
    """The site, its callers, the target that its machines come from, and what it shares with the other site.

    Attributes
    ----------
    second_site
        Where it sends copies of its images; None for none.
    replicators
        From where copies of another site's images may come.
    also
        Titles of the other site under which it answers too.
    """

    target: Target
    site: settings.Site
    callers: tuple[settings.Caller, ...]
    second_site: SecondSite | None = None
    replicators: Sequence[str] = ()
    also: contract.ContractTitles | None = None


class Site(pulumi.ComponentResource):
    """A network, its nodes, the archive and the entry.

    Attributes
    ----------
    contract
        The site's part of the inventory contract.
    """

    contract: pulumi.Output[dict[str, Any]]

    def __init__(self, name: str, args: SiteArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("hapacs:site:Site", name, None, opts)
        site, networks = args.site, args.site.networks
        child = pulumi.ResourceOptions(parent=self)
        network = args.target.network(NetworkArgs(name, networks.cluster, networks.gateway), parent=self)
        das = dict.fromkeys(site.members("pacs"), site.disks.das)
        nodes = {
            node: PacsNode(node, PacsNodeArgs(args.target, name, spec, network, das.get(node)), child)
            for node, spec in site.nodes.items()
        }
        cas = CasStore(f"{name}-cas", CasStoreArgs(site), child)
        entry = LoadBalancer(f"{name}-entry", LoadBalancerArgs(site, args.callers, args.also), child)
        self.contract = pulumi.Output.all(
            role=site.role,
            cluster_network=str(networks.cluster),
            management_networks=[str(network) for network in networks.management],
            client_networks=[str(network) for network in networks.clients],
            replicators=list(args.replicators),
            members={group: list(site.members(group)) for group in GROUPS},
            nodes={node: component.contract for node, component in nodes.items()},
            monitoring=contract.monitoring(site).model_dump(mode="json", exclude_none=True),
            routing=contract.routing(site, args.second_site).model_dump(mode="json", exclude_none=True),
            worklist=None if site.worklist is None else site.worklist.model_dump(mode="json"),
            backup=site.backup.model_dump(mode="json") if site.backup else None,
            **cas.contract,
            **entry.contract,
        )
        self.register_outputs({"contract": self.contract})
