"""Asks the nodes of a site what they report about themselves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hapacs import interruption
from hapacs.services import nodes as services
from hapacs.services.model import GROUPS
from hapacs.site import node_facts
from hapacs.site.access import Node, Site
from hapacs.verify.report import CheckFailedError

Facts = Mapping[str, Mapping[str, Any]]


def collect(site: Site) -> dict[str, dict[str, Any]]:
    """Ask every node at once what it says of itself; a node that doesn't answer has only an ``error``."""

    def ask(node: Node) -> dict[str, Any]:
        members: dict[str, list[str]] = {group: [member.name for member in site.members(group)] for group in GROUPS}
        sizing = site.deployment.settings.target.sizing
        arguments = services.question(node.name, node.address, members, sizing)
        try:
            answer: dict[str, Any] = site.run_script(node, Path(node_facts.__file__), arguments, root=True)
        except CheckFailedError as error:
            return {"error": error.message}
        return answer

    nodes = list(site.nodes.values())
    with interruption.Workers(max_workers=8) as pool:
        return {node.name: answer for node, answer in zip(nodes, pool.map(ask, nodes), strict=True)}
