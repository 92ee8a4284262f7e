"""``hapacs backup``: backups of the database, and the proof that they can be restored."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hapacs.cli import chosen
from hapacs.cli.output import Steps, console, duration, errors, print_json, print_table, print_warning
from hapacs.cli.parameters import Json, Name
from hapacs.errors import ExitCode

if TYPE_CHECKING:
    from hapacs.site.backup import Keeper

app = typer.Typer(no_args_is_help=True, help="Back up the database, and list its backups.")

SiteName = Annotated[str, typer.Option("--site", help="Name of the site. Not given: the primary one.")]
Kind = Annotated[Literal["full", "diff"], typer.Option("--type", help="`diff`: what changed since the last full one.")]
_MEANING = {"full": "full", "diff": "differential", "incr": "incremental"}


@app.command()
def now(name: Name, kind: Kind = "diff", site: SiteName = "", json: Json = False) -> None:
    """Make a backup of the database at once, besides those of the timer.

    Exit code 1: it failed, or one is being made.
    """
    from hapacs.site.backup import now as make  # noqa: PLC0415 - its clients are slow to import

    keeper = keeper_of(name, site)
    with Steps(quiet=json).step(f"Backing up the database of {keeper.site.name} to {keeper.node.name}"):
        made = make(keeper, kind)
    if json:
        print_json({"deployment": name, "site": keeper.site.name, "node": keeper.node.name, "backup": made})
    else:
        _print_list(keeper, [made])


@app.command("list")
def list_(name: Name = "lab", site: SiteName = "", json: Json = False) -> None:
    """List the backups of the database: kind, when, how large.

    Exit code 1: there is none that is whole.
    """
    from hapacs.site.backup import listed  # noqa: PLC0415

    keeper = keeper_of(name, site)
    with errors.status(f"Asking {keeper.node.name}"):
        found = listed(keeper)
    if json:
        print_json({"deployment": name, "site": keeper.site.name, "node": keeper.node.name, "backups": found})
    elif found:
        _print_list(keeper, found)
    if all(one["error"] for one in found):
        if not json:
            print_warning(f"{keeper.node.name} has no whole backup of the database of {keeper.site.name}.")
        raise typer.Exit(ExitCode.FAILED)


def rehearse(name: str, site: str, *, json: bool) -> None:
    """Restore the database's newest backup and all WAL beside the site, and compare its rows with the live ones."""
    from hapacs.site.backup import rehearse as rehearse_at  # noqa: PLC0415

    keeper = keeper_of(name, site)
    with Steps(quiet=json).step(f"Rehearsing a restore of the database of {keeper.site.name}") as step:
        report = rehearse_at(keeper, step.now)
    if json:
        print_json({"deployment": name, "site": keeper.site.name, **report})
    else:
        _print_rehearsal(report)
    if not report["ok"]:
        raise typer.Exit(ExitCode.FAILED)


def keeper_of(name: str, site: str) -> Keeper:
    """Return the node that keeps the backups of a site, or of the primary one."""
    from hapacs.site.backup import Keeper as OfSite  # noqa: PLC0415

    everywhere = chosen.sites(name, "")
    return OfSite.of(chosen.of(name, site, {one.name: one for one in everywhere})[0], everywhere)


def _print_list(keeper: Keeper, found: list[dict[str, Any]]) -> None:
    rows = [
        (
            one["label"],
            _MEANING.get(one["type"], one["type"]),
            _time(one["ended"]),
            duration(one["ended"] - one["began"]),
            f"{one['database_bytes'] / 1e6:,.0f} MB",
            f"{one['kept_bytes'] / 1e6:,.0f} MB",
            "[red]damaged[/]" if one["error"] else "",
        )
        for one in found
    ]
    title = f"{keeper.site.name}, kept by {keeper.node.name}"
    print_table(title, ("backup", "kind", "ended", "took", "database", "kept", "problem"), rows)


def _print_rehearsal(report: dict[str, Any]) -> None:
    rows = [
        (table, f"{one['before']:,}", f"[{'green' if one['ok'] else 'red'}]{one['restored']:,}[/]", f"{one['after']:,}")
        for table, one in report["counts"].items()
    ]
    print_table(report["node"], ("rows of", "before", "restored", "after"), rows)
    rows = [
        (
            table,
            f"{one['rows']:,}",
            f"{one['changed']:,}",
            f"[{'green' if one['ok'] else 'red'}]{one['different']:,}[/]",
        )
        for table, one in report["digests"].items()
    ]
    print_table("digests", ("rows of", "compared", "parts that changed meanwhile", "parts that differ"), rows)
    console.print(
        f"RTO {duration(report['rto_s'])}: {report['bytes'] / 1e6:,.0f} MB at {report['mb_per_s']:,} MB/s, then WAL"
    )
    lost = (
        "unknown: this leader has archived nothing yet"
        if report["rpo_s"] is None
        else f"at most {duration(report['rpo_s'])}"
    )
    console.print(f"RPO {lost}")
    if not report["ok"]:
        print_warning("Rows are missing or differ in the restored database.")


def _time(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"
