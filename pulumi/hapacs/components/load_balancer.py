"""The entry of a site."""

from dataclasses import dataclass
from typing import Any

import pulumi
from hapacs import contract
from hapacs.settings import Caller, Site


@dataclass(frozen=True)
class LoadBalancerArgs:
    """The site of the entry, its callers, and the titles of another site under which it answers too."""

    site: Site
    callers: tuple[Caller, ...]
    also: contract.ContractTitles | None = None


class LoadBalancer(pulumi.ComponentResource):
    """The virtual address, its AE titles and ports, and the callers.

    It has no resource of its own, because HAProxy and keepalived run on the site's nodes. `pulumi preview` shows a
    change of its inputs, `hapacs plan` a change of its part of the contract.

    Attributes
    ----------
    contract
        The entry's part of the site in the inventory contract.
    """

    contract: dict[str, Any]

    def __init__(self, name: str, args: LoadBalancerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        site = args.site
        vip = contract.ContractVip(
            address=site.vip.address, router_id=site.vip.router_id, prefix=site.networks.cluster.prefixlen
        )
        self.contract = {
            "vip": vip.model_dump(mode="json"),
            "dicom": site.dicom.model_dump(mode="json")
            | ({} if args.also is None else {"also": args.also.model_dump(mode="json")}),
            "https_port": site.https_port,
            "callers": [caller.model_dump(mode="json", exclude_none=True) for caller in args.callers],
        }
        # Given as inputs too, so that the engine compares them.
        super().__init__("hapacs:site:LoadBalancer", name, self.contract, opts)
        self.register_outputs({"contract": self.contract})
