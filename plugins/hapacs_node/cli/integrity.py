"""`hapacs-node reconcile` and `scrub`: compare the places of images, and read their copies again."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from hapacs_node import background, log, settings
from hapacs_node.catalog.scrub import open_damage, progress
from hapacs_node.cli.common import SELF, ConfigOption, JsonOption, err, errors, out, print_json, to_journal
from hapacs_node.integrity.findings import Kind
from hapacs_node.integrity.reconcile import Counts, Reconciliation
from hapacs_node.integrity.record import Check, recorded
from hapacs_node.integrity.repair import REPAIRED, Repairs
from hapacs_node.integrity.report import Report, Request
from hapacs_node.integrity.scrub import Scrub
from hapacs_node.node import Node
from hapacs_node.storage.shelves import Shelves

app = typer.Typer()
# Far above the longest store: its deadlines, and the patience with a file of several gigabytes.
_SETTLED_S = 3600
_SHOWN_EVERY_S = 0.5
_ALL = "all"
Operator = Annotated[str, typer.Option(help="Name for the journal.")]


@app.command()
def reconcile(
    *,
    config: ConfigOption = settings.DEFAULT_PATH,
    as_json: JsonOption = False,
    repair: Annotated[
        list[str] | None, typer.Option(help=f"Repair this kind (repeatable): {', '.join(sorted(REPAIRED))}, or all.")
    ] = None,
    only: Annotated[str | None, typer.Option(help="Repair only the finding with this name.")] = None,
    settled_s: Annotated[
        int, typer.Option("--settled", min=60, help="Leave alone what is younger, seconds.")
    ] = _SETTLED_S,
    operator: Operator = SELF,
) -> None:
    """Compare index, catalog, archive and this node's DAS. Changes nothing without --repair.

    Exit codes: 0 all agree or are repaired; 1 something does not agree; 2 wrong usage.
    """
    request = Request(_kinds(repair or []), only)
    if only is not None and not request.kinds:
        _refuse("--only needs --repair")
    report = Report()
    with _node(config) as node, recorded(node.settings.results, Check.RECONCILE) as result:
        settled = Reconciliation.settled_before(node.database, settled_s)
        reconciliation = Reconciliation(node.database, node.cas, Shelves(node.das), settled)
        with _shown(reconciliation.counts, disable=as_json):
            report.take(reconciliation.findings(), _repairs(node, operator), request)
        result |= {"open": report.open, "failure": report.failure, "found": dict(report.left)}
    if as_json:
        print_json(report.document(reconciliation.counts))
    else:
        counts = reconciliation.counts
        for table in report.tables():
            out.print(table)
        if report.failure is not None:
            err.print(f"not everything was compared: {report.failure}", style="red")
        out.print(
            f"compared: {counts.index:,} attachments of the index, {counts.archive:,} archive objects, "
            f"{counts.das:,} online copies; {'all agree' if report.ok else 'not all agree'}"
        )
    raise typer.Exit(0 if report.ok else 1)


@app.command()
def scrub(
    *,
    config: ConfigOption = settings.DEFAULT_PATH,
    as_json: JsonOption = False,
    budget_gb: Annotated[float, typer.Option("--budget", min=0, help="Read this many gigabytes, then end.")] = 100,
    days: Annotated[int, typer.Option(min=0, help="Read nothing again that was read within so many days.")] = 30,
    mb_per_s: Annotated[int, typer.Option("--rate", min=1, help="Megabytes a second.")] = 20,
    operator: Operator = SELF,
) -> None:
    """Read online copies of this node and archive copies again, and heal one from the other.

    Exit codes: 0 all that was read is whole or healed; 1 a copy is damaged; 2 wrong usage.
    """
    before = datetime.now(UTC) - timedelta(days=days)
    with _node(config) as node, recorded(node.settings.results, Check.SCRUB) as result:
        work = Scrub(node.database, Shelves(node.das), _repairs(node, operator), mb_per_s * 1_000_000)
        outcome = work.run(int(budget_gb * 1e9), before)
        places = node.database.run(lambda connection: progress(connection, before))
        damaged = len(node.database.run(open_damage))
        # A damaged archive copy that this run could not heal is in both numbers.
        result["open"] = max(outcome.damaged, damaged)
        result["places"] = [asdict(place) for place in places]
        totals = result.get("totals", {"bytes": 0, "healed": 0})
        result["totals"] = {name: number + getattr(outcome, name) for name, number in totals.items()}
    ok = not outcome.damaged and not damaged
    if as_json:
        document = {"ok": ok, **asdict(outcome), "archive_damaged": damaged}
        print_json(document | {"places": [asdict(place) for place in places]})
    else:
        table = Table("place", f"read within {days} days", "longest ago", box=None)
        for place in places:
            oldest = f"{place.oldest_at:%Y-%m-%d %H:%M}" if place.oldest_at else "never"
            table.add_row(place.place, f"{place.checked / place.shelves:.1%}", oldest)
        out.print(table)
        out.print(
            f"{outcome.online:,} online copies and {outcome.archived:,} archive copies read, "
            f"{outcome.bytes / 1e9:.1f} GB; {outcome.healed:,} healed, {outcome.damaged:,} left damaged; "
            f"{damaged:,} images have no whole archive copy"
        )
    raise typer.Exit(0 if ok else 1)


def _repairs(node: Node, operator: str) -> Repairs:
    return Repairs(node.settings.node, operator, node.das, node.cas, node.storage.catalog, node.refresh)


def _kinds(given: list[str]) -> frozenset[Kind]:
    if unknown := set(given) - REPAIRED - {_ALL}:
        _refuse(f"--repair {', '.join(sorted(unknown))}: possible are {', '.join(sorted(REPAIRED))} and {_ALL}")
    return REPAIRED if _ALL in given else frozenset(map(Kind, given))


def _refuse(reason: str) -> None:
    err.print(reason, style="red")
    raise typer.Exit(2)


@contextmanager
def _node(config: Path) -> Iterator[Node]:
    """Build a node with the full deadlines of the settings: a failover in between must not end a long run."""
    to_journal(log.get("integrity"))
    with errors():
        node = Node.build(settings.load(config), "check")
        try:
            yield node
        finally:
            node.close()


@contextmanager
def _shown(counts: Counts, *, disable: bool) -> Iterator[None]:
    """Show how much was compared, while it goes on."""
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=err, disable=disable
    ) as progress:
        task = progress.add_task("Comparing")

        def follow() -> None:
            about = f"{counts.index:,} of the index, {counts.archive:,} archive objects, {counts.das:,} online"
            progress.update(task, description=f"Comparing: {about}")

        with background.repeated(follow, _SHOWN_EVERY_S, "progress"):
            yield
