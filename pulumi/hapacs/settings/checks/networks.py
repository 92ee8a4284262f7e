"""Checks of addresses and ports."""

from collections.abc import Iterator
from ipaddress import IPv4Address
from itertools import combinations
from operator import attrgetter

from hapacs.services.network import inner_ports, virtual_settings
from hapacs.settings.models import Settings, Site
from hapacs.settings.problem import Problem, each


def of_site(path: str, site: Site) -> Iterator[Problem]:
    """Yield the problems of one site's addresses and ports."""
    yield from _size(path, site)
    yield from _gateway(path, site)
    yield from _nodes(path, site)
    yield from _vip_place(path, site)
    yield from _vip_use(path, site)
    yield from _ports(path, site)


def between_sites(settings: Settings) -> Iterator[Problem]:
    """Yield the problems of the addresses that several sites share."""
    yield from _overlaps(settings)
    yield from _controllers(settings)


def edges(site: Site) -> tuple[IPv4Address, IPv4Address]:
    """Return the addresses of a site's cluster network that no machine can have."""
    return site.networks.cluster.network_address, site.networks.cluster.broadcast_address


def _has_room(site: Site) -> bool:
    return site.networks.cluster.num_addresses - len(edges(site)) > len(site.nodes)


@each
def _size(path: str, site: Site) -> Iterator[Problem]:
    if not _has_room(site):
        yield Problem(
            f"{path}.networks.cluster",
            f"{site.networks.cluster} has too few addresses for {len(site.nodes)} nodes and the virtual address; "
            "check the mask",
        )


@each
def _gateway(path: str, site: Site) -> Iterator[Problem]:
    cluster, gateway = site.networks.cluster, site.networks.gateway
    if gateway is not None and _has_room(site) and (gateway not in cluster or gateway in edges(site)):
        yield Problem(
            f"{path}.networks.gateway", f"{gateway} is no host address of {cluster}; give one of its addresses"
        )


@each
def _nodes(path: str, site: Site) -> Iterator[Problem]:
    for name in site.nodes:
        yield from _address(path, site, name)
        yield from _management(path, site, name)


@each
def _address(path: str, site: Site, name: str) -> Iterator[Problem]:
    cluster, address, field = site.networks.cluster, site.nodes[name].address, f"{path}.nodes.{name}.address"
    if not _has_room(site):
        return
    if address not in cluster:
        yield Problem(field, f"{address} is outside the cluster network {cluster}; give one of its addresses")
    elif address in edges(site):
        yield Problem(field, f"{address} is the network's own or broadcast address; give another one")
    if address == site.networks.gateway:
        yield Problem(field, f"{address} is the gateway; give another one")


@each
def _management(path: str, site: Site, name: str) -> Iterator[Problem]:
    node, field = site.nodes[name], f"{path}.nodes.{name}.management_address"
    if node.management_address is None or node.management_address == node.address:
        return
    if node.management_address == site.networks.gateway:
        yield Problem(field, f"{node.management_address} is the gateway; give another one")
    elif node.management_address in site.networks.cluster:
        yield Problem(
            field,
            f"{node.management_address} is inside the cluster network {site.networks.cluster}; give an address of the "
            "management network, or remove it when the node has one network",
        )


@each
def _vip_place(path: str, site: Site) -> Iterator[Problem]:
    field, vip = f"{path}.vip.address", site.vip.address
    if not _has_room(site):
        return
    if vip not in site.networks.cluster:
        yield Problem(field, f"{vip} is outside the cluster network {site.networks.cluster}; give a free address of it")
    elif vip in edges(site):
        yield Problem(field, f"{vip} is the network's own or broadcast address; give a free address")


@each
def _vip_use(path: str, site: Site) -> Iterator[Problem]:
    field, vip = f"{path}.vip.address", site.vip.address
    if vip == site.networks.gateway:
        yield Problem(field, f"{vip} is the gateway; give a free address")
    for name in site.nodes:
        yield from _vip_of_node(field, site, name)


@each
def _vip_of_node(field: str, site: Site, name: str) -> Iterator[Problem]:
    if site.vip.address in (site.nodes[name].address, site.nodes[name].management_address):
        yield Problem(field, f"{site.vip.address} is the address of node {name}; give a free address")


@each
def _ports(path: str, site: Site) -> Iterator[Problem]:
    fields = {setting: attrgetter(setting)(site) for setting in virtual_settings()}
    for field, port in fields.items():
        yield from _inner_port(f"{path}.{field}", port)
    for (one, port), (other, same) in combinations(fields.items(), 2):
        yield from _same_port(f"{path}.{one}", port, f"{path}.{other}", same)


@each
def _inner_port(field: str, port: int) -> Iterator[Problem]:
    if port in inner_ports():
        yield Problem(field, f"{port} is a port of the nodes' own services; give another one")


@each
def _same_port(one: str, port: int, other: str, same: int) -> Iterator[Problem]:
    if port == same:
        yield Problem(other, f"{port} is already {one}; give another one")


@each
def _overlaps(settings: Settings) -> Iterator[Problem]:
    for one, other in combinations(settings.sites, 2):
        yield from _overlap(settings, one, other)


@each
def _overlap(settings: Settings, one: str, other: str) -> Iterator[Problem]:
    first, second = settings.sites[one].networks.cluster, settings.sites[other].networks.cluster
    if first.overlaps(second):
        yield Problem(
            f"sites.{other}.networks.cluster",
            f"{second} overlaps {first} of sites.{one}; give each site its own network",
        )


def controller_field(name: str, site: Site) -> str:
    """Return the field that says how a site sees the controller."""
    return "verify.host" if site.networks.controller is None else f"sites.{name}.networks.controller"


@each
def _controllers(settings: Settings) -> Iterator[Problem]:
    for name, site in settings.sites.items():
        for field in ("management", "clients"):
            yield from _let_in(settings, name, site, field)
        for other in settings.sites:
            yield from _controller_use(settings, name, other)


@each
def _let_in(settings: Settings, name: str, site: Site, field: str) -> Iterator[Problem]:
    controller = settings.controller(site)
    if not any(controller in network for network in getattr(site.networks, field)):
        yield Problem(
            controller_field(name, site),
            f"{controller} is outside sites.{name}.networks.{field}, so the firewall would drop `hapacs verify`; "
            "add a network that holds it",
        )


@each
def _controller_use(settings: Settings, name: str, other: str) -> Iterator[Problem]:
    """Yield addresses of nodes, and virtual ones, that are given as the controller's."""
    field, controller = controller_field(name, settings.sites[name]), settings.controller(settings.sites[name])
    yield from _controller_vip(field, controller, other, settings.sites[other])
    for node in settings.sites[other].nodes:
        yield from _controller_node(field, controller, f"sites.{other}.nodes.{node}", settings.sites[other], node)


@each
def _controller_vip(field: str, controller: IPv4Address, name: str, site: Site) -> Iterator[Problem]:
    if controller == site.vip.address:
        yield Problem(
            field, f"{controller} is the virtual address of sites.{name}; give the address of the controller itself"
        )


@each
def _controller_node(field: str, controller: IPv4Address, path: str, site: Site, node: str) -> Iterator[Problem]:
    if controller in (site.nodes[node].address, site.nodes[node].management_address):
        yield Problem(field, f"{controller} is the address of {path}; give the address of the controller itself")
