"""Decides for operations: whether one may begin, which node takes over, and in which order nodes are touched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from hapacs.services import nodes as services
from hapacs.site.facts import STORE_BACKEND
from hapacs.site.problems import blocking_problems, node_problems
from hapacs.site.running import RunningSite


def view(site: RunningSite) -> dict[str, Any]:
    """Return the facts of a site that playbooks need; an empty string for a service without a leader.

    ``paused`` are nodes that a balancer keeps out without their being drained, ``silent`` those that did not answer.
    """
    return {
        "database": next(iter(site.database_leaders), ""),
        "etcd": site.etcd_leader,
        "etcd_ids": site.etcd_ids,
        "archive": next(iter(site.archive_leaders), ""),
        "stores": next(iter(site.writers), ""),
        "address": next(iter(site.holders), ""),
        "drained": site.drained,
        "paused": site.paused,
        "answering": list(site.nodes),
        "silent": list(site.silent),
        "masters": list(services.masters(site.members.get("cas", []))),
        "certificates": [
            {"node": name, "path": facts.certificate.path, "ends": facts.certificate.ends}
            for name, facts in site.nodes.items()
            if facts.certificate is not None
        ],
    }


def refusals(site: RunningSite, verb: str, node: str) -> list[str]:
    """Return why an operation must not begin now, each with what to do first; empty when it may begin.

    Parameters
    ----------
    verb
        ``whole`` (any rolling operation), ``drain``, ``undrain``, ``switchover-database``, ``switchover-storing``,
        ``switchover-address``, ``restore``, or ``any``, which is never refused: a second fault of a drill finds a
        broken site.
    node
        The node that is drained, undrained or takes over; may be empty for the others.

    Raises
    ------
    ValueError
        When there is no such verb.
    """
    if node and node not in site.names:
        return [f"there is no node {node}; there are {', '.join(sorted(site.names))}"]
    checks: dict[str, Callable[[], list[str]]] = {
        "any": list,
        "whole": lambda: list(map(str, blocking_problems(site))),
        "drain": lambda: _drain(site, node),
        "restore": lambda: _restore(site),
        "undrain": lambda: list(map(str, node_problems(site, node, blocking=True))),
        "switchover-database": lambda: _switchover(site, "postgres", node, site.standbys(), site.database_leaders),
        "switchover-storing": lambda: _switchover(site, "pacs", node, site.able_writers(), site.writers),
        "switchover-address": lambda: _switchover(site, "load_balancer", node, site.able_holders(), site.holders),
    }
    if verb not in checks:
        raise ValueError(f"there is no {verb!r}; there are {', '.join(checks)}")
    return checks[verb]()


def _drain(site: RunningSite, node: str) -> list[str]:
    if node in site.silent:
        message = f"{node} does not answer by SSH ({site.silent[node]}): other nodes have taken over its work already"
        return [f"{message}. Bring it back first, then drain it"]
    return missing_without(site, node) or [
        *map(str, blocking_problems(site, leaving=node)),
        *_without_storing(site, node),
    ]


def _restore(site: RunningSite) -> list[str]:
    """Return why the database can't be restored; it may be in any state, but no member may be left with former data."""
    found = [
        f"{name} does not answer by SSH ({site.silent[name]}): it would come back with data from before the restore. "
        "Switch it on first"
        for name in site.members.get("postgres", ())
        if name in site.silent
    ]
    if not any(facts.etcd is not None and not facts.etcd.error and facts.etcd.commits for facts in site.nodes.values()):
        found.append("etcd commits nothing, so no member could lead the restored database: `hapacs status` says why")
    return found


def _without_storing(site: RunningSite, node: str) -> list[str]:
    """Return why nothing could be stored once a node is drained: no balancer that stays finds a storing service up."""
    away = {node, *site.drained}
    stay = [name for name in site.members.get("pacs", ()) if name not in away]
    seen = [
        balancer.servers.get(STORE_BACKEND, {})
        for name, balancer in site.balancers.items()
        if name not in away and not balancer.error
    ]
    if not stay or not seen or any(servers[name].up for servers in seen for name in stay if name in servers):
        return []
    return [f"without {node} no storing service is up: the balancers find {', '.join(stay)} down. Repair it first"]


def missing_without(site: RunningSite, node: str) -> list[str]:
    """Return what the site would lack without a node and without those that are drained already."""
    away = {node, *site.drained}
    left = {group: [name for name in names if name not in away] for group, names in site.members.items()}
    here = [group for group, names in site.members.items() if node in names]
    lonely = [group for group in here if group != "monitoring" and not left[group]]
    others = sorted(away - {node})
    hint = f"Undrain {', '.join(others)} first" if others else "A site can spare a node from three nodes on"
    if lonely:
        return [f"{node} is the last node in service of {', '.join(lonely)}: no node could take over. {hint}"]
    found, without = [], f"without {', '.join(sorted(away))}"
    if "etcd" in here and 2 * len(left["etcd"]) <= len(site.members["etcd"]):
        found.append(f"{without} etcd has no majority once they are off. {hint}")
    if "postgres" in here and len(site.members["postgres"]) > 1 and not len(left["postgres"]) > 1:
        found.append(f"{without} no second database confirms what is stored. {hint}")
    cas = site.members.get("cas", [])
    if "cas" in here and len(site.zones(cas)) > 1 and not len(site.zones(left["cas"])) > 1:
        found.append(f"{without} the archive has one zone left for its two copies. {hint}")
    return found


def _switchover(site: RunningSite, group: str, node: str, able: list[str], leading: list[str]) -> list[str]:
    members = site.members.get(group, [])
    if node and node not in members:
        return [f"{node} is not in the group {group}; there are {', '.join(members)}"]
    if len(members) == 1:
        return [f"the group {group} of this site has one node: there is no node to switch over to"]
    if found := blocking_problems(site):
        return list(map(str, found))
    if node and node not in [*able, *leading]:
        why = (
            "it is drained: undrain it first" if node in site.drained else "`hapacs verify` says what is wrong with it"
        )
        return [f"{node} can't take over, {why}. Nodes that can: {', '.join(able) or 'none'}"]
    return [] if node or able else ["no node can take over; `hapacs status` and `hapacs verify` say why"]


def heir(site: RunningSite, lead: str, leaving: Iterable[str]) -> str:
    """Return the node that takes over ``database``, ``storing``, ``address``, ``archive`` or ``etcd``, or empty."""
    if lead == "database":
        able = site.standbys(*leaving)
    elif lead == "storing":
        able = site.able_writers(*leaving, *site.writers)
    elif lead == "archive":
        # Beside the database's leader, where it belongs.
        masters = services.masters(site.members.get("cas", []))
        good = [name for name in masters if name in site.nodes and name not in {*leaving, *site.drained}]
        able = sorted(good, key=lambda name: name not in site.database_leaders)
    elif lead == "address":
        able = site.able_holders(*leaving, *site.holders)
    else:
        # Beside the database's leader only when no other is left: the death of one node then costs one election.
        good = [name for name in site.etcd_ids if name not in {*leaving, *site.drained}]
        able = sorted(good, key=lambda name: name in site.database_leaders)
    return next(iter(able), "")


def restoring(states: Mapping[str, Mapping[str, Any]], target: str, leader: str) -> dict[str, Any]:
    """Return on which ``node`` the database is restored, and whether that is ``done``.

    A restore that was interrupted goes on where it was; else the leader is restored, because its data are the newest.

    Parameters
    ----------
    states
        What the last restore did, by member: ``target`` and ``phase``.
    target
        The time to which it is restored, empty for the newest WAL.
    """
    same = {name: state for name, state in states.items() if state["target"] == target}
    for name, state in same.items():
        if state["phase"] not in {"none", "aside", "done"}:
            return {"node": name, "done": False}
    for name, state in same.items():
        if target and state["phase"] == "done":
            return {"node": name, "done": True}
    return {"node": leader if leader in states else next(iter(states)), "done": False}


def order(site: RunningSite) -> list[str]:
    """Return the nodes in the order in which they are touched: those with the fewest leads first."""
    leads, weight = view(site), {"database": 8, "archive": 4, "stores": 2, "address": 1}
    return sorted(site.names, key=lambda name: sum(value for lead, value in weight.items() if leads[lead] == name))
