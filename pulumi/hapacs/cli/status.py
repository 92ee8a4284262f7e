"""``hapacs status``: the nodes, what runs on them, who leads, and how much room is left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer
from rich.markup import escape
from rich.table import Table

from hapacs.cli.lifecycle import Json, Name
from hapacs.cli.output import ExitCode, console, errors, print_json
from hapacs.deployment import Deployment


def status(name: Name = "lab", json: Json = False) -> None:
    """Show each node's services, the database leader, the storing Orthanc, the virtual address, and free space."""
    from hapacs.verify import services, site  # noqa: PLC0415 - its clients are slow to import

    deployment = Deployment.load(name)
    with errors.status("Asking the nodes"):
        found = {one.name: summarise(one.vip, services.collect(one)) for one in site.sites(deployment)}
    ok = all(one["ok"] for one in found.values())
    if json:
        print_json({"deployment": name, "ok": ok, "sites": found})
    else:
        for site_name, one in found.items():
            console.print(_table(site_name, one))
        if not ok:
            console.print("[red]Not everything is well.[/] `hapacs verify` says more; `hapacs up` repairs what it can.")
    if not ok:
        raise typer.Exit(ExitCode.UNHEALTHY)


def summarise(vip: str, facts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the state of a site from what its nodes say of themselves.

    Parameters
    ----------
    vip
        The site's virtual address.
    facts
        What `hapacs.verify.services.collect` returned.
    """
    nodes = {node: _node(vip, answer) for node, answer in facts.items()}
    holders = [node for node, state in nodes.items() if state["virtual_address"]]
    leaders = [node for node, state in nodes.items() if state["database"] == "leader"]
    # What counts is whom the balancer with the address has chosen.
    chosen = (facts[holders[0]].get("balancer") or {}).get("writers", []) if holders else []
    return {
        "ok": len(holders) == 1 and len(leaders) == 1 and not any(state["problems"] for state in nodes.values()),
        "virtual_address": vip,
        # None until something was stored: only then the balancer has to choose.
        "writer": chosen[0] if chosen else None,
        "nodes": nodes,
    }


def _node(vip: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    if "error" in answer:
        return {"problems": [answer["error"]], "database": None, "virtual_address": False, "running": 0, "room": None}
    units = answer["units"]
    problems = [unit for unit, state in units.items() if not state["active"]]
    problems += [unit for unit in answer["failed"] if unit not in units]
    if answer["das"] is not None and answer["das"] != "btrfs":
        problems.append("no DAS")
    return {
        "problems": problems,
        "running": sum(bool(state["active"]) for state in units.values()),
        "database": {True: "leader", False: "replica"}.get(answer["leads"]),
        "virtual_address": vip in answer["addresses"],
        "room": answer["room"],
    }


def _table(name: str, site: Mapping[str, Any]) -> Table:
    table = Table(
        "node", "services", "database", "virtual address", "stores", "DAS free", "CAS used", title=name, box=None
    )
    for node, state in site["nodes"].items():
        problems = escape(", ".join(state["problems"]))
        room = state["room"]
        table.add_row(
            node,
            f"[red]{problems}[/]" if problems else f"[green]{state['running']} running[/]",
            state["database"] or "",
            site["virtual_address"] if state["virtual_address"] else "",
            "writer" if node == site["writer"] else "",
            f"{room['das_free_bytes'] / 2**30:.1f}/{room['das_bytes'] / 2**30:.1f} GiB" if room else "",
            f"{room['cas_used_bytes'] / 2**30:.1f} GiB" if room else "",
        )
    return table
