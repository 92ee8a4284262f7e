"""``hapacs study``: deleted studies, and their restoration."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from hapacs.cli import chosen
from hapacs.cli.output import console, errors, print_json, print_table, print_warning
from hapacs.cli.parameters import Json, Name
from hapacs.errors import ExitCode

if TYPE_CHECKING:
    pass

app = typer.Typer(no_args_is_help=True, help="List deleted studies, and restore them.")

Since = Annotated[datetime | None, typer.Option(help="Only what was deleted since then, in UTC.")]
SiteName = Annotated[str, typer.Option("--site", help="Name of the site. Not given: the primary one.")]

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
def restore(
    name: Name,
    study: Annotated[str, typer.Argument(metavar="STUDY_UID", help="Study Instance UID.")],
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
