"""``hapacs rebuild``: index and catalog of a site, or the archive's metadata, come back from what is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from hapacs.cli import chosen
from hapacs.cli.output import Steps, console, print_json, print_table, print_warning
from hapacs.cli.parameters import Json, Name
from hapacs.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from hapacs.site.access import Site

SiteName = Annotated[str, typer.Option("--site", help="Name of the site. Not given: the primary one.")]

_MEANING = {
    "stored": "stored again",
    "present": "already in the index",
    "superseded": "kept as replaced: the index has other bytes with their UIDs, which were archived later",
    "removed": "deleted or replaced since they were stored again",
}


def rebuild(
    name: Name,
    from_archive: Annotated[bool, typer.Option("--from-archive", help="Read everything from the archive.")] = False,
    from_volumes: Annotated[
        bool, typer.Option("--from-volumes", help="Find the archive's metadata again in its volume files.")
    ] = False,
    site: SiteName = "",
    json: Json = False,
) -> None:
    """Store every image of the archive again, for a site whose index and catalog are lost.

    Images that the index has are not touched, and nothing is archived twice. It can be interrupted and repeated: it
    goes on where it was. Images that were deleted before the loss come back too.

    With --from-volumes: when the database of the archive's filers is lost too, every object is found again in the
    volume files of its nodes. No image is moved or written. `hapacs up` and --from-archive come next.

    Exit code 1: something in the archive is damaged, or was not read, or a place did not answer.
    """
    if from_archive == from_volumes:
        raise UsageError("Not told what to rebuild from.", "Give --from-archive or --from-volumes.")
    at = chosen.sites(name, site)[0]
    if from_volumes:
        _find_again(name, at, json=json)
        return
    from hapacs.site.rebuild import rebuild as rebuild_at  # noqa: PLC0415 - its clients are slow to import

    with Steps(quiet=json).step(f"Storing the images of the archive of {at.name} again") as step:
        report = rebuild_at(at, step.now)
    if json:
        print_json({"deployment": name, "site": at.name, **report})
    else:
        _print(report)
    if not report["ok"]:
        raise typer.Exit(ExitCode.FAILED)


def _find_again(name: str, at: Site, *, json: bool) -> None:
    from hapacs.site.volumes import found_again  # noqa: PLC0415

    with Steps(quiet=json).step(f"Looking for the objects of the archive of {at.name} in its volumes") as step:
        report = found_again(at, step.now)
    if json:
        print_json({"deployment": name, "site": at.name, **report})
        return
    rows = [
        (node, f"{found['changes']:,}", f"{found['objects']:,}", f"{found['others']:,}")
        for node, found in sorted(report["nodes"].items())
    ]
    print_table(at.name, ("node", "changes in journals", "objects in no journal", "needles that are none"), rows)
    console.print(f"[green]{report['objects']:,}[/] objects were given to the filers.")
    console.print(f"Next: `hapacs up {name}`, then `hapacs rebuild {name} --site {at.name} --from-archive`.")


def _print(report: dict[str, Any]) -> None:
    console.print(f"{report['done']:,} of {report['objects']:,} archive objects read, {report['found']:,} images found")
    for state, count in sorted(report["images"].items()):
        console.print(f"[green]{count:,}[/] {_MEANING[state]}")
    rows = [
        (one["kind"], one["key"], f"{one['at']:,}", "yes" if one["whole_elsewhere"] else "no", escape(one["detail"]))
        for one in report["listed"]
    ]
    if rows:
        print_table(report["node"], ("problem", "object", "at", "another copy is whole", "particulars"), rows)
    if report["lost"]:
        print_warning(f"{report['lost']:,} parts of the archive were not stored.")
    if report["failure"] is not None:
        print_warning(f"Not complete, run it again: {report['failure']}")
    console.print(f"{report['in_manifests']:,} images are listed by manifests as being in the index")
    console.print(f"{report['images_per_s']:,} images/s on {report['node']}")
