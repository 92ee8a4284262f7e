"""``hapacs dr compare``: whether the second site has the same images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from hapacs.cli import chosen
from hapacs.cli.output import console, errors, print_json, print_table
from hapacs.cli.parameters import Json, Name
from hapacs.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from hapacs.site.access import Site

_SHOWN = 20


def compare(
    name: Name = "lab",
    study: Annotated[str, typer.Option(help="Only images of this study, by its Study Instance UID.")] = "",
    json: Json = False,
) -> None:
    """Compare the images of a site with those of the second one that it copies to. Changes nothing.

    Both sites stay in use. Exit code 1: they do not have the same images.
    """
    from hapacs.site import second_site  # noqa: PLC0415 - its clients are slow to import

    at = _copying(name)
    with errors.status(f"Comparing {at.name} with its second site"):
        report = second_site.compare(at, study)
    if json:
        print_json({"deployment": name, "site": at.name, **report})
    else:
        _print(at.name, report)
    if not report["equal"]:
        raise typer.Exit(ExitCode.FAILED)


def _copying(name: str) -> Site:
    found = next((one for one in chosen.sites(name, "") if one.contract["routing"].get("second_site")), None)
    if found is None:
        raise UsageError(
            f"No site of {name} copies its images to a second one.",
            "Switch it on in the settings: `policy.replicate` of a site (docs/operations/second-site.md).",
        )
    return found


def _print(site: str, report: dict[str, Any]) -> None:
    second = report["second_site"]
    meanings = {
        "only_here": f"only at {site}",
        "only_there": f"only at {second}",
        "different": "not the same at both",
        "waiting": "copy under way",
        "deleted_here": f"deleted at {site}, still at {second}",
        "left_out": "from before the copies began, not copied",
    }
    rows = [
        (meaning if number == 0 else "", f"{report['counts'][kind]:,}" if number == 0 else "", sop,
         escape(report["reasons"].get(sop, "")))
        for kind, meaning in meanings.items()
        for number, sop in enumerate(report[kind][:_SHOWN])
    ]  # fmt: skip
    if rows:
        print_table("", ("", "images", "for example", "why"), rows)
    verdict = "[green]✓[/] the same images" if report["equal"] else "[red]✗[/] not the same images"
    console.print(
        f"{verdict}: {report['compared']:,} of {site} compared with {report['there']:,} of {second} "
        f"in {report['duration_s']:.0f} s; locks of {report['locks']:,} read at both"
    )
