"""``hapacs verify``: prove that a deployment works."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from hapacs import verify as verification
from hapacs.cli.output import console, duration, errors, print_json
from hapacs.cli.parameters import Json, Name
from hapacs.deployment import Deployment
from hapacs.errors import ExitCode
from hapacs.verify import Check, Report

Only = Annotated[list[str] | None, typer.Option("--only", metavar="CHECK", help="This check alone; may be repeated.")]


def verify(name: Name = "lab", json: Json = False, only: Only = None) -> None:
    """Check that everything is healthy, send real DICOM files, read them back by every way, try inner ports."""
    deployment = Deployment.load(name)
    if json:
        with errors.status("Verifying") as status:
            report = verification.run(deployment, lambda check: status.update(f"Verified {check.name}"), only or ())
        print_json(report.document())
    else:
        report = _show(deployment, only or [])
    if not report.ok:
        raise typer.Exit(ExitCode.UNHEALTHY)


def _show(deployment: Deployment, only: list[str]) -> Report:
    """Verify, and show each check as it is done and the one that is under way."""
    done: list[Check] = []
    expected = len(only or verification.names()) * len(deployment.settings.sites)
    begun = time.monotonic()

    def table() -> Table:
        rows = Table(box=None, show_header=False, pad_edge=False)
        for check in done:
            sign, colour = ("✓", "green") if check.ok else ("✗", "red")
            took = f"[dim]{duration(check.seconds)}[/]"
            rows.add_row(f"[{colour}]{sign}[/]", check.name, took, escape(check.detail))
        if len(done) < expected:
            rows.add_row("…", f"{len(done)} of {expected}", "", "")
        return rows

    with Live(table(), console=console, refresh_per_second=4, vertical_overflow="visible") as live:

        def show(check: Check) -> None:
            done.append(check)
            live.update(table())

        report = verification.run(deployment, show, only)
    failed = sum(not check.ok for check in report.checks)
    total = duration(time.monotonic() - begun)
    if failed:
        console.print(f"[red]{failed} of {len(report.checks)} checks failed[/] ({total}).")
    else:
        console.print(f"[green]{deployment.name} works[/]: {len(report.checks)} checks passed in {total}.")
    return report
