"""Filters for the playbooks that work on a running site; `hapacs.site.decisions` decides for them.

Each takes a site, ``{states, members, vip}``, as ``tasks/describe_site.yml`` puts it together.
"""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleFilterError

from hapacs.site import decisions
from hapacs.site.running import RunningSite


def operation_view(site: dict[str, Any]) -> dict[str, Any]:
    """Return who leads, and which nodes are drained, paused or silent."""
    return decisions.view(RunningSite.parse(site))


def operation_refusals(site: dict[str, Any], verb: str, node: str = "") -> list[str]:
    """Return why an operation must not begin now, each with what to do first."""
    try:
        return decisions.refusals(RunningSite.parse(site), verb, node)
    except ValueError as error:
        raise AnsibleFilterError(f"operation_refusals: {error}") from error


def operation_heir(site: dict[str, Any], what: str, leaving: list[str] | None = None, named: str = "") -> str:
    """Return the node that takes over: the one that an operator named, else the best one that stays, else empty."""
    return named or decisions.heir(RunningSite.parse(site), what, leaving or [])


def operation_order(site: dict[str, Any]) -> list[str]:
    """Return the nodes in the order in which they are touched."""
    return decisions.order(RunningSite.parse(site))


def operation_restoring(states: dict[str, dict[str, Any]], target: str, leader: str) -> dict[str, Any]:
    """Return the member on which the database is restored, and whether that is done already."""
    return decisions.restoring(states, target, leader)


def operation_units(results: list[dict[str, Any]]) -> list[str]:
    """Return the units that a check of `service_current` would start or restart, from what its tasks registered."""
    single = [one for result in results for one in result.get("results", [result])]
    return [one["unit"] for one in single if one.get("action") in {"start", "restart"}]


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {
            "operation_view": operation_view,
            "operation_refusals": operation_refusals,
            "operation_heir": operation_heir,
            "operation_order": operation_order,
            "operation_restoring": operation_restoring,
            "operation_units": operation_units,
        }
