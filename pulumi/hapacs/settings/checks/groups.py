"""Checks of a site's groups: that each has its nodes, and that the site keeps working when one node fails."""

from collections import Counter
from collections.abc import Iterable, Iterator

from hapacs.services.model import GROUPS, Group
from hapacs.settings.models import Settings, Site
from hapacs.settings.problem import Problem, each

PRIMARY_MINIMUM: dict[Group, int] = {
    "etcd": 3,
    "postgres": 3,
    "cas": 3,
    "pacs": 2,
    "load_balancer": 2,
    "monitoring": 2,
}
"""Members with which a group keeps working when one fails. PostgreSQL needs two standbys: with one, a failed standby
would stop every commit, because a commit waits for a second copy."""

BALANCERS_MAXIMUM = 20
"""keepalived's limit: each balancer lists all others as its peers."""

_RESERVED_NODE_NAMES = frozenset((*GROUPS, "all", "ungrouped", "localhost", "installed"))
"""Groups of the inventory and of `site.yml`; Ansible takes a host and a group of one name for the same thing."""


def of_site(path: str, site: Site) -> Iterator[Problem]:
    """Yield the problems of one site's groups."""
    yield from _node_names(path, site)
    yield from _pools(path, site)
    yield from _even(path, site)
    yield from _minimum(path, site)
    yield from _zones(path, site)
    yield from _balancers(path, site)
    yield from _replication(path, site)


@each
def roles(settings: Settings) -> Iterator[Problem]:
    """Yield a problem unless one site is the primary one."""
    primaries = [name for name, site in settings.sites.items() if site.role == "primary"]
    if len(primaries) != 1:
        found = ", ".join(primaries) or "none"
        yield Problem("sites", f"exactly one site must have the role primary (found: {found}); correct the roles")


def can_hold(replication: str, zones: Iterable[str]) -> bool:
    """Say whether nodes that stand in `zones` (one entry a node) can hold every copy.

    SeaweedFS puts the first copy and its third digit's further copies on nodes of one zone, and its second digit's
    copies in as many other zones.
    """
    nodes = Counter(zones)
    same_zone, other_zones = int(replication[2]), int(replication[1])
    return len(nodes) > other_zones and max(nodes.values(), default=0) > same_zone


@each
def _node_names(path: str, site: Site) -> Iterator[Problem]:
    for name in site.nodes:
        if name in _RESERVED_NODE_NAMES:
            yield Problem(f"{path}.nodes.{name}", "this is the name of an Ansible group; give the node another name")


@each
def _pools(path: str, site: Site) -> Iterator[Problem]:
    if site.pools is None:
        return
    for group in GROUPS:
        yield from _pool(path, site, group)
    used = {name for members in site.pools.values() for name in members}
    for name in sorted(set(site.nodes) - used):
        yield Problem(f"{path}.nodes.{name}", "the node is in no pool; add it to one or remove it")


@each
def _pool(path: str, site: Site, group: Group) -> Iterator[Problem]:
    members = site.members(group)
    if not members:
        yield Problem(f"{path}.pools.{group}", "the group has no node; name at least one")
    for name in sorted(set(members) - set(site.nodes)):
        yield Problem(f"{path}.pools.{group}", f"unknown node {name}; add it to {path}.nodes or remove it here")
    for name, count in Counter(members).items():
        if count > 1:
            yield Problem(f"{path}.pools.{group}", f"node {name} is named {count} times; name it once")


def _groups_path(path: str, site: Site, group: Group) -> str:
    return f"{path}.nodes" if site.pools is None else f"{path}.pools.{group}"


@each
def _even(path: str, site: Site) -> Iterator[Problem]:
    etcd = site.members("etcd")
    if etcd and len(etcd) % 2 == 0:
        yield Problem(
            _groups_path(path, site, "etcd"),
            f"{len(etcd)} etcd members: an even number adds no safety; use one more, or one less where enough remain",
        )


@each
def _minimum(path: str, site: Site) -> Iterator[Problem]:
    if not site.survives_a_node:
        return
    short = {group: minimum for group, minimum in PRIMARY_MINIMUM.items() if 0 < len(site.members(group)) < minimum}
    if site.pools is None and short:
        yield Problem(
            f"{path}.nodes",
            f"with {len(site.nodes)} nodes the site stops when one fails; a compact primary site needs "
            f"{max(short.values())}, or {path}.policy.tolerated_node_failures: 0",
        )
    elif short:
        for group, minimum in short.items():
            yield Problem(
                f"{path}.pools.{group}",
                f"with {len(site.members(group))} members the group stops when one fails; name at least {minimum}",
            )


@each
def _zones(path: str, site: Site) -> Iterator[Problem]:
    if not site.survives_a_node:
        return
    etcd = site.members("etcd")
    zones = Counter(site.nodes[name].zone for name in etcd if name in site.nodes)
    for zone, count in zones.items():
        if len(etcd) >= PRIMARY_MINIMUM["etcd"] and count > len(etcd) // 2:
            yield Problem(
                _groups_path(path, site, "etcd"),
                f"{count} of {len(etcd)} etcd members stand in zone {zone}: losing it loses the quorum; "
                "spread them over three zones",
            )


@each
def _balancers(path: str, site: Site) -> Iterator[Problem]:
    count = len(site.members("load_balancer"))
    if count > BALANCERS_MAXIMUM:
        yield Problem(
            _groups_path(path, site, "load_balancer"),
            f"{count} balancers are too many for one virtual address; name at most {BALANCERS_MAXIMUM} in "
            f"{path}.pools.load_balancer",
        )


@each
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
        yield Problem(field, "000 keeps one copy: a lost node loses images; write 010 or more")
    elif not all(can_hold(replication, zones[:index] + zones[index + 1 :]) for index in range(len(zones))):
        yield Problem(
            field,
            f"{replication} can't be kept once a cas node is lost ({_count(zones)}), so storing would stop; "
            "add a node in another zone",
        )


def _count(zones: Iterable[str]) -> str:
    return ", ".join(f"{zone}: {count}" for zone, count in Counter(zones).items())
