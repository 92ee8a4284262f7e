"""Scrub and reconcile of a site: each node that keeps images runs its own program, and its report is read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from hapacs import interruption
from hapacs.errors import UsageError
from hapacs.site import node_program
from hapacs.site.access import Node, NodeError, Site
from hapacs_node.integrity.repair import REPAIRED

ALL = "all"
# A hundred million images are compared in hours; a scrub lasts as long as its budget and rate say.
_RECONCILE_S, _SCRUB_S = 24 * 3600, 7 * 24 * 3600

Reports = Mapping[str, Mapping[str, Any]]
"""What each node reported, or only ``ok`` and ``failure``."""


def reconcile(site: Site, kinds: Collection[str]) -> dict[str, Any]:
    """Compare all places, node after node: one node may repair what another can't, and then nobody else finds it.

    Parameters
    ----------
    kinds
        Kinds of findings to repair; none changes nothing.

    Returns
    -------
    dict
        ``ok``, the faults that remain as ``faults``, and the report of each node as ``nodes``.

    Raises
    ------
    UsageError
        When a kind does not exist or no command repairs it.
    """
    if unknown := set(kinds) - REPAIRED - {ALL}:
        known = ", ".join(sorted(REPAIRED))
        raise UsageError(f"No command repairs {', '.join(sorted(unknown))}.", f"Give one of: {known}, {ALL}.")
    words = (
        "reconcile",
        *(word for kind in kinds for word in ("--repair", kind)),
        "--operator",
        node_program.operator(),
    )
    reports = {node.name: _report(site, node, words, _RECONCILE_S) for node in site.members("pacs")}
    faults = list(remaining(reports))
    whole = all(report["failure"] is None and (report["ok"] or report["complete"]) for report in reports.values())
    return {"ok": whole and not faults, "faults": faults, "nodes": reports}


def scrub(site: Site, options: Sequence[str]) -> dict[str, Any]:
    """Read copies again on all nodes at the same time, and return ``ok`` and the report of each node as ``nodes``."""
    words = ("scrub", *options, "--operator", node_program.operator())
    nodes = site.members("pacs")
    with interruption.Workers(max_workers=len(nodes)) as pool:
        found = pool.map(lambda node: _report(site, node, words, _SCRUB_S), nodes)
        reports = {node.name: report for node, report in zip(nodes, found, strict=True)}
    return {"ok": all(report["ok"] for report in reports.values()), "nodes": reports}


def remaining(reports: Reports) -> Iterator[dict[str, Any]]:
    """Yield the faults that no node has repaired, each once, with the node that found it first."""
    found = [
        ((one["kind"], one["name"], node if one["kind"].startswith("das-") else ""), one | {"node": node})
        for node, report in reports.items()
        for one in report.get("findings", ())
        if one["fault"]
    ]
    seen = {key for key, one in found if one.get("repaired")}
    for key, one in found:
        if key not in seen:
            seen.add(key)
            yield one


def _report(site: Site, node: Node, words: Sequence[str], timeout_s: float) -> dict[str, Any]:
    try:
        return {"failure": None} | node_program.report(site, node, words, timeout_s)
    except NodeError as error:
        # The other nodes can still be asked.
        return {"node": node.name, "ok": False, "failure": error.reason}
