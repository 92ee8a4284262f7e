"""A running site: facts of the nodes that answer, the leading and storing nodes, and the nodes that can take over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hapacs.site.facts import STORE_BACKEND, Balancer, DatabaseMember, Etcd, NodeFacts


@dataclass(frozen=True)
class Member:
    """A node of the contract."""

    name: str
    address: str
    zone: str = ""


@dataclass(frozen=True)
class Together:
    """Roles that have come together on one node.

    Attributes
    ----------
    roles
        Of ``storing``, ``database`` and ``address``, more than one.
    free
        A node with none of them.
    """

    node: str
    roles: Sequence[str]
    free: str


class RunningSite:
    """One site at one moment.

    Parameters
    ----------
    vip
        The virtual address.
    members
        The nodes of the site by group.
    documents
        For each node the document of `hapacs.site.node_facts`, or only an ``error`` when the node did not answer.
    association
        Why a C-ECHO from the controller through the virtual address failed, empty when it succeeded, None when it was
        not tried.

    Attributes
    ----------
    names
        All nodes, in the contract's order.
    nodes
        Facts of the nodes that answered.
    silent
        Why each of the other nodes did not answer.
    members
        Names of the nodes by group.
    """

    def __init__(
        self,
        vip: str,
        members: Mapping[str, Sequence[Member]],
        documents: Mapping[str, Mapping[str, Any]],
        association: str | None = None,
    ) -> None:
        self.vip = vip
        self.association = association
        self.names = list(documents)
        self.nodes = {name: NodeFacts.parse(one) for name, one in documents.items() if "error" not in one}
        self.silent = {name: str(one["error"]) for name, one in documents.items() if "error" in one}
        self.members = {group: [node.name for node in nodes] for group, nodes in members.items()}
        self._nodes = {node.name: node for nodes in members.values() for node in nodes}

    @classmethod
    def parse(cls, plain: Mapping[str, Any]) -> RunningSite:
        """Read the variable that ``tasks/describe_site.yml`` sets: ``{vip, members, states}``, and ``association``."""
        members = {
            group: [Member(node["name"], node["address"], str(node.get("zone", ""))) for node in nodes]
            for group, nodes in plain["members"].items()
        }
        return cls(plain["vip"], members, plain["states"], plain.get("association"))

    @property
    def drained(self) -> list[str]:
        """Nodes that carry the mark of a drained node."""
        return [name for name, facts in self.nodes.items() if facts.drained]

    @property
    def database_leaders(self) -> list[str]:
        """Nodes whose PostgreSQL takes writes: one in a healthy site."""
        return [name for name, facts in self.nodes.items() if facts.leads_database]

    @property
    def archive_leaders(self) -> list[str]:
        """Nodes whose SeaweedFS master leads: one in a healthy site."""
        return [name for name, facts in self.nodes.items() if facts.leads_archive]

    @property
    def holders(self) -> list[str]:
        """Nodes with the virtual address: one in a healthy site."""
        return [name for name, facts in self.nodes.items() if self.vip in facts.addresses]

    @property
    def balancers(self) -> dict[str, Balancer]:
        """Balancers of the nodes that answered."""
        return {name: facts.balancer for name, facts in self.nodes.items() if facts.balancer is not None}

    @property
    def balancer(self) -> Balancer:
        """Balancer of the node with the virtual address: its choices count."""
        return self.balancers.get(next(iter(self.holders), ""), Balancer())

    @property
    def writers(self) -> list[str]:
        """Nodes that store by the choice of that balancer: none until something was stored, else one."""
        return list(self.balancer.writers)

    @property
    def together(self) -> list[Together]:
        """Nodes with several of ``storing``, ``database`` and ``address``, where three nodes could share these."""
        able = [name for name in self.names if name in self.nodes and not self.nodes[name].drained]
        roles = {"storing": self.writers, "database": self.database_leaders, "address": self.holders}
        if len(able) < len(roles):
            return []
        found = {name: [role for role, names in roles.items() if name in names] for name in able}
        free = next((name for name, held in found.items() if not held), "")
        return [Together(name, held, free) for name, held in found.items() if free and len(held) > 1]

    @property
    def paused(self) -> list[str]:
        """Nodes that a balancer keeps out although they are not drained: an operation was cut off."""
        paused = {
            name
            for balancer in self.balancers.values()
            for servers in balancer.servers.values()
            for name, server in servers.items()
            if server.paused
        }
        return sorted(paused - set(self.drained))

    @property
    def etcd_leader(self) -> str:
        """The node whose member leads etcd, or empty."""
        return next((name for name, member in self._etcd_members.items() if member.number == member.leader), "")

    @property
    def etcd_ids(self) -> dict[str, str]:
        """Numbers of etcd's members by node, hexadecimal as etcdctl takes them."""
        return {name: f"{member.number:x}" for name, member in self._etcd_members.items()}

    @property
    def _etcd_members(self) -> dict[str, Etcd]:
        """Members of etcd that answer."""
        members = {name: facts.etcd for name, facts in self.nodes.items()}
        return {name: member for name, member in members.items() if member is not None and not member.error}

    def zones(self, names: Iterable[str]) -> set[str]:
        """Return the zones of some nodes."""
        return {self._nodes[name].zone for name in names}

    def database_members(self) -> dict[str, DatabaseMember]:
        """Return the members of the database cluster, as the leader's Patroni sees them, else any other one."""
        for name in [*self.database_leaders, *self.nodes]:
            patroni = self.nodes[name].patroni
            if patroni is not None and patroni.members:
                return {member.name: member for member in patroni.members}
        return {}

    def standbys(self, *leaving: str) -> list[str]:
        """Return the nodes that may lead the database next, the one with the least lag first."""
        able = [
            member
            for member in self.database_members().values()
            if member.may_lead and member.name not in {*leaving, *self.drained}
        ]
        return [member.name for member in sorted(able, key=lambda member: member.lag)]

    def able_holders(self, *leaving: str) -> list[str]:
        """Return the nodes that may hold the address next: their balancer answers and finds a storing service."""
        return [
            name
            for name, balancer in self.balancers.items()
            if name not in {*leaving, *self.drained}
            and not balancer.error
            and any(server.up for server in balancer.servers.get(STORE_BACKEND, {}).values())
        ]

    def able_writers(self, *leaving: str) -> list[str]:
        """Return the nodes that may store next: healthy, and up for the balancer with the virtual address."""
        servers = self.balancer.servers.get(STORE_BACKEND, {})
        return [
            name
            for name in self.members.get("pacs", ())
            if name not in {*leaving, *self.drained}
            and name in servers
            and servers[name].up
            and name in self.nodes
            and self.nodes[name].health.get("orthanc-store") == ""
        ]
