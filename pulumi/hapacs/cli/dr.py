"""``hapacs dr``: the second site takes the lead, and gives it back."""

from __future__ import annotations

import json as json_
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hapacs.cli import chosen, dr_compare, dr_conflicts
from hapacs.cli.output import Steps, console, errors, print_json, print_table, print_warning
from hapacs.cli.parameters import Json, Name
from hapacs.deployment import Deployment
from hapacs.errors import ExitCode, HapacsError

if TYPE_CHECKING:
    from pathlib import Path

    from hapacs.site.access import Site
    from hapacs.site.takeover import Seen, Sites

app = typer.Typer(no_args_is_help=True, help="Let the second site take the lead, and bring it back.")
app.command("compare")(dr_compare.compare)
app.command("conflicts")(dr_conflicts.conflicts)
app.command("keep")(dr_conflicts.keep)

Wait = Annotated[int, typer.Option("--wait", min=1, help="Seconds until both sites must have all images.")]


@app.command()
def status(name: Name, json: Json = False) -> None:
    """Show which site leads, and how many images of each the other one lacks.

    Exit code 1: a site does not answer; 4: no site leads, or both do.
    """
    with errors.status("Asking both sites"):
        seen = _sites(name).look()
    leading = [one.site.name for one in seen if one.document and one.document["site"] and one.state == "leads"]
    if json:
        print_json(
            {
                "deployment": name,
                "leads": leading,
                "sites": {one.site.name: one.document or {"silent": one.silent} for one in seen},
            }
        )
    else:
        print_table("", ("site", "is", "term", "since", "the other one lacks", "why"), [_row(one) for one in seen])
    if any(one.document is None for one in seen):
        raise typer.Exit(ExitCode.FAILED)
    if len(leading) != 1:
        if not json:
            print_warning("Both sites lead." if leading else "No site leads: images of modalities are refused.")
        raise typer.Exit(ExitCode.UNHEALTHY)


@app.command()
def promote(
    name: Name,
    missing: Annotated[
        int | None, typer.Option(min=0, help="Images that may be missing while the primary site answers.")
    ] = None,
    json: Json = False,
) -> None:
    """Make the second site lead, because the primary one is lost. `hapacs dr switch` moves the lead without a loss.

    The primary site stores nothing when it comes back, until `hapacs dr failback`. Acknowledged images that the second
    site lacks are counted, and those that are known by name are kept in a file.
    """
    from hapacs.site import takeover  # noqa: PLC0415 - its clients are slow to import

    sites, began = _sites(name), datetime.now(UTC)
    with Steps(quiet=json).step(f"Promoting {sites.second.name}") as step:
        report = takeover.promote(sites, missing, step.now)
    report["file"] = str(_keep(name, "promote", began, report))
    if json:
        print_json({"deployment": name, **report})
        return
    as_of = f" as of {report['as_of']}" if report["as_of"] else ""
    console.print(f"{sites.second.name} leads with term {report['term']}. Let modalities and workstations use:")
    _print_entry(sites.second)
    more = "" if report["missing_is_all"] else ", and images of the past that were not counted yet"
    if report["as_of"] is None:
        print_warning(f"{sites.primary.name} never said which of its images are missing here.")
    elif report["missing"] or more:
        print_warning(f"{report['missing']:,} acknowledged images are not here{as_of}{more}: {report['file']}")
    else:
        console.print(f"No acknowledged image is missing{as_of}; what came later is not known.")
    console.print(f"Kept: {report['page']}")


@app.command()
def switch(name: Name, wait: Wait = 3600, json: Json = False) -> None:
    """Give the lead to the second site without a loss, for a planned move.

    Both sites get the images of each other first. Then no site stores for some seconds, until they are compared. When
    that fails the lead stays where it was.
    """
    sites = _sites(name)
    _move("switch", name, sites, sites.second, wait, json=json)


@app.command()
def failback(name: Name, wait: Wait = 3600, json: Json = False) -> None:
    """Give the lead back to the primary site without a loss, after it was lost or switched.

    Images that came to the second site meanwhile are copied back, and those that the primary site had not copied yet
    come too. Both sites have the same images before the lead moves; when that fails it stays where it was.
    """
    sites = _sites(name)
    _move("failback", name, sites, sites.primary, wait, json=json)


@app.command()
def resync(
    name: Name,
    site: Annotated[
        str, typer.Option("--from", help="The site whose images are complete. Not given: that leads.")
    ] = "",
    json: Json = False,
) -> None:
    """Ask the other site for all images of one, also for those that it confirmed once, and send what it lacks.

    For a site that was rebuilt, or lost images. It runs in the background; `hapacs dr status` shows how far it is.
    """
    from hapacs.site import takeover  # noqa: PLC0415

    sites = _sites(name)
    with Steps(quiet=json).step("Planning all images again") as step:
        if site:
            (source,) = chosen.sites(name, site)
        else:
            source = next((one.site for one in sites.look() if one.state == "leads"), sites.primary)
        takeover.resync(source)
        step.now(source.name)
    if json:
        print_json({"deployment": name, "from": source.name})


def _move(what: str, name: str, sites: Sites, to: Site, wait: int, *, json: bool) -> None:
    from hapacs.site import second_site, takeover  # noqa: PLC0415

    began = datetime.now(UTC)
    with Steps(quiet=json).step(f"Giving the lead to {to.name}") as step:
        report = takeover.move(sites, to, wait, partial(_prove, name, sites), step.now)
        step.now("comparing both sites once more")
        report["comparison"] = second_site.compare(sites.primary, "")
    report["file"] = str(_keep(name, what, began, report))
    if json:
        print_json({"deployment": name, **report})
        if not report["comparison"]["equal"]:
            raise typer.Exit(ExitCode.FAILED)
        return
    console.print(f"{to.name} leads with term {report['term']}. Let modalities and workstations use:")
    _print_entry(to)
    if report["comparison"]["equal"]:
        console.print(f"Both sites have the same {report['comparison']['compared']:,} images.")
        console.print(f"Kept: {report['page']}")
    else:
        print_warning(f"Both sites do not have the same images: `hapacs dr compare {name}`.")
        raise typer.Exit(ExitCode.FAILED)


def _prove(name: str, sites: Sites) -> None:
    """Compare both sites.

    Raises
    ------
    HapacsError
        When they do not have the same images.
    """
    from hapacs.site import second_site  # noqa: PLC0415

    report = second_site.compare(sites.primary, "")
    if not report["equal"]:
        counts = ", ".join(
            f"{number:,} {kind.replace('_', ' ')}" for kind, number in report["counts"].items() if number
        )
        raise HapacsError(
            f"The sites differ: {counts}.",
            f"`hapacs dr compare {name}` lists the images; `hapacs dr resync {name}` sends again what one site lacks.",
        )


def _sites(name: str) -> Sites:
    from hapacs.site.takeover import Sites as Both  # noqa: PLC0415

    return Both.of(chosen.sites(name, ""))


def _row(seen: Seen) -> tuple[str, ...]:
    if seen.document is None:
        return (seen.site.name, "[red]does not answer[/]", "", "", "", seen.silent)
    if seen.document["site"] is None:
        return (seen.site.name, "copies nothing", "", "", "", "policy.replicate is off")
    here, says = seen.standing, seen.document["says"]
    color = {"leads": "green", "follows": "dim", "fenced": "yellow"}[seen.state]
    lacks = f"{says['images']:,}" + ("" if says["past_ended"] else ", and images of the past")
    since = str(here["changed_at"])[:19]
    return (seen.site.name, f"[{color}]{seen.state}[/]", str(here["term"]), since, lacks, str(here["reason"]))


def _print_entry(site: Site) -> None:
    dicom = site.contract["dicom"]
    also = dicom.get("also")
    for kind, title in (("store", "store_ae"), ("query", "query_ae")):
        titles = dicom[title] + (f" or {also[title]}" if also else "")
        console.print(f"  {kind}: {titles} at {site.vip}:{dicom['port']}")


def _keep(name: str, what: str, began: datetime, report: dict[str, Any]) -> Path:
    """Write what was done to a file of the deployment's state, and as a page beside it; return the file."""
    from hapacs.site import takeover_page  # noqa: PLC0415 - its library is slow to import

    folder = Deployment.load(name).state / "dr"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{began:%Y%m%dT%H%M%S}-{what}.json"
    document = {"deployment": name, "began": began.isoformat(), "ended": datetime.now(UTC).isoformat(), **report}
    path.write_text(json_.dumps(document, indent=2, default=str) + "\n", encoding="utf-8")
    page = path.with_suffix(".html")
    page.write_text(takeover_page.page(document | {"what": what}), encoding="utf-8")
    report["page"] = str(page)
    return path
