"""Asks all nodes of a site for their facts, and its virtual address for an association."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hapacs import interruption
from hapacs.services import nodes as services
from hapacs.site import association, node_facts
from hapacs.site.access import Node, NodeError, Site
from hapacs.site.running import Member, RunningSite

QUICK_S = 3.0
"""Time for `hapacs status`, which has five seconds with its own start."""
_PATIENT_S = 20.0
_LIMIT_S = 10.0


def collect(site: Site, within_s: float = _PATIENT_S) -> RunningSite:
    """Ask all nodes at the same time, and return what they answer.

    Parameters
    ----------
    within_s
        Time for a node to begin its answer, for each request that the node makes to its services, and for the C-ECHO.
        A node that is only busy may complete its answer later; one that does not begin it counts as silent.
    """
    nodes = {node: Member(node, values["address"], values["zone"]) for node, values in site.contract["nodes"].items()}
    members = {group: [nodes[name] for name in names] for group, names in site.contract["members"].items()}
    by_group = {group: [node.name for node in found] for group, found in members.items()}
    limit_s = min(within_s, _LIMIT_S)

    def ask(node: Node) -> dict[str, Any]:
        sizing = site.deployment.settings.target.sizing
        arguments = services.question(node.name, node.address, by_group, sizing, limit_s)
        try:
            answer: dict[str, Any] = site.run_script(
                node, Path(node_facts.__file__), arguments, root=True, begins_within_s=within_s
            )
        except NodeError as error:
            return {"error": error.reason}
        return answer

    with interruption.Workers(max_workers=len(site.nodes) + 1) as pool:
        tried = pool.submit(association.problem, site.store_ends, limit_s)
        answers = dict(zip(site.nodes, pool.map(ask, site.nodes.values()), strict=True))
        return RunningSite(site.vip, members, answers, tried.result())
