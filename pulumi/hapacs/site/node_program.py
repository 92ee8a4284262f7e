"""Asks a node's own program, `hapacs-node`, for a report."""

from __future__ import annotations

import getpass
import json
import shlex
import socket
from collections.abc import Sequence
from typing import Any

from hapacs import interruption
from hapacs.errors import HapacsError
from hapacs.site.access import Node, NodeError, Site

PROGRAM = "/opt/hapacs/venv/bin/hapacs-node"


def report(site: Site, node: Node, words: Sequence[str], timeout_s: float, text: str = "") -> dict[str, Any]:
    """Run the program on a node with `text` as its input, and return its report with the node's name.

    Exit code 1 means that the report names something missing.

    Raises
    ------
    NodeError
        When the node does not answer, or prints no report.
    """
    command = ("sudo", PROGRAM, *map(shlex.quote, words), "--json", ";", "test", "$?", "-le", "1")
    printed = site.run(node, command, text, timeout_s)
    try:
        found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    except (IndexError, json.JSONDecodeError):
        raise NodeError(node.name, printed or "hapacs-node printed no report; its journal says more") from None
    return {"node": node.name, **found}


def reports(
    site: Site, nodes: Sequence[Node], words: Sequence[str], timeout_s: float
) -> list[dict[str, Any] | NodeError]:
    """Ask nodes at the same time, so that one that hangs delays nobody; return the report or the error of each."""

    def ask(node: Node) -> dict[str, Any] | NodeError:
        try:
            return report(site, node, words, timeout_s)
        except NodeError as error:
            return error

    with interruption.Workers(max_workers=len(nodes)) as pool:
        return list(pool.map(ask, nodes))


def first_report(site: Site, words: Sequence[str], timeout_s: float, text: str = "") -> dict[str, Any]:
    """Return the report of the first node that answers: what is asked for is the same on all of them.

    Raises
    ------
    HapacsError
        When none does.
    """
    last: NodeError | None = None
    for node in site.members("pacs"):
        try:
            return report(site, node, words, timeout_s, text)
        except NodeError as error:
            last = error
    raise last or HapacsError(f"{site.name} has no node that keeps images.", "Check `sites` in the settings.")


def operator() -> str:
    """Return who runs the command and where, for the records of the nodes."""
    return f"{getpass.getuser()}@{socket.gethostname()}"
