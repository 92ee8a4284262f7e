"""``hapacs verify``: prove that a deployment works."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from hapacs.cli import completion
from hapacs.cli.output import console, duration, errors, print_item, print_json
from hapacs.cli.parameters import Json, Name
from hapacs.deployment import Deployment
from hapacs.errors import ExitCode

if TYPE_CHECKING:
    from hapacs.verify import Check, Report

Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="CHECK",
        autocompletion=completion.check_names,
        help="Run this check alone. Can be given several times.",
    ),
]


def verify(name: Name = "lab", json: Json = False, only: Only = None) -> None:
    """Prove that a deployment works: health, DICOM and DICOMweb with real files, closed ports.

    Example: hapacs verify lab --only c-store --only c-find
    """
    from hapacs import verify as verification  # noqa: PLC0415 - its clients are slow to import

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
    """Verify, and print each check when it is done."""
    from hapacs import verify as verification  # noqa: PLC0415

    expected = len(set(only) or verification.names()) * len(deployment.settings.sites)
    width = max(map(len, only or verification.names()))
    if len(deployment.settings.sites) > 1:
        width += max(map(len, deployment.settings.sites)) + len(": ")
    begun, done = time.monotonic(), 0

    with console.status(f"{done} of {expected} checks") as status:

        def show(check: Check) -> None:
            nonlocal done
            done += 1
            sign = "[green]✓[/]" if check.ok else "[red]✗[/]"
            print_item(f"{sign} {check.name:{width}}  [dim]{duration(check.seconds):>6}[/] ", check.detail)
            status.update(f"{done} of {expected} checks")

        report = verification.run(deployment, show, only)
    failed = sum(not check.ok for check in report.checks)
    total = duration(time.monotonic() - begun)
    if failed:
        console.print(f"[red]{failed} of {len(report.checks)} checks failed[/] ({total}).")
    else:
        console.print(f"[green]{deployment.name} works[/]: {len(report.checks)} checks passed in {total}.")
    return report
