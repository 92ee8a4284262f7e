"""Which services a node runs, how much memory they need, and how the node is asked whether they work."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from hapacs.services import table
from hapacs.services.model import GROUPS, Health, Service, Sizing

Members = Mapping[str, Sequence[str]]
"""Names of a site's nodes by group."""

SYSTEM_MEMORY_MB = 1024
"""What a node needs besides its services."""

_MASTERS = 3
_PAIR = 2


def find(unit: str) -> Service:
    """Return a service by its unit.

    Raises
    ------
    KeyError
        When there is none.
    """
    for service in table.SERVICES:
        if service.unit == unit:
            return service
    raise KeyError(f"there is no service {unit!r}; there are {', '.join(one.unit for one in table.SERVICES)}")


def port(unit: str, name: str) -> int:
    """Return the number of a port by its service and its name."""
    return find(unit).port(name).number


def of_groups(groups: Collection[str]) -> list[Service]:
    """Return the services that nodes of some groups may run, those of every node included."""
    return [service for service in table.SERVICES if service.group is None or service.group in groups]


def roles(groups: Collection[str]) -> list[str]:
    """Return the Ansible roles that nodes of some groups get, in the order in which they are applied."""
    named = [role for service in of_groups(groups) for role in (*service.prepared_by, service.role)]
    return list(dict.fromkeys(named))


def masters(names: Sequence[str]) -> Sequence[str]:
    """Return which nodes of a group run its masters: an odd number, three at most."""
    return names[:_MASTERS] if len(names) >= _MASTERS else names[:1]


def pair(names: Sequence[str]) -> Sequence[str]:
    """Return which nodes of a group run what runs twice."""
    return names[:_PAIR]


def of_node(node: str, members: Members, sizing: Sizing) -> list[Service]:
    """Return the services that one node runs."""

    def runs(service: Service) -> bool:
        named = members.get(service.group, ()) if service.group else [node]
        return (
            sizing in service.sizings
            and node in (masters(named) if service.masters else pair(named) if service.pair else named)
            and (service.beside is None or node in members.get(service.beside, ()))
        )

    return [service for service in table.SERVICES if runs(service)]


def memory_mb(groups: Collection[str], sizing: Sizing) -> int:
    """Return how much memory a node of some groups needs, its system included."""
    amounts = [service.memory[sizing].needed_mb for service in of_groups(groups) if sizing in service.memory]
    return SYSTEM_MEMORY_MB + sum(amounts)


def memory_limit_mb(unit: str, sizing: Sizing) -> int:
    """Return the hard limit of a service's memory.

    Raises
    ------
    KeyError
        When the table has none for it.
    """
    memory = find(unit).memory.get(sizing)
    if memory is None or memory.limit_mb is None:
        raise KeyError(f"{unit} has no limit of memory for the sizing {sizing!r}")
    return memory.limit_mb


def question(node: str, address: str, members: Members, sizing: Sizing, timeout_s: float = 10) -> dict[str, Any]:
    """Return what the script `hapacs.site.node_facts` has to look at on a node: plain data.

    Parameters
    ----------
    address
        Of the node in the cluster network.
    members
        Names of the site's nodes by group.
    timeout_s
        Limit for each request to a service on the node.
    """
    services = {service.unit: service for service in of_node(node, members, sizing)}
    certificates = dict.fromkeys(path for service in services.values() for path in service.certificates)
    asked: dict[str, Any] = {
        "timeout_s": timeout_s,
        "address": address,
        "groups": [group for group in GROUPS if node in members.get(group, ())],
        "units": list(services),
        "health": {unit: _check(one, one.health, address) for unit, one in services.items() if one.health},
        "certificates": list(certificates),
    }
    if etcd := services.get("etcd"):
        asked["etcd"] = {"port": etcd.port("client").number, "tls": etcd.certificates[0]}
    if patroni := services.get("patroni"):
        asked["patroni"] = {"port": patroni.port("rest").number, "tls": patroni.certificates[0]}
    if master := services.get("seaweedfs-master"):
        asked["master_metrics_port"] = master.port("metrics").number
    asked["metrics"] = {
        unit: {"port": one.port(one.metrics.port).number, "path": one.metrics.path}
        for unit, one in services.items()
        if one.metrics and one.metrics.facts
    }
    asked["dicom_ports"] = {
        unit.removeprefix("orthanc-"): services[unit].port("dicom").number
        for unit in ("orthanc-store", "orthanc-query")
        if unit in services
    }
    return asked


def _check(service: Service, health: Health, address: str) -> dict[str, Any]:
    if health.command:
        return {"command": [word.format(address=address) for word in health.command]}
    port = service.port(health.port)
    asked: dict[str, Any] = {"port": port.number, "path": health.path}
    if health.tls:
        authority = f"{health.tls.rpartition('/')[0]}/ca-{port.authority}.crt"
        asked["tls"] = {"address": address, "pair": health.tls, "authority": authority}
    return asked
