"""The archive store of a site."""

from dataclasses import dataclass

import pulumi
from hapacs import contract
from hapacs.settings import Site


@dataclass(frozen=True)
class CasStoreArgs:
    """The site whose archive it is."""

    site: Site


class CasStore(pulumi.ComponentResource):
    """The archive: which nodes hold it, how many copies, how long they are locked.

    It has no resource of its own (its daemons run on the site's nodes), but a change of its policy shows in a plan.

    Attributes
    ----------
    policy
        The site's policy as the contract carries it.
    """

    policy: contract.ContractPolicy

    def __init__(self, name: str, args: CasStoreArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        self.policy = contract.policy(args.site)
        members = {node: args.site.nodes[node].zone for node in args.site.members("cas")}
        outputs = {"zones": members, "policy": self.policy.model_dump(mode="json")}
        super().__init__("hapacs:site:CasStore", name, None, opts)
        self.register_outputs(outputs)
