"""``hapacs study``: what an operator does after a wrong scan, and what was deleted."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape

from hapacs.cli import chosen
from hapacs.cli.output import console, errors, print_json, print_table, print_warning
from hapacs.cli.parameters import Json, Name
from hapacs.errors import ExitCode

if TYPE_CHECKING:
    from hapacs.site.study import Asked

app = typer.Typer(no_args_is_help=True, help="Show, hide, delete and restore studies.")

Since = Annotated[datetime | None, typer.Option(help="Only what was deleted since then, in UTC.")]
SiteName = Annotated[str, typer.Option("--site", help="Name of the site. Not given: the primary one.")]

Uid = Annotated[str, typer.Argument(metavar="STUDY_UID", help="Study Instance UID.")]
SeriesUid = Annotated[str, typer.Option("--series", help="Only this series, by its Series Instance UID.")]
Why = Annotated[str, typer.Option(help="The reason. It is kept in the catalog, and not written to a log.")]
Who = Annotated[str, typer.Option(help="Who asks for it. Not given: the user of this machine.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it. Without this, only what would be done is reported.")]

_GOOD = {"restored", "present"}
_MEANING = {
    "restored": "restored",
    "present": "already in the index",
    "superseded": "not restored: other bytes are stored with the same UIDs",
    "unreadable": "not restored: no whole copy was read",
    "refused": "not restored: Orthanc did not store it",
}


@app.command()
def deleted(name: Name = "lab", since: Since = None, site: SiteName = "", json: Json = False) -> None:
    """List the studies of which images were deleted: when, how many, by which title or user."""
    from hapacs.site.study import deleted as deleted_at  # noqa: PLC0415 - its clients are slow to import

    at = chosen.sites(name, site)[0]
    with errors.status("Asking the catalog"):
        report = deleted_at(at, None if since is None else since.strftime("%Y-%m-%dT%H:%M:%S"))
    if json:
        print_json({"deployment": name, "site": at.name, **report})
    else:
        _print_deleted(at.name, report)
    if report["unread"]:
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def show(name: Name, study: Uid, site: SiteName = "", json: Json = False) -> None:
    """Show under which patient IDs a study is kept, its series, who stored it, corrections and removed images.

    Exit code 1: nothing is known of it.
    """
    from hapacs.site.study import show as show_at  # noqa: PLC0415

    at = chosen.sites(name, site)[0]
    with errors.status("Asking the catalog"):
        report = show_at(at, study)
    if json:
        print_json({"deployment": name, "site": at.name, **report})
    elif not report["ok"]:
        console.print(f"[bold]{at.name}[/] knows nothing of study {study}")
    else:
        _print_shown(report)
    if not report["ok"]:
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def hide(
    name: Name,
    study: Uid,
    *,
    why: Why,
    who: Who = "",
    series: SeriesUid = "",
    yes: Yes = False,
    site: SiteName = "",
    json: Json = False,
) -> None:
    """Hide a study or a series: no client finds or gets it any more. It stays stored; `unhide` shows it again."""
    _correct("hide", name, site, _asked(study, series, who, why, yes=yes), json=json)


@app.command()
def unhide(
    name: Name,
    study: Uid,
    *,
    why: Why,
    who: Who = "",
    series: SeriesUid = "",
    yes: Yes = False,
    site: SiteName = "",
    json: Json = False,
) -> None:
    """Show a hidden study or series to clients again."""
    _correct("unhide", name, site, _asked(study, series, who, why, yes=yes), json=json)


@app.command()
def delete(
    name: Name,
    study: Uid,
    *,
    why: Why,
    who: Who = "",
    series: SeriesUid = "",
    yes: Yes = False,
    site: SiteName = "",
    json: Json = False,
) -> None:
    """Delete a study or a series: each image gets a tombstone, its bytes stay in the archive. `restore` undoes it."""
    _correct("delete", name, site, _asked(study, series, who, why, yes=yes), json=json)


@app.command()
def restore(
    name: Name,
    study: Uid,
    site: SiteName = "",
    json: Json = False,
) -> None:
    """Store the deleted images of a study again, from DAS or archive; images that are in the index are not touched.

    Exit code 1: no image of the study was deleted, or one could not be restored.
    """
    from hapacs.site.study import restore as restore_at  # noqa: PLC0415

    at = chosen.sites(name, site)[0]
    with errors.status("Restoring"):
        report = restore_at(at, study)
    if json:
        print_json({"deployment": name, "site": at.name, **report})
    else:
        _print_restored(report)
    if not report["ok"]:
        raise typer.Exit(ExitCode.FAILED)


def _asked(study: str, series: str, who: str, why: str, *, yes: bool) -> Asked:
    from hapacs.site.study import Asked  # noqa: PLC0415

    return Asked(study, series, who, why, yes)


def _correct(what: Literal["hide", "unhide", "delete"], name: str, site: str, asked: Asked, *, json: bool) -> None:
    from hapacs.site import study  # noqa: PLC0415

    at = chosen.sites(name, site)[0]
    with errors.status("Asking the catalog"):
        report = study.delete(at, asked) if what == "delete" else study.correct(at, what, asked)
    if json:
        print_json({"deployment": name, "site": at.name, **report})
        return
    of = f"series {asked.series} of study {asked.study}" if asked.series else f"study {asked.study}"
    console.print(f"{what} {of}: {report['images']:,} images", soft_wrap=True)
    if report["detail"]:
        console.print(f"Nothing was done: {report['detail']}.")
    elif report["done"]:
        console.print(f"[green]Done[/], as number {report['number']} of `hapacs study show`.")
    else:
        console.print("[yellow]Nothing was done yet[/]: add --yes.")


def _print_shown(report: dict[str, Any]) -> None:
    rows = [
        (
            escape(one["patient_id"]),
            one["uid"],
            one["modality"],
            f"{one['images']:,}",
            escape(", ".join(one["callers"])),
            "" if one["last_at"] is None else _time(one["last_at"]),
            "[yellow]hidden[/]" if one["hidden"] else "",
        )
        for one in report["series"]
    ]
    print_table(report["study"], ("patient ID", "series", "", "images", "stored by", "last stored", ""), rows)
    if removed := report["removed"]["images"]:
        last, by = _time(report["removed"]["last_at"]), escape(", ".join(report["removed"]["callers"]))
        console.print(f"{removed:,} removed images are not in the index, the last one removed {last} by {by}.")
    made = [
        (
            str(one["id"]),
            one["kind"],
            one["series"] or "all",
            _time(one["made_at"]),
            escape(one["who"]),
            escape(one["why"]),
            "" if one["ended_at"] is None else f"{_time(one['ended_at'])} by {escape(one['ended_by'])}",
        )
        for one in report["corrections"]
    ]
    if made:
        print_table("Corrections", ("number", "", "series", "made", "by", "why", "undone"), made)


def _print_deleted(site: str, report: dict[str, Any]) -> None:
    if not report["studies"]:
        console.print(f"[bold]{site}[/]: no study was deleted")
    else:
        rows = [
            (
                study["study"],
                _time(study["last_at"]),
                f"{study['images']:,}",
                f"[{'yellow' if study['missing'] else 'green'}]{study['missing']:,}[/]",
                escape(", ".join(study["callers"])),
                ", ".join(study["nodes"]),
            )
            for study in report["studies"]
        ]
        print_table(site, ("study", "deleted", "images", "not in the index now", "by", "on"), rows)
    if report["unread"]:
        print_warning(f"{report['unread']} deleted images can't be read now, so their studies are not in the list.")


def _print_restored(report: dict[str, Any]) -> None:
    if not report["images"]:
        console.print(f"no image of study {report['study']} was deleted")
    for state, count in report["counts"].items():
        console.print(f"[{'green' if state in _GOOD else 'red'}]{count:,}[/] {_MEANING[state]}")
    for image in report["images"]:
        if image["state"] not in _GOOD:
            console.print(f"  {image['sop']} {image['state']} {escape(image['detail'])}".rstrip(), soft_wrap=True)


def _time(iso: str) -> str:
    return f"{datetime.fromisoformat(iso).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
