"""Who may reach which port: the firewall, the ports that `hapacs verify` tries, and what Prometheus scrapes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hapacs.services import nodes, table
from hapacs.services.model import Authority, Port, Sizing, Source

NETWORKS: tuple[Source, ...] = ("management", "clients", "replicators", "backup_host", "backed_up")
"""Sources that are networks of the settings or nodes of other sites, not groups of the site's nodes."""


@dataclass(frozen=True)
class Rule:
    """Whom the firewall of a node lets in.

    Attributes
    ----------
    comment
        The group and its sources by name.
    match
        TCP ports or a protocol, as nftables writes them.
    sources
        Addresses and networks, sorted.
    """

    comment: str
    match: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Target:
    """Metrics of one service, as the web server of the metrics on the same node fetches them.

    Attributes
    ----------
    job
        The service's unit.
    url
        Where the service gives them.
    authority
        Signed the certificate of the service, and has to sign that of the reader; None: HTTP without TLS.
    """

    job: str
    url: str
    authority: Authority | None


def virtual_settings() -> list[str]:
    """Return the settings of a site that choose ports of its virtual address."""
    return [virtual.setting for service in table.SERVICES for virtual in service.virtual_ports]


def virtual_ports(site: Mapping[str, Any]) -> dict[str, int]:
    """Return the ports of the virtual address by their setting.

    Parameters
    ----------
    site
        The settings, as the inventory contract has them for a site: ``{"dicom": {"port": 11112, ...}, ...}``.
    """
    return {setting: _at(site, setting) for setting in virtual_settings()}


def _at(site: Mapping[str, Any], setting: str) -> int:
    found: Any = site
    for key in setting.split("."):
        found = found[key]
    return int(found)


def rules(
    groups: Collection[str],
    members: Mapping[str, Sequence[str]],
    networks: Mapping[str, Sequence[str]],
    site: Mapping[str, Any],
) -> list[Rule]:
    """Return the firewall's rules for a node.

    Parameters
    ----------
    groups
        Those that the node is in.
    members
        Addresses of the site's nodes by group.
    networks
        The networks of `NETWORKS`, CIDR.
    site
        As for `virtual_ports`. What has no source in this site opens nothing.
    """
    opened: dict[tuple[str, tuple[Source, ...]], list[int]] = {}
    protocols: list[tuple[str, tuple[Source, ...], str]] = []
    to: str
    for service in nodes.of_groups(groups):
        to = service.group or "all"
        for port in service.ports:
            if port.reached_by:
                opened.setdefault((to, port.reached_by), []).append(port.number)
        for virtual in service.virtual_ports:
            opened.setdefault((to, virtual.reached_by), []).append(_at(site, virtual.setting))
        protocols += [(to, protocol.reached_by, f"ip protocol {protocol.name}") for protocol in service.protocols]
    matches = [
        (to, sources, f"tcp dport {{ {', '.join(map(str, sorted(ports)))} }}")
        for (to, sources), ports in opened.items()
    ]
    found = []
    for to, sources, match in [*matches, *protocols]:
        addresses = {one for name in sources for one in (networks if name in NETWORKS else members).get(name, ())}
        if addresses:
            found.append(Rule(f"{to} from {', '.join(sources)}", match, tuple(sorted(addresses))))
    return found


def ports(groups: Collection[str]) -> list[Port]:
    """Return the ports of nodes of some groups, those that only the node itself may reach included."""
    return [port for service in nodes.of_groups(groups) for port in service.ports]


def inner_ports() -> frozenset[int]:
    """Return the ports of all services on the nodes; a port of the virtual address must be another one."""
    return frozenset(port.number for service in table.SERVICES for port in service.ports)


def scraped(node: str, address: str, members: nodes.Members, sizing: Sizing) -> list[Target]:
    """Return the metrics of a node, without those that its facts carry."""
    found = []
    for service in nodes.of_node(node, members, sizing):
        if service.metrics is None or service.metrics.facts:
            continue
        port = service.port(service.metrics.port)
        at = "127.0.0.1" if port.listens == "loopback" else address
        scheme = "https" if port.authority else "http"
        found.append(Target(service.unit, f"{scheme}://{at}:{port.number}{service.metrics.path}", port.authority))
    return found


def jobs(members: nodes.Members, sizing: Sizing) -> dict[str, list[str]]:
    """Return which nodes Prometheus asks for the metrics of each service."""
    found: dict[str, list[str]] = {}
    for node in dict.fromkeys(name for names in members.values() for name in names):
        for target in scraped(node, "", members, sizing):
            found.setdefault(target.job, []).append(node)
    return found
