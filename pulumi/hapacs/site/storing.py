"""Foretells what a site would do with the next C-STORE: which node would store it, or why it would be refused."""

from __future__ import annotations

from dataclasses import dataclass

from hapacs.site.facts import STORE_BACKEND
from hapacs.site.running import RunningSite

_SERVICE = "orthanc-store"


@dataclass(frozen=True)
class Storing:
    """Answer to the next C-STORE.

    Attributes
    ----------
    node
        The node that would store it; empty when none would, or when the balancer that decides does not answer.
    refusal
        Why it would be refused, or empty.
    """

    node: str = ""
    refusal: str = ""


def next_store(site: RunningSite) -> Storing:
    """Return what would happen to a C-STORE now; a refusal for want of a majority names that first."""
    found = _next_store(site)
    missing = _no_majority(site) if found.refusal else ""
    return Storing(found.node, f"{missing}; {found.refusal}") if missing else found


def _no_majority(site: RunningSite) -> str:
    """Say which nodes a majority lacks, or nothing when there may be one.

    Where a single member of etcd commits, there is a majority, although SSH may not reach it.
    """
    members = site.members.get("etcd", ())
    answering = [name for name in members if name in site.nodes]
    silent = [name for name in members if name not in site.nodes]
    states = [state for name in answering if (state := site.nodes[name].etcd) is not None]
    if not states or any(state.commits for state in states):
        return ""
    needed = len(members) // 2 + 1
    off = f", and {', '.join(silent)} {'does' if len(silent) == 1 else 'do'} not answer" if silent else ""
    return f"no majority: no member of etcd commits, {needed} of {len(members)} have to run{off}"


def _next_store(site: RunningSite) -> Storing:
    """Return what the next C-STORE meets on its way.

    The balancer with the virtual address decides. It sends an association to the node that it has chosen, when that
    one is up, else to the first one that is up. The health of the storing service there tells whether database, DAS
    and archive take a write. Where a C-ECHO was tried through the virtual address, it has to succeed too.
    """
    echo = f"C-ECHO to {site.vip} fails: {site.association}" if site.association else ""
    if not site.holders or site.balancer.error:
        nobody = f"no node that answers holds {site.vip}"
        broken = f"HAProxy on {site.holders[0]} does not answer: {site.balancer.error}" if site.holders else nobody
        # A node that SSH does not reach can still store.
        return Storing() if site.association == "" else Storing(refusal=echo or broken)
    node = _chosen(site)
    if not node:
        return Storing(refusal=f"the balancer on {site.holders[0]} has no storing service that is up")
    health = site.nodes[node].health.get(_SERVICE, "") if node in site.nodes else ""
    if health:
        return Storing(refusal=f"{_SERVICE} on {node} does not work: {health}")
    return Storing(refusal=echo) if echo else Storing(node=node)


def _chosen(site: RunningSite) -> str:
    """Return the server that the balancer would use, or empty."""
    servers = site.balancer.servers.get(STORE_BACKEND, {})
    # A server that is being drained still gets what the table sends to it.
    for writer in site.writers:
        if writer in servers and servers[writer].status.startswith(("UP", "DRAIN")):
            return writer
    return next((name for name, server in servers.items() if server.up), "")
