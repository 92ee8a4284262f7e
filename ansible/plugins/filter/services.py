"""Filters that read the table of services (`hapacs.services`), so that no playbook repeats a part of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleFilterError

from hapacs.services import network, nodes, operations
from hapacs.services.model import GROUPS

if TYPE_CHECKING:
    from collections.abc import Callable

    from hapacs.services.model import Sizing

Members = dict[str, list[dict[str, Any]]]


def service_roles(groups: list[str] | str) -> list[str]:
    """Return the roles that nodes of some groups get, or those of ``all``, in the order in which they are applied."""
    return nodes.roles(GROUPS if groups == operations.ALL else groups)


def service_port(unit: str, name: str) -> int:
    """Return the number of a port by its service and its name."""
    try:
        return nodes.port(unit, name)
    except KeyError as error:
        raise AnsibleFilterError(f"service_port: {error.args[0]}") from error


def service_memory_mb(unit: str, sizing: Sizing) -> int:
    """Return the hard limit of a service's memory."""
    try:
        return nodes.memory_limit_mb(unit, sizing)
    except KeyError as error:
        raise AnsibleFilterError(f"service_memory_mb: {error.args[0]}") from error


def firewall_rules(
    groups: list[str], members: Members, networks: dict[str, list[str]], site: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return the firewall's rules for a node.

    Parameters
    ----------
    groups
        Those that the node is in.
    members
        The site's nodes by group, each with an ``address``.
    networks
        ``management``, ``clients`` and ``replicators``, each a list of networks, CIDR.
    site
        Settings of the site that hold ports of the virtual address.

    Returns
    -------
    list of dict
        ``comment``, ``match`` (of nftables) and ``sources``.
    """
    addresses = {group: [node["address"] for node in found] for group, found in members.items()}
    rules = network.rules(groups, addresses, networks, site)
    return [{"comment": rule.comment, "match": rule.match, "sources": list(rule.sources)} for rule in rules]


def service_pair(members: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the nodes of a group that run what runs twice."""
    chosen = nodes.pair([node["name"] for node in members])
    return [node for node in members if node["name"] in chosen]


def service_metrics(node: str, address: str, members: Members, sizing: Sizing) -> list[dict[str, Any]]:
    """Return where a node's services give their metrics: ``job``, ``url`` and ``authority``."""
    return [asdict(target) for target in network.scraped(node, address, _names(members), sizing)]


def service_question(node: str, address: str, members: Members, sizing: Sizing) -> dict[str, Any]:
    """Return what the facts of a node look at, see `hapacs.services.nodes.question`."""
    return nodes.question(node, address, _names(members), sizing)


def service_jobs(members: Members, sizing: Sizing) -> dict[str, list[str]]:
    """Return the nodes that Prometheus asks for the metrics of each service."""
    return network.jobs(_names(members), sizing)


def services_together(members: Members, kind: str, node: str, sizing: Sizing) -> list[str]:
    """Return the units of a node that restart at the same time on all nodes when a kind of secret changes."""
    return list(operations.together(kind, node, _names(members), sizing))


def services_of_database(members: Members, node: str, sizing: Sizing) -> list[str]:
    """Return the units of a node that use the database."""
    return list(operations.of_database(node, _names(members), sizing))


def service_restarts(unit: str) -> list[dict[str, Any]]:
    """Return the parts of roles that restart one service, or ``all``, in the order of a site."""
    return [_part(part) for part in operations.restarts(unit)]


def restartable_services(unit: str) -> list[str]:
    """Return the services that a name stands for: all that can be restarted for ``all``, else that one or none."""
    return [one for one in operations.restartable() if unit in {one, operations.ALL}]


def certificate_parts(groups: list[str]) -> list[dict[str, Any]]:
    """Return the parts of roles that renew certificates of the services of some groups."""
    return [_part(part) for part in operations.with_certificates() if part.group in {*groups, operations.ALL}]


def secret_rotation(kind: str) -> dict[str, Any]:
    """Return the parts of roles that write a kind of secret down, and those that take it up."""
    rotation = operations.rotation(kind)
    return {
        "write": [_part(part) for part in rotation.write],
        "take_up": [_part(part) for part in rotation.take_up],
        "client_write": [_part(part) for part in rotation.client_write],
        "client_take_up": [_part(part) for part in rotation.client_take_up],
    }


def _names(members: Members) -> dict[str, list[str]]:
    return {group: [node["name"] for node in found] for group, found in members.items()}


def _part(part: operations.Part) -> dict[str, Any]:
    return asdict(part) | {"registers": list(part.registers)}


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            "certificate_parts": certificate_parts,
            "firewall_rules": firewall_rules,
            "operation_leads": operations.leads,
            "restartable_services": restartable_services,
            "secret_rotation": secret_rotation,
            "service_jobs": service_jobs,
            "service_memory_mb": service_memory_mb,
            "service_metrics": service_metrics,
            "service_pair": service_pair,
            "service_port": service_port,
            "service_question": service_question,
            "service_restarts": service_restarts,
            "service_roles": service_roles,
            "services_of_database": services_of_database,
            "services_together": services_together,
        }
