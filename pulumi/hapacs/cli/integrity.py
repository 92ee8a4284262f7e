"""``hapacs reconcile`` and ``hapacs scrub``: whether all places of a site agree, and whether their copies are whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from hapacs.cli import chosen
from hapacs.cli.output import console, errors, print_item, print_json, print_table
from hapacs.cli.parameters import Json, Name
from hapacs.errors import ExitCode

if TYPE_CHECKING:
    from hapacs.site.access import Site

SiteName = Annotated[str, typer.Option("--site", help="Name of one site. Not given: all sites.")]


def reconcile(
    name: Name = "lab",
    site: SiteName = "",
    repair: Annotated[
        list[str] | None, typer.Option(help="Repair this kind of findings, or `all` (repeatable).")
    ] = None,
    json: Json = False,
) -> None:
    """Compare index, catalog, archive and the online copies of each node. Changes nothing without --repair.

    The site is in use meanwhile. Exit code 4: a fault remains, or a node or place did not answer.
    """
    from hapacs.site import integrity  # noqa: PLC0415 - its clients are slow to import

    _run(
        name, site, json=json, what="Comparing the places of",
        check=lambda at: integrity.reconcile(at, repair or ()), show=_print_compared,
    )  # fmt: skip


def scrub(  # noqa: PLR0917 - typer calls it
    name: Name = "lab",
    site: SiteName = "",
    budget_gb: Annotated[float, typer.Option("--budget", min=0, help="Gigabytes that each node reads.")] = 100,
    mb_per_s: Annotated[int, typer.Option("--rate", min=1, help="Megabytes a second of each node.")] = 20,
    days: Annotated[int, typer.Option(min=0, help="Read nothing again that was read within so many days.")] = 30,
    json: Json = False,
) -> None:
    """Read online and archive copies again on all nodes, and heal one from the other.

    Each node also does it by itself, hour by hour. Exit code 4: a copy is damaged, or a node did not answer.
    """
    from hapacs.site import integrity  # noqa: PLC0415

    options = ("--budget", str(budget_gb), "--rate", str(mb_per_s), "--days", str(days))
    _run(
        name, site, json=json, what="Reading the copies of",
        check=lambda at: integrity.scrub(at, options), show=_print_read,
    )  # fmt: skip


def _run(
    name: str,
    site: str,
    *,
    json: bool,
    what: str,
    check: Callable[[Site], dict[str, Any]],
    show: Callable[[str, Mapping[str, Any]], None],
) -> None:
    reports = {}
    for at in chosen.sites(name, site):
        with errors.status(f"{what} {at.name}"):
            reports[at.name] = check(at)
    if json:
        print_json({"deployment": name, "ok": all(one["ok"] for one in reports.values()), "sites": reports})
    else:
        for at_name, report in reports.items():
            show(at_name, report)
    if not all(report["ok"] for report in reports.values()):
        raise typer.Exit(ExitCode.UNHEALTHY)


def _failures(report: Mapping[str, Any]) -> None:
    for node, one in report["nodes"].items():
        if one["failure"] is not None:
            print_item("[red]✗[/]", f"{node} did not complete: {one['failure']}")


def _print_compared(site: str, report: Mapping[str, Any]) -> None:
    rows = [
        (
            node,
            *(f"{one['compared'][place]:,}" for place in ("index", "archive", "das")),
            f"{sum(one['found'].values()):,}",
            f"{sum(one['repaired'].values()):,}",
        )
        for node, one in report["nodes"].items()
        if "compared" in one
    ]
    print_table(site, ("node", "of the index", "of the archive", "online", "found", "repaired"), rows)
    _failures(report)
    faults = [
        (one["kind"], one["node"], one["name"], escape(one.get("repair") or one["detail"])) for one in report["faults"]
    ]
    if faults:
        print_table("", ("fault", "found on", "name", "particulars"), faults)
    elif report["ok"]:
        console.print("[green]✓[/] all places agree")


def _print_read(site: str, report: Mapping[str, Any]) -> None:
    rows = [
        (
            node,
            *(f"{one[what]:,}" for what in ("online", "archived")),
            f"{one['bytes'] / 1e9:.1f} GB",
            f"{one['healed']:,}",
            f"[{'red' if one['damaged'] else 'green'}]{one['damaged']:,}[/]",
            f"[{'red' if one['archive_damaged'] else 'green'}]{one['archive_damaged']:,}[/]",
        )
        for node, one in report["nodes"].items()
        if "bytes" in one
    ]
    heads = (
        "node",
        "online copies",
        "archive copies",
        "read",
        "healed",
        "left damaged",
        "without a whole archive copy",
    )
    print_table(site, heads, rows)
    _failures(report)
