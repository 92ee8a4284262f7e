"""``hapacs report``: what a hospital's management reads."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from hapacs.cli.output import console, print_json, print_warning
from hapacs.cli.parameters import Json, Name
from hapacs.deployment import Deployment
from hapacs.errors import ExitCode

app = typer.Typer(no_args_is_help=True, help="Write a report for the hospital's management.")


@app.callback()
def _begin() -> None:
    """Keep `availability` a command of its own: with a single one typer would leave its name out."""


@app.command()
def availability(
    name: Name = "lab",
    month: Annotated[
        str, typer.Option(metavar="YYYY-MM", help="The month, in UTC. [default: the last one that is over]")
    ] = "",
    json: Json = False,
) -> None:
    """Write one page on a month: objectives, incidents, planned work and drills. The same as PDF is beside it.

    Example: hapacs report availability lab --month 2026-11
    """
    from hapacs.availability import numbers, page, period  # noqa: PLC0415 - its client is slow to import
    from hapacs.site.access import sites  # noqa: PLC0415

    now = datetime.now(UTC)
    asked = period.month(month or period.last(now), now)
    deployment = Deployment.load(name)
    found = []
    for site in sites(deployment):
        of_site = numbers.of_site(site)
        try:
            found.append(page.site_month(site.name, of_site, asked))
        finally:
            of_site.close()
    document = page.document(name, asked, found, deployment.state / "drills", now)
    file = page.write(document, deployment.state / "reports", now)
    for one in found:
        for reason in one.missing:
            print_warning(f"{one.name}: {reason}")
    for reason in document["missing"]:
        print_warning(reason)
    if json:
        print_json(document | {"page": str(file), "pdf": str(file.with_suffix(".pdf"))})
    else:
        console.print(f"The report: {file}\nfor printing: {file.with_suffix('.pdf')}", soft_wrap=True)
    if not all(one.measured for one in found):
        raise typer.Exit(ExitCode.UNHEALTHY)
