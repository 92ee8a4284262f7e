"""Finds the problems of a running site: what is wrong, on which node, and what to do. Only this module decides it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from hapacs.site.facts import STORE_BACKEND, NodeFacts
from hapacs.site.node_facts import CHECKS
from hapacs.site.running import RunningSite
from hapacs.site.storing import next_store

_DAS_FILE_SYSTEM = "btrfs"
_CHECK_SHOWN = {
    "scrub": "`hapacs scrub --budget 0` repairs what a node can repair",
    "reconcile": "`hapacs reconcile` shows them",
    "replicas": "`journalctl -u seaweedfs-scrub` there names the volumes",
    "manifest": "`hapacs-node manifest` there writes more",
}
# Above the time between two runs, and the longest run that is usual.
_CHECK_LATE = {
    "scrub": timedelta(days=1),
    "reconcile": timedelta(days=3),
    "replicas": timedelta(days=3),
    "manifest": timedelta(days=3),
}


class Subject(StrEnum):
    """Subject of a problem."""

    NODE = "node"
    UNIT = "unit"
    OTHER_UNIT = "other unit"
    HEALTH = "health"
    FIREWALL = "firewall"
    DAS = "das"
    CERTIFICATE = "certificate"
    BALANCER = "balancer"
    PAUSED = "paused"
    ETCD = "etcd"
    DATABASE = "database"
    DATABASE_DISK = "database disk"
    ADDRESS = "virtual address"
    WRITER = "writer"
    STORING = "storing"
    INTEGRITY = "integrity"


BLOCKING = frozenset({
    Subject.NODE, Subject.UNIT, Subject.HEALTH, Subject.BALANCER, Subject.ETCD, Subject.DATABASE,
    Subject.ADDRESS,
})  # fmt: skip
"""Subjects that forbid taking a node out of service. The others do no harm then, or an operation is their remedy:
`renew` replaces an expired certificate, any rolling operation resumes a paused node, and either can be why nothing is
stored. Images that need a repair keep no node in service."""


@dataclass(frozen=True)
class Problem:
    """One problem of a site.

    Attributes
    ----------
    node
        The node with the problem; empty for the whole site.
    message, remedy
        The problem, and what to do.
    """

    node: str
    subject: Subject
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.message}: {self.remedy}"


def site_problems(site: RunningSite) -> list[Problem]:
    """Return all problems of a site, each once."""
    found = [problem for name in site.names for problem in node_problems(site, name)]
    found += [*_etcd(site), *_database(site), *_address(site), *_writer(site), *_storing(site)]
    return list(dict.fromkeys(found))


def blocking_problems(site: RunningSite, leaving: str = "") -> list[Problem]:
    """Return the problems that forbid taking a node out of service; those of the leaving node itself don't count.

    Parameters
    ----------
    leaving
        The node that leaves; empty for no particular node.
    """
    found = [
        problem
        for problem in site_problems(site)
        if problem.subject in BLOCKING and (not leaving or problem.node != leaving)
    ]
    # The synchronous standby that remains must not be the node that leaves.
    return list(dict.fromkeys([*found, *_standby(site, leaving)]))


def node_problems(site: RunningSite, name: str, *, blocking: bool = False) -> list[Problem]:
    """Return the problems of one node, from its own facts and those of the other nodes.

    Parameters
    ----------
    blocking
        Return only problems that forbid an operation.
    """
    return list(dict.fromkeys(one for one in _node(site, name) if not blocking or one.subject in BLOCKING))


def _node(site: RunningSite, name: str) -> list[Problem]:
    if name in site.silent:
        remedy = (
            "switch it on or repair its network, and wait until `hapacs status` shows its services; a busy node may "
            "only be slow"
        )
        return [Problem(name, Subject.NODE, f"{name} does not answer by SSH ({site.silent[name]})", remedy)]
    facts = site.nodes[name]
    found = [*_services(name, facts), *_machine(name, facts), *_integrity(name, facts)]
    if name in site.paused:
        message = f"a balancer sends nothing to {name}, although it is not drained"
        found.append(Problem(name, Subject.PAUSED, message, "an operation was cut off; run it again"))
    return found + [problem for problem in [*_etcd(site), *_database(site), *_writer(site)] if problem.node == name]


def _services(name: str, facts: NodeFacts) -> Iterator[Problem]:
    """Judge the services of a node by its own facts."""
    for unit, state in facts.units.items():
        if not state.active:
            remedy = f"`journalctl -u {unit}` there; `hapacs up` starts what should run"
            yield Problem(name, Subject.UNIT, f"{unit} on {name} is {state.state}", remedy)
    for unit, why in facts.health.items():
        if why:
            yield Problem(
                name, Subject.HEALTH, f"{unit} on {name} does not work: {why}", f"`journalctl -u {unit}` there"
            )
    if facts.balancer is not None and facts.balancer.error:
        message = f"HAProxy on {name} does not answer: {facts.balancer.error}"
        yield Problem(name, Subject.BALANCER, message, "`journalctl -u haproxy` there")


def _machine(name: str, facts: NodeFacts) -> Iterator[Problem]:
    """Judge what a node has besides its services."""
    for unit in facts.failed_units:
        if unit.removesuffix(".service") not in facts.units and unit not in facts.units:
            remedy = f"`journalctl -u {unit}` there; `systemctl reset-failed {unit}` once it is settled"
            yield Problem(name, Subject.OTHER_UNIT, f"{unit} on {name} has failed", remedy)
    if not facts.firewall:
        message = f"the firewall of {name} is not loaded: it has no table inet hapacs"
        yield Problem(name, Subject.FIREWALL, message, "`hapacs up` loads it")
    if facts.das is not None and facts.das != _DAS_FILE_SYSTEM:
        message = f"/srv/das on {name} is {facts.das or 'not mounted'}"
        yield Problem(name, Subject.DAS, message, "`journalctl -u das` there")
    if facts.database_room is not None and facts.database_room.scarce:
        free, size = (f"{value / 2**30:.1f}" for value in (facts.database_room.free_bytes, facts.database_room.bytes))
        message = f"the disk of the database on {name} has {free} of {size} GiB free"
        yield Problem(name, Subject.DATABASE_DISK, message, "make room at /srv/data/postgres, or enlarge the disk")
    if facts.certificate is not None and facts.certificate.ends_at <= datetime.now(UTC):
        message = f"{facts.certificate.path} on {name} has ended ({facts.certificate.ends})"
        yield Problem(name, Subject.CERTIFICATE, message, "`hapacs renew`")


def _integrity(name: str, facts: NodeFacts) -> Iterator[Problem]:
    """Judge the last run of each check of the integrity."""
    for check, state in facts.checks.items():
        if state.failure is not None:
            message = f"the last {check} on {name} did not complete: {state.failure}"
            yield Problem(
                name,
                Subject.INTEGRITY,
                message,
                f"`journalctl -u {CHECKS[check]}` there; `systemctl start {CHECKS[check]}` repeats it",
            )
        if state.open:
            message = f"the last {check} on {name} left {state.open} faults of images"
            yield Problem(name, Subject.INTEGRITY, message, f"{_CHECK_SHOWN[check]}: docs/operations/integrity.md")
        if state.on and datetime.now(UTC) - state.last_at > _CHECK_LATE[check]:
            message = f"{check} on {name} has not run since {state.last_at:%Y-%m-%d %H:%M} UTC"
            yield Problem(name, Subject.INTEGRITY, message, f"`systemctl status {CHECKS[check]}.timer` there")


def _etcd(site: RunningSite) -> Iterator[Problem]:
    """Judge etcd: every member answers, they follow one leader, and each commits."""
    log = "`journalctl -u etcd` there"
    leaders: set[int] = set()
    members = [name for name in site.members.get("etcd", ()) if name in site.nodes]
    for name in members:
        member = site.nodes[name].etcd
        if member is None:
            continue
        if member.error:
            yield Problem(name, Subject.ETCD, f"etcd on {name} does not answer: {member.error}", log)
            continue
        leaders.add(member.leader)
        if not member.commits:
            yield Problem(name, Subject.ETCD, f"etcd on {name} does not commit", log)
    if members and len(leaders) != 1:
        remedy = "`etcdctl endpoint status --cluster` on its nodes; a majority of them has to run"
        yield Problem("", Subject.ETCD, f"etcd has {len(leaders)} leaders instead of one", remedy)


def _database(site: RunningSite) -> Iterator[Problem]:
    """Judge the database: one leader, every member streams and is known, and a standby may take over."""
    expected = [name for name in site.members.get("postgres", ()) if name in site.nodes]
    if not expected:
        return
    leaders = site.database_leaders
    patronictl = "`patronictl -c /etc/patroni/hapacs.yml list` there"
    if len(leaders) != 1:
        message = f"{', '.join(leaders) or 'no node'} takes writes instead of exactly one"
        yield Problem("", Subject.DATABASE, message, patronictl.replace("there", "on a node of the database"))
    for name in expected:
        if site.nodes[name].leads_database is None:
            message = f"PostgreSQL on {name} does not answer"
            yield Problem(name, Subject.DATABASE, message, "`journalctl -u patroni` there")
        yield from _patroni(site, name, expected, patronictl)
    yield from _standby(site, "")


def _patroni(site: RunningSite, name: str, expected: list[str], patronictl: str) -> Iterator[Problem]:
    """Judge the cluster as one node's Patroni sees it."""
    seen = site.nodes[name].patroni
    if seen is None:
        return
    if seen.error:
        message = f"Patroni on {name} does not answer: {seen.error}"
        yield Problem(name, Subject.DATABASE, message, "`journalctl -u patroni` there")
        return
    by_name = {member.name: member for member in seen.members}
    for other in expected:
        if other not in by_name:
            yield Problem(other, Subject.DATABASE, f"the database on {other} is missing from its cluster", patronictl)
        elif not by_name[other].streams:
            message = f"the database on {other} is {by_name[other].state}"
            yield Problem(other, Subject.DATABASE, message, f"wait until {patronictl} shows it streaming")
    named = [member.name for member in seen.members if member.role == "leader"]
    if site.database_leaders and named != site.database_leaders:
        message = (
            f"Patroni on {name} names {', '.join(named) or 'no node'} as leader of the database, "
            f"but {', '.join(site.database_leaders)} takes writes"
        )
        yield Problem(name, Subject.DATABASE, message, patronictl)


def _standby(site: RunningSite, leaving: str) -> Iterator[Problem]:
    if len(site.members.get("postgres", ())) > 1 and not site.standbys(leaving):
        message = "no standby is synchronous: a change of the leader could lose acknowledged images"
        remedy = "wait until `patronictl -c /etc/patroni/hapacs.yml list` shows a Quorum Standby"
        yield Problem("", Subject.DATABASE, message, remedy)


def _address(site: RunningSite) -> Iterator[Problem]:
    if len(site.holders) != 1:
        message = f"{site.vip} is held by {', '.join(site.holders) or 'no node'} instead of one node"
        yield Problem("", Subject.ADDRESS, message, "`journalctl -u keepalived` on each balancer")


def _writer(site: RunningSite) -> Iterator[Problem]:
    """Judge the choice of the storing Orthanc; before anything is stored there is none."""
    chosen = {name: balancer.writers for name, balancer in site.balancers.items() if balancer.writers}
    writers = sorted({writer for names in chosen.values() for writer in names})
    if len(writers) > 1:
        message = f"the balancers have chosen {', '.join(writers)} to store instead of one node"
        remedy = "`show table store_dicom` at /run/haproxy/admin.sock of each balancer"
        yield Problem("", Subject.WRITER, message, remedy)
    servers = site.balancer.servers.get(STORE_BACKEND, {})
    for writer in site.writers:
        if writer not in servers or not servers[writer].up:
            message = f"{writer} is chosen to store, but {site.holders[0]} does not find it up"
            yield Problem(writer, Subject.WRITER, message, f"`journalctl -u orthanc-store` on {writer}")


def _storing(site: RunningSite) -> Iterator[Problem]:
    """Judge what would happen to the next C-STORE."""
    if refusal := next_store(site).refusal:
        remedy = "`journalctl -u haproxy` on the node with the address and `journalctl -u orthanc-store` on each node"
        yield Problem("", Subject.STORING, f"the next image would be refused: {refusal}", remedy)
