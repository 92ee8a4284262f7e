"""Checks over several fields: what each field alone can't tell, refused before anything is touched."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations

from hapacs.settings.models import GROUPS, Group, LabTarget, Settings, Site, StaticTarget

INNER_PORTS = frozenset(
    {
        *(22, 2379, 2380, 5432, 8008),  # the system, the database
        *(4242, 4243, 7780, 8042, 8043, 8044, 8045, 8404),  # the PACS, the balancers
        *(8080, 8333, 8888, 9333, 18080, 18333, 18888, 19333),  # the archive
    }
)
"""Ports of the services on the nodes; a port of the virtual address must be another one."""

PRIMARY_MINIMUM: dict[Group, int] = {
    "etcd": 3,
    "postgres": 3,
    "cas": 3,
    "pacs": 2,
    "load_balancer": 2,
    "monitoring": 2,
}
"""Members with which a group goes on when one dies. PostgreSQL needs two standbys: with one, a dead standby would
stop every commit, because a commit waits for a second copy."""

_RESERVED_NODE_NAMES = frozenset((*GROUPS, "all", "ungrouped", "localhost"))


@dataclass(frozen=True)
class Problem:
    """What is wrong and what to change; `field` is the path of keys in the file."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


def check(settings: Settings) -> list[Problem]:
    """Return all problems of settings whose fields, each by itself, are sound."""
    problems = [problem for name, site in settings.sites.items() for problem in check_site(name, site)]
    problems += _roles(settings)
    problems += _target(settings)
    problems += _networks_between_sites(settings)
    problems += _duplicates(settings)
    problems += _callers(settings)
    return problems


def check_site(name: str, site: Site) -> list[Problem]:
    """Return the problems of one site by itself."""
    path = f"sites.{name}"
    return [
        *_pools(path, site),
        *_quorum(path, site),
        *_addresses(path, site),
        *_vip(path, site),
        *_ports(path, site),
        *_replication(path, site),
        *_das(path, site),
    ]


def can_hold(replication: str, zones: Iterable[str]) -> bool:
    """Say whether nodes that stand in `zones` (one entry a node) can hold every copy.

    SeaweedFS puts the first copy and its third digit's further copies on nodes of one zone, and its second digit's
    copies in as many other zones.
    """
    nodes = Counter(zones)
    same_zone, other_zones = int(replication[2]), int(replication[1])
    return len(nodes) > other_zones and max(nodes.values(), default=0) > same_zone


def _roles(settings: Settings) -> Iterator[Problem]:
    primaries = [name for name, site in settings.sites.items() if site.role == "primary"]
    if len(primaries) != 1:
        found = ", ".join(primaries) or "none"
        yield Problem("sites", f"exactly one site has the role primary (found: {found}); mend the roles")


def _pools(path: str, site: Site) -> Iterator[Problem]:
    for name in site.nodes:
        if name in _RESERVED_NODE_NAMES:
            yield Problem(f"{path}.nodes.{name}", "this is the name of an Ansible group; name the node differently")
    if site.pools is None:
        return
    for group in GROUPS:
        members = site.members(group)
        if not members:
            yield Problem(f"{path}.pools.{group}", "the group has no node; name at least one")
        for name in sorted(set(members) - set(site.nodes)):
            yield Problem(f"{path}.pools.{group}", f"unknown node {name}; add it to {path}.nodes or remove it here")
        for name, count in Counter(members).items():
            if count > 1:
                yield Problem(f"{path}.pools.{group}", f"node {name} is named {count} times; name it once")
    used = {name for members in site.pools.values() for name in members}
    for name in sorted(set(site.nodes) - used):
        yield Problem(f"{path}.nodes.{name}", "the node is in no pool; add it to one or remove it")


def _groups_path(path: str, site: Site, group: Group) -> str:
    return f"{path}.nodes" if site.pools is None else f"{path}.pools.{group}"


def _quorum(path: str, site: Site) -> Iterator[Problem]:
    etcd = site.members("etcd")
    if etcd and len(etcd) % 2 == 0:
        yield Problem(
            _groups_path(path, site, "etcd"),
            f"{len(etcd)} etcd members: an even number adds no safety; use one more, or one less where enough remain",
        )
    if not site.survives_a_node:
        return
    short = {group: minimum for group, minimum in PRIMARY_MINIMUM.items() if 0 < len(site.members(group)) < minimum}
    if site.pools is None and short:
        yield Problem(
            f"{path}.nodes",
            f"{len(site.nodes)} nodes can't lose one and go on; a compact primary site needs {max(short.values())}, "
            f"or {path}.policy.tolerated_node_failures: 0",
        )
    elif short:
        for group, minimum in short.items():
            yield Problem(
                f"{path}.pools.{group}",
                f"{len(site.members(group))} members can't lose one and go on; name at least {minimum}",
            )
    zones = Counter(site.nodes[name].zone for name in etcd if name in site.nodes)
    for zone, count in zones.items():
        if len(etcd) >= PRIMARY_MINIMUM["etcd"] and count > len(etcd) // 2:
            yield Problem(
                _groups_path(path, site, "etcd"),
                f"{count} of {len(etcd)} etcd members stand in zone {zone}: losing it loses the quorum; "
                "spread them over three zones",
            )


def _addresses(path: str, site: Site) -> Iterator[Problem]:
    cluster, gateway = site.networks.cluster, site.networks.gateway
    if gateway is not None and (gateway not in cluster or gateway in _edges(site)):
        yield Problem(
            f"{path}.networks.gateway", f"{gateway} is no host address of {cluster}; give one of its addresses"
        )
    for name, node in site.nodes.items():
        field = f"{path}.nodes.{name}.address"
        if node.address not in cluster:
            yield Problem(field, f"{node.address} is outside the cluster network {cluster}; give one of its addresses")
        elif node.address in _edges(site):
            yield Problem(field, f"{node.address} is the network's own or broadcast address; give another one")
        if gateway is not None and gateway in (node.address, node.management_address):
            yield Problem(field, f"{gateway} is the gateway; give another one")


def _edges(site: Site) -> tuple[object, object]:
    return site.networks.cluster.network_address, site.networks.cluster.broadcast_address


def _vip(path: str, site: Site) -> Iterator[Problem]:
    field, vip = f"{path}.vip.address", site.vip.address
    if vip not in site.networks.cluster:
        yield Problem(field, f"{vip} is outside the cluster network {site.networks.cluster}; give a free address of it")
    elif vip in _edges(site):
        yield Problem(field, f"{vip} is the network's own or broadcast address; give a free address")
    if vip == site.networks.gateway:
        yield Problem(field, f"{vip} is the gateway; give a free address")
    for name, node in site.nodes.items():
        if vip in (node.address, node.management_address):
            yield Problem(field, f"{vip} is the address of node {name}; give a free address")


def _ports(path: str, site: Site) -> Iterator[Problem]:
    ports = {
        "dicom.port": site.dicom.port,
        "dicom.tls_port": site.dicom.tls_port,
        "https_port": site.https_port,
    }
    for field, port in ports.items():
        if port in INNER_PORTS:
            yield Problem(f"{path}.{field}", f"{port} is a port of the nodes' own services; give another one")
    for (one, port), (other, same) in combinations(ports.items(), 2):
        if port == same:
            yield Problem(f"{path}.{other}", f"{port} is already {path}.{one}; give another one")


def _replication(path: str, site: Site) -> Iterator[Problem]:
    field, replication = f"{path}.policy.cas_replication", site.policy.cas_replication
    nodes = [site.nodes[name] for name in site.members("cas") if name in site.nodes]
    zones = [node.zone for node in nodes]
    if not zones:
        return
    if not can_hold(replication, zones):
        yield Problem(
            field,
            f"{replication} asks for {int(replication[1]) + 1} zones and {int(replication[2]) + 1} nodes in one of "
            f"them, but the cas nodes stand in {_count(zones)}; lower it or add zones",
        )
        return
    if not site.survives_a_node:
        return
    if replication == "000":
        yield Problem(field, "000 keeps one copy: a lost node loses images; use 010 or more")
    elif not all(can_hold(replication, zones[:index] + zones[index + 1 :]) for index in range(len(zones))):
        yield Problem(
            field,
            f"{replication} can't be kept once a cas node is lost ({_count(zones)}), so storing would stop; "
            "add a node in another zone",
        )


def _count(zones: Iterable[str]) -> str:
    return ", ".join(f"{zone}: {count}" for zone, count in Counter(zones).items())


def _das(path: str, site: Site) -> Iterator[Problem]:
    das, floor = site.disks.das, int(site.policy.das_minimum_free_bytes)
    if das.usable_bytes <= floor:
        yield Problem(
            f"{path}.disks.das",
            f"the DAS holds {das.usable_bytes} bytes, but {floor} must stay free (policy.das_minimum_free_bytes): "
            "no image would ever be taken; give larger disks or lower the watermark",
        )
        return
    policy = site.policy
    if policy.das_evict_to_fraction >= policy.das_evict_above_fraction:
        yield Problem(
            f"{path}.policy.das_evict_to_fraction",
            f"{policy.das_evict_to_fraction} is not below das_evict_above_fraction "
            f"({policy.das_evict_above_fraction}): making room would never end; lower it",
        )
    if site.das_evict_below_bytes <= site.das_minimum_free_bytes:
        yield Problem(
            f"{path}.policy.das_evict_above_fraction",
            f"room would be made when {site.das_evict_below_bytes} bytes of the DAS are free, but images are refused "
            f"already at {site.das_minimum_free_bytes} (das_watermark_fraction, das_minimum_free_bytes); lower it",
        )


def _target(settings: Settings) -> Iterator[Problem]:
    target = settings.target
    if target.kind == "static" and target.ssh_user == "root":
        yield Problem("target.ssh_user", "nodes don't let root in by SSH; name a user that may use sudo")
    for name, site in settings.sites.items():
        yield from _machines(target, f"sites.{name}", site)


def _machines(target: LabTarget | StaticTarget, path: str, site: Site) -> Iterator[Problem]:
    makes, kind = target.makes_machines, target.kind
    if makes and site.networks.gateway is None:
        yield Problem(f"{path}.networks.gateway", f"is missing; the {kind} makes the network and needs its gateway")
    for name, node in site.nodes.items():
        field, devices = f"{path}.nodes.{name}.das_devices", set(node.das_devices)
        count = site.disks.das.count if name in site.members("pacs") else 0
        if makes and (devices or node.wipe_serials):
            yield Problem(field, f"the {kind} makes the disks itself; remove devices and serial numbers")
        elif makes and node.management_address not in (None, node.address):
            yield Problem(f"{path}.nodes.{name}.management_address", f"the {kind} has one network; remove the address")
        elif not makes and count and len(devices) != count:
            yield Problem(
                field,
                f"{len(devices)} different devices, but {path}.disks.das.count is {count}; "
                "name each disk of the DAS once",
            )
        elif not makes and not count and devices:
            yield Problem(field, f"the node is not in {path}.pools.pacs, so it has no DAS; remove the devices")


def _networks_between_sites(settings: Settings) -> Iterator[Problem]:
    for (one, first), (other, second) in combinations(settings.sites.items(), 2):
        if first.networks.cluster.overlaps(second.networks.cluster):
            yield Problem(
                f"sites.{other}.networks.cluster",
                f"{second.networks.cluster} overlaps {first.networks.cluster} of sites.{one}; "
                "give each site its own network",
            )


def _duplicates(settings: Settings) -> Iterator[Problem]:
    names: dict[str, list[tuple[object, str]]] = defaultdict(list)
    for site_name, site in settings.sites.items():
        path = f"sites.{site_name}"
        names["router id"].append((site.vip.router_id, f"{path}.vip.router_id"))
        names["AE title"].append((site.dicom.store_ae, f"{path}.dicom.store_ae"))
        names["AE title"].append((site.dicom.query_ae, f"{path}.dicom.query_ae"))
        names["virtual address"].append((site.vip.address, f"{path}.vip.address"))
        zones: dict[str, str] = {}
        for name, node in site.nodes.items():
            zones.setdefault(node.zone, name)
        names["zone"] += [(zone, f"{path}.nodes.{name}.zone") for zone, name in zones.items()]
        for name, node in site.nodes.items():
            names["node name"].append((name, f"{path}.nodes.{name}"))
            names["address"].append((node.address, f"{path}.nodes.{name}.address"))
            if node.management_address not in (None, node.address):
                names["address"].append((node.management_address, f"{path}.nodes.{name}.management_address"))
    for index, caller in enumerate(settings.callers):
        names["AE title"].append((caller.ae_title, f"callers.{index}.ae_title"))
    names["AE title"].append((settings.verify.ae_title, "verify.ae_title"))
    for what, values in names.items():
        first: dict[object, str] = {}
        for value, field in values:
            if value in first:
                yield Problem(field, f"{what} {value} is already used by {first[value]}; give another one")
            first.setdefault(value, field)


def _callers(settings: Settings) -> Iterator[Problem]:
    clients = [network for site in settings.sites.values() for network in site.networks.clients]
    for index, caller in enumerate(settings.callers):
        path = f"callers.{index}"
        for network in caller.networks:
            if not any(network.subnet_of(client) for client in clients):
                yield Problem(
                    f"{path}.networks",
                    f"{network} is in no site's networks.clients, so the firewall drops it; add it to one of them",
                )
        if (caller.host is None) != (caller.port is None):
            yield Problem(path, "host and port of a C-MOVE destination go together; give both or neither")
        for operation, count in Counter(caller.may).items():
            if count > 1:
                yield Problem(f"{path}.may", f"{operation} is named {count} times; name it once")
    for name, site in settings.sites.items():
        controller = settings.controller(site)
        path = "verify.host" if site.networks.controller is None else f"sites.{name}.networks.controller"
        for field in ("management", "clients"):
            if not any(controller in network for network in getattr(site.networks, field)):
                yield Problem(
                    path,
                    f"{controller} is outside sites.{name}.networks.{field}, so `hapacs verify` would be dropped; "
                    "add a network that holds it",
                )
