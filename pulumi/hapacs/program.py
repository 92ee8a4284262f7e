"""The Pulumi program: from settings to the inventory contract."""

from collections.abc import Callable
from typing import Any

import pulumi
from hapacs import contract
from hapacs.components import Site, SiteArgs
from hapacs.settings import Settings
from hapacs.targets import Target

OUTPUT = "inventory"
"""Name of the stack output that holds the contract."""


def program(settings: Settings, target: Target, on_contract: Callable[[dict[str, Any]], None] = lambda _: None) -> None:
    """Make every site of a deployment and export the contract.

    Parameters
    ----------
    settings
        The deployment.
    target
        Provides the machines, see `hapacs.targets.create`.
    on_contract
        Called with the contract, also in a preview.
    """
    target.ready()
    sites = {
        name: Site(
            name,
            SiteArgs(
                target,
                site,
                contract.callers(settings, site),
                contract.second_site(settings, site),
                contract.replicators(settings, site),
                contract.also(settings, site),
            ),
        )
        for name, site in settings.sites.items()
    }

    def finish(contracts: dict[str, Any]) -> dict[str, Any]:
        whole = {
            "schema_version": contract.SCHEMA_VERSION,
            "deployment": settings.deployment,
            "target": settings.target.kind,
            "sizing": settings.target.sizing,
            "sites": contracts,
        }
        plain = contract.Contract.model_validate(whole).plain()
        on_contract(plain)
        return plain

    pulumi.export(OUTPUT, pulumi.Output.all(**{name: site.contract for name, site in sites.items()}).apply(finish))
