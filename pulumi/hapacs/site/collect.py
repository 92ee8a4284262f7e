"""Asks all nodes of a site for their facts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hapacs import interruption
from hapacs.services import nodes as services
from hapacs.site import node_facts
from hapacs.site.access import Node, NodeError, Site
from hapacs.site.running import Member, RunningSite


def collect(site: Site) -> RunningSite:
    """Ask all nodes at the same time, and return what they answer."""
    nodes = {node: Member(node, values["address"], values["zone"]) for node, values in site.contract["nodes"].items()}
    members = {group: [nodes[name] for name in names] for group, names in site.contract["members"].items()}
    by_group = {group: [node.name for node in found] for group, found in members.items()}

    def ask(node: Node) -> dict[str, Any]:
        arguments = services.question(node.name, node.address, by_group, site.deployment.settings.target.sizing)
        try:
            answer: dict[str, Any] = site.run_script(node, Path(node_facts.__file__), arguments, root=True)
        except NodeError as error:
            return {"error": error.reason}
        return answer

    with interruption.Workers(max_workers=8) as pool:
        answers = dict(zip(site.nodes, pool.map(ask, site.nodes.values()), strict=True))
    return RunningSite(site.vip, members, answers)
