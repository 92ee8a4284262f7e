"""Facts of one node, as `hapacs.site.node_facts` collects them there, with types and names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

_STREAMING = {"running", "streaming"}
_SYNCHRONOUS = {"sync_standby", "quorum_standby"}
_DATABASE_FREE_FRACTION, _DATABASE_LOW_FRACTION = 0.1, 0.2
STORE_BACKEND = "store_dicom"


@dataclass(frozen=True)
class Unit:
    """State of a systemd unit; `restarts` counts the starts that systemd did by itself."""

    active: bool
    state: str
    restarts: int = 0


@dataclass(frozen=True)
class Server:
    """A server of a balancer's backend; `paused` means that an operator or the configuration keeps it out."""

    status: str
    sessions: int
    paused: bool

    @property
    def up(self) -> bool:
        """Whether the balancer's health check succeeds."""
        return self.status.startswith("UP")


@dataclass(frozen=True)
class Balancer:
    """HAProxy of one node.

    Attributes
    ----------
    writers
        The storing Orthanc that it has chosen; none until something was stored.
    servers
        Servers by backend and name.
    error
        Why it does not answer, or empty.
    """

    writers: tuple[str, ...] = ()
    servers: Mapping[str, Mapping[str, Server]] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True)
class Etcd:
    """The etcd member of a node.

    Attributes
    ----------
    number, leader
        Its own number, and that of the member that it follows.
    commits
        Whether it commits, which needs a majority.
    error
        Why it does not answer, or empty.
    """

    number: int = 0
    leader: int = 0
    commits: bool = False
    error: str = ""


@dataclass(frozen=True)
class DatabaseMember:
    """A member of the database cluster as Patroni lists it."""

    name: str
    role: str
    state: str
    lag: int = 0
    no_failover: bool = False

    @property
    def streams(self) -> bool:
        """Whether it runs as leader or follows the leader."""
        return self.state in _STREAMING

    @property
    def may_lead(self) -> bool:
        """Whether it holds every acknowledged transaction and is allowed to take over."""
        return self.role in _SYNCHRONOUS and self.streams and not self.no_failover


@dataclass(frozen=True)
class Patroni:
    """The database cluster as one node's Patroni reports it."""

    members: tuple[DatabaseMember, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class Certificate:
    """A certificate of the node; `ends` is as openssl prints it."""

    path: str
    ends: str

    @property
    def ends_at(self) -> datetime:
        """When it ends; an unreadable certificate counts as ended."""
        try:
            return datetime.fromisoformat(self.ends)
        except ValueError:
            return datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Room:
    """Size of the DAS, its free part, and the size of the archive's files on the node."""

    das_bytes: int
    das_free_bytes: int
    cas_used_bytes: int


@dataclass(frozen=True)
class DatabaseRoom:
    """Size of the file system that holds the database, and its free part."""

    bytes: int
    free_bytes: int

    @property
    def scarce(self) -> bool:
        """Whether an operator has to make room. The node gives the lead up much later (role postgres)."""
        return self.free_bytes < _DATABASE_FREE_FRACTION * self.bytes

    @property
    def low(self) -> bool:
        """Whether an operator should plan for more room. It is no problem yet."""
        return self.free_bytes < _DATABASE_LOW_FRACTION * self.bytes


@dataclass(frozen=True)
class Check:
    """The last run of a check of the integrity: scrub, reconcile or replicas.

    Attributes
    ----------
    on
        Whether the node runs it by itself.
    since
        When the node got its unit, in seconds since the epoch.
    ended_at
        When the last run ended, ISO 8601; None before the first one.
    failure
        Why it did not complete; None when it did.
    open
        Faults that remained.
    """

    on: bool
    since: float
    ended_at: str | None = None
    failure: str | None = None
    open: int | None = None

    @property
    def last_at(self) -> datetime:
        """When it ran last; before the first run, when the node got it."""
        since = datetime.fromtimestamp(self.since, UTC)
        return since if self.ended_at is None else max(since, datetime.fromisoformat(self.ended_at))


@dataclass(frozen=True)
class NodeFacts:
    """Facts of one node that answers.

    Attributes
    ----------
    units
        The units that have to run there, by name.
    failed_units
        All units that failed, whether hapacs needs them or not.
    health
        Result of each service's health check: why it does not work, or empty.
    das
        File system at the mount point of the DAS, empty when it is not mounted; None for a node without a DAS.
    leads_database, leads_archive
        Whether the node's PostgreSQL takes writes, and whether its SeaweedFS master leads; None when it did not answer.
    certificate
        The node's certificate that expires first.
    checks
        The checks of the integrity, by their name.
    listeners
        Ports on which a process listens for the network, with the address.
    """

    units: Mapping[str, Unit] = field(default_factory=dict)
    failed_units: tuple[str, ...] = ()
    health: Mapping[str, str] = field(default_factory=dict)
    firewall: bool = True
    das: str | None = None
    room: Room | None = None
    database_room: DatabaseRoom | None = None
    addresses: frozenset[str] = frozenset()
    leads_database: bool | None = None
    leads_archive: bool | None = None
    drained: bool = False
    certificate: Certificate | None = None
    balancer: Balancer | None = None
    etcd: Etcd | None = None
    patroni: Patroni | None = None
    checks: Mapping[str, Check] = field(default_factory=dict)
    listeners: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> NodeFacts:
        """Read the JSON document that `hapacs.site.node_facts` printed.

        Raises
        ------
        KeyError
            When a fact is missing: script and class are of different versions.
        """
        room, certificate = document["room"], document["certificate"]
        database_room = document["database_room"]
        return cls(
            units={name: Unit(**unit) for name, unit in document["units"].items()},
            failed_units=tuple(document["failed"]),
            health=document["health"],
            firewall=document["firewall"],
            das=document["das"],
            room=Room(**room) if room else None,
            database_room=DatabaseRoom(**database_room) if database_room else None,
            addresses=frozenset(document["addresses"]),
            leads_database=document["leads"],
            leads_archive=document["archive_leads"],
            drained=document["drained"],
            certificate=Certificate(**certificate) if certificate else None,
            balancer=_balancer(document["balancer"]),
            etcd=Etcd(**document["etcd"]) if document["etcd"] else None,
            patroni=_patroni(document["patroni"]),
            checks={name: Check(**check) for name, check in (document["checks"] or {}).items()},
            listeners={int(port): address for port, address in document["listeners"].items()},
        )


def _balancer(document: Mapping[str, Any] | None) -> Balancer | None:
    if document is None:
        return None
    if "error" in document:
        return Balancer(error=document["error"])
    servers = {
        backend: {name: Server(**server) for name, server in found.items()}
        for backend, found in document["servers"].items()
    }
    return Balancer(tuple(document["writers"]), servers)


def _patroni(document: Mapping[str, Any] | None) -> Patroni | None:
    if document is None:
        return None
    if "error" in document:
        return Patroni(error=document["error"])
    return Patroni(
        tuple(
            DatabaseMember(
                name=member["name"],
                role=member["role"],
                state=member["state"],
                # The lag of a member that has just come back can be a word.
                lag=member["lag"] if isinstance(member.get("lag"), int) else 0,
                no_failover=bool(member.get("tags", {}).get("nofailover")),
            )
            for member in document["members"]
        )
    )
