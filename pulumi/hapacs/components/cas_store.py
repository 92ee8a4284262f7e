"""The archive store of a site."""

from dataclasses import dataclass
from typing import Any

import pulumi
from hapacs import contract
from hapacs.settings import Site


@dataclass(frozen=True)
class CasStoreArgs:
    """The site of the archive."""

    site: Site


class CasStore(pulumi.ComponentResource):
    """The archive: its nodes, its copies and its lock.

    It has no resource of its own, because its daemons run on the site's nodes. `pulumi preview` shows a change of its
    inputs, `hapacs plan` a change of its part of the contract.

    Attributes
    ----------
    contract
        The archive's part of the site in the inventory contract.
    """

    contract: dict[str, Any]

    def __init__(self, name: str, args: CasStoreArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        self.contract = {"policy": contract.policy(args.site).model_dump(mode="json", exclude_none=True)}
        zones = {node: args.site.nodes[node].zone for node in args.site.members("cas")}
        # Given as inputs too, so that the engine compares them.
        super().__init__("hapacs:site:CasStore", name, {"zones": zones, **self.contract}, opts)
        self.register_outputs({"contract": self.contract})
