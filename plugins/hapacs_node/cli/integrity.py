"""`hapacs-node reconcile`: compare index, catalog, archive and online copies, and repair what does not agree."""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from hapacs_node import journal, log, settings
from hapacs_node.cli.common import ConfigOption, JsonOption, err, errors, out, print_json
from hapacs_node.integrity.findings import REPAIRED, Kind
from hapacs_node.integrity.reconcile import Counts, Reconciliation
from hapacs_node.integrity.repair import Repairs
from hapacs_node.integrity.report import Report, Request
from hapacs_node.node import Node
from hapacs_node.storage.shelves import Shelves

# Far above the longest store: its deadlines, and the patience with a file of several gigabytes.
_SETTLED_S = 3600
_SHOWN_EVERY_S = 0.5
_ALL = "all"


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
    operator: Annotated[str, typer.Option(help="Name for the journal.")] = os.environ.get("SUDO_USER", "root"),
) -> None:
    """Compare index, catalog, archive and this node's DAS. Changes nothing without --repair.

    Exit codes: 0 all agree or are repaired; 1 something does not agree; 2 wrong usage.
    """
    request = Request(_kinds(repair or []), only)
    if only is not None and not request.kinds:
        _refuse("--only needs --repair")
    report = Report()
    with _node(config) as node:
        storage = node.storage
        settled = Reconciliation.settled_before(node.database, settled_s)
        reconciliation = Reconciliation(node.database, node.cas, Shelves(node.das), settled)
        repairs = Repairs(node.settings.node, operator, node.das, node.cas, storage.catalog, node.refresh)
        with _shown(reconciliation.counts, disable=as_json):
            report.take(reconciliation.findings(), repairs, request)
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
    logging.getLogger(f"{log.ROOT}.integrity").setLevel(logging.INFO)
    logging.getLogger(log.ROOT).addHandler(journal.JournalHandler())
    with errors():
        node = Node.build(settings.load(config), "check")
        try:
            yield node
        finally:
            node.close()


@contextmanager
def _shown(counts: Counts, *, disable: bool) -> Iterator[None]:
    """Show how much was compared, while it goes on."""
    over = threading.Event()
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=err, disable=disable
    ) as progress:
        task = progress.add_task("Comparing")

        def follow() -> None:
            while not over.wait(_SHOWN_EVERY_S):
                about = f"{counts.index:,} of the index, {counts.archive:,} archive objects, {counts.das:,} online"
                progress.update(task, description=f"Comparing: {about}")

        thread = threading.Thread(target=follow, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
