"""``hapacs reindex``: what searches find of images is read from the files again."""

from __future__ import annotations

import typer

from hapacs.cli.output import console, errors, print_json
from hapacs.cli.parameters import Json, Name
from hapacs.deployment import Deployment
from hapacs.errors import ExitCode


def reindex(name: Name = "lab", json: Json = False) -> None:
    """Read names and other keys again of images that an older version or another character set has read.

    The site is in use meanwhile: half of the time is left to others. It can be interrupted and repeated.

    Exit code 1: an image can't be read now.
    """
    from hapacs.site.access import sites  # noqa: PLC0415 - its clients are slow to import
    from hapacs.site.reindex import reindex as reindex_at  # noqa: PLC0415

    reports = []
    for site in sites(Deployment.load(name)):
        with errors.status(f"Reading the images of {site.name}"):
            reports.append({"site": site.name, **reindex_at(site)})
    if json:
        print_json({"deployment": name, "sites": reports})
    else:
        for report in reports:
            console.print(f"{report['site']}: {report['images']} images read, {report['unreadable']} can't be read now")
    if not all(report["ok"] for report in reports):
        raise typer.Exit(ExitCode.FAILED)
