"""``hapacs status``: the nodes, what runs on them, who leads, and how much room is left."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import typer
from rich.markup import escape
from rich.table import Table

from hapacs.cli.output import console, errors, print_json
from hapacs.cli.parameters import Json, Name
from hapacs.deployment import Deployment
from hapacs.errors import ExitCode

# What is said of a node that is healthy, not drained, and left out all the same.
PAUSED = "gets nothing from a balancer (a restart was cut off? run it again)"


def status(name: Name = "lab", json: Json = False) -> None:
    """Show each node's services, the database leader, the storing Orthanc, the virtual address, and free space."""
    from hapacs.site import access as site  # noqa: PLC0415 - its clients are slow to import
    from hapacs.site.collect import collect  # noqa: PLC0415

    deployment = Deployment.load(name)
    with errors.status("Asking the nodes"):
        found = {one.name: summarise(one.vip, collect(one)) for one in site.sites(deployment)}
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
        What `hapacs.site.collect.collect` returned.
    """
    nodes = {node: _node(vip, answer) for node, answer in facts.items()}
    for node in _paused(facts):
        if not nodes[node]["drained"]:
            nodes[node]["problems"].append(PAUSED)
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
        return {
            "problems": [answer["error"]], "running": 0, "database": None, "virtual_address": False, "room": None,
            "drained": None, "certificate": None,
        }  # fmt: skip
    units = answer["units"]
    problems = [unit for unit, state in units.items() if not state["active"]]
    problems += [unit for unit in answer["failed"] if unit not in units]
    if answer["das"] is not None and answer["das"] != "btrfs":
        problems.append("no DAS")
    certificate = answer.get("certificate")
    if certificate and _ends(certificate) <= datetime.now(UTC):
        problems.append(f"{certificate['path']} has ended")
    return {
        "problems": problems,
        "running": sum(bool(state["active"]) for state in units.values()),
        "database": {True: "leader", False: "replica"}.get(answer["leads"]),
        "virtual_address": vip in answer["addresses"],
        "room": answer["room"],
        "drained": answer.get("drained", False),
        # The one of its certificates that ends first.
        "certificate": certificate,
    }


def _paused(facts: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Return the nodes that a balancer gives nothing new."""
    return {
        name
        for answer in facts.values()
        for servers in (answer.get("balancer") or {}).get("servers", {}).values()
        for name, server in servers.items()
        if server["paused"]
    }


def _ends(certificate: Mapping[str, str]) -> datetime:
    try:
        return datetime.fromisoformat(certificate["ends"])
    except ValueError:  # what can't be read is no use either
        return datetime.min.replace(tzinfo=UTC)


def _coloured(certificate: Mapping[str, str]) -> str:
    ends = _ends(certificate)
    left = ends - datetime.now(UTC)
    # `hapacs up` and `hapacs renew` renew 30 days before the end; so nobody looked after it for some days.
    colour = "red" if left < timedelta(days=7) else "yellow" if left < timedelta(days=25) else "green"
    shown = f"{ends:%Y-%m-%d}" if left > timedelta(days=2) else f"{ends:%Y-%m-%d %H:%M} UTC"
    return f"[{colour}]{shown}[/]"


def _table(name: str, site: Mapping[str, Any]) -> Table:
    """Return a site as a table that fits into 80 columns; what is longer goes on in the next line, whole."""
    table = Table(
        title=f"{name}, virtual address {site['virtual_address']}", title_justify="left", box=None, padding=(0, 2, 0, 0)
    )
    for head in ("node", "services", "role", "DAS free", "CAS used", "certificates until"):
        table.add_column(head, overflow="fold")
    for node, state in site["nodes"].items():
        problems = escape(", ".join(state["problems"]))
        room, certificate = state["room"], state["certificate"]
        running = f"[green]{state['running']} running[/]" + (", [yellow]drained[/]" if state["drained"] else "")
        roles = {
            "address": state["virtual_address"],
            "writer": node == site["writer"],
            state["database"]: state["database"],
        }
        table.add_row(
            node,
            f"[red]{problems}[/]" if problems else running,
            ", ".join(what for what, there in roles.items() if there),
            f"{room['das_free_bytes'] / 2**30:.1f} of {room['das_bytes'] / 2**30:.1f} GiB" if room else "",
            f"{room['cas_used_bytes'] / 2**30:.1f} GiB" if room else "",
            _coloured(certificate) if certificate else "",
        )
    return table
