"""Asks all nodes of a site for their facts, and its virtual address for an association."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hapacs import interruption
from hapacs.services import nodes as services
from hapacs.site import association, node_facts
from hapacs.site.access import Node, NodeError, Site
from hapacs.site.running import Member, RunningSite

QUICK_S = 4.0
"""Time for `hapacs status`, which a person waits for."""
_PATIENT_S = 60.0
"""Time for verification, in which a busy node is no problem."""


def collect(site: Site, within_s: float = _PATIENT_S) -> RunningSite:
    """Ask all nodes at the same time, and return what they answer.

    Parameters
    ----------
    within_s
        Time to wait for a node. One that needs more counts as silent.
    """
    nodes = {node: Member(node, values["address"], values["zone"]) for node, values in site.contract["nodes"].items()}
    members = {group: [nodes[name] for name in names] for group, names in site.contract["members"].items()}
    by_group = {group: [node.name for node in found] for group, found in members.items()}
    # A request on a node has to end soon enough for the node to report it.
    limit_s = min(within_s / 2, 10)

    def ask(node: Node) -> dict[str, Any]:
        sizing = site.deployment.settings.target.sizing
        arguments = services.question(node.name, node.address, by_group, sizing, limit_s)
        try:
            answer: dict[str, Any] = site.run_script(
                node, Path(node_facts.__file__), arguments, root=True, timeout_s=within_s
            )
        except NodeError as error:
            return {"error": error.reason}
        return answer

    with interruption.Workers(max_workers=len(site.nodes) + 1) as pool:
        tried = pool.submit(association.problem, site.store_ends, min(within_s, QUICK_S) - 1)
        answers = dict(zip(site.nodes, pool.map(ask, site.nodes.values()), strict=True))
        return RunningSite(site.vip, members, answers, tried.result())
