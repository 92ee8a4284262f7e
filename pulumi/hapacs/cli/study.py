"""``hapacs study``: what an operator does after a wrong scan, and what was deleted."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hapacs.cli import chosen
from hapacs.cli.output import console, errors, print_json
from hapacs.cli.parameters import Json, Name
from hapacs.cli.studies import print_deleted, print_outcome, print_restored, print_shown
from hapacs.errors import ExitCode

if TYPE_CHECKING:
    from hapacs.site.study import Asked, Correction

app = typer.Typer(no_args_is_help=True, help="Show studies; move, hide, delete and restore them.")

Since = Annotated[datetime | None, typer.Option(help="Only what was deleted since then, in UTC.")]
SiteName = Annotated[str, typer.Option("--site", help="Name of the site. Not given: the primary one.")]

Uid = Annotated[str, typer.Argument(metavar="STUDY_UID", help="Study Instance UID.")]
SeriesUid = Annotated[str, typer.Option("--series", help="Only this series, by its Series Instance UID.")]
Why = Annotated[str, typer.Option(help="The reason. It is kept in the catalog, and not written to a log.")]
Who = Annotated[str, typer.Option(help="Who asks for it. Not given: the user of this machine.")]
Issuer = Annotated[str, typer.Option(help="Issuer of the patient ID.")]
PatientName = Annotated[str, typer.Option(help="Family^Given^Middle^Prefix^Suffix.")]
BirthDate = Annotated[str, typer.Option(help="YYYYMMDD.")]
Sex = Annotated[str, typer.Option(help="M, F or O.")]
Like = Annotated[str, typer.Option(metavar="STUDY_UID", help="A study that has the right patient.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it. Without this, only what would be done is reported.")]


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
        print_deleted(at.name, report)
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
        print_shown(report)
    if not report["ok"]:
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def move(
    name: Name,
    study: Uid,
    *,
    why: Why,
    patient_id: Annotated[
        str, typer.Option(help="Patient ID. Alone, it takes the rest from a study of that patient.")
    ] = "",
    issuer: Issuer = "",
    patient_name: PatientName = "",
    birth_date: BirthDate = "",
    sex: Sex = "",
    like: Like = "",
    who: Who = "",
    yes: Yes = False,
    site: SiteName = "",
    json: Json = False,
) -> None:
    """Move a study to another patient, also one that was sent under several patient IDs. `unmove` undoes it.

    The patient is given by its attributes, by its ID, or by a study that it has.
    """
    patient = _patient(patient_id, issuer, patient_name, birth_date, sex)
    _correct("move", name, site, _asked(study, "", who, why, yes=yes, patient=patient, like=like), json=json)


@app.command()
def merge(
    name: Name,
    merged: Annotated[str, typer.Argument(metavar="FROM_PATIENT_ID", help="The patient whose studies are moved.")],
    patient_id: Annotated[str, typer.Argument(metavar="INTO_PATIENT_ID", help="The patient who gets them.")],
    *,
    why: Why,
    from_issuer: Annotated[str, typer.Option(help="Only studies with this issuer of the former patient ID.")] = "",
    issuer: Issuer = "",
    patient_name: PatientName = "",
    birth_date: BirthDate = "",
    sex: Sex = "",
    who: Who = "",
    yes: Yes = False,
    site: SiteName = "",
    json: Json = False,
) -> None:
    """Move all studies of a patient to another one. Without a name, the rest comes from a study of that patient.

    Studies that are stored later under the former patient ID are not moved: run it again.
    """
    patient = _patient(patient_id, issuer, patient_name, birth_date, sex)
    former = _patient(merged, from_issuer, "", "", "")
    _correct("merge", name, site, _asked("", "", who, why, yes=yes, patient=patient, merged=former), json=json)


@app.command()
def unmove(
    name: Name,
    study: Uid,
    *,
    why: Why,
    who: Who = "",
    yes: Yes = False,
    site: SiteName = "",
    json: Json = False,
) -> None:
    """Give a moved study with the patient of its files again."""
    _correct("unmove", name, site, _asked(study, "", who, why, yes=yes), json=json)


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
        print_restored(report)
    if not report["ok"]:
        raise typer.Exit(ExitCode.FAILED)


def _asked(study: str, series: str, who: str, why: str, *, yes: bool, **patients: Any) -> Asked:
    from hapacs.site.study import Asked  # noqa: PLC0415

    return Asked(study, series, who, why, yes, **patients)


def _patient(patient_id: str, issuer: str, name: str, birth_date: str, sex: str) -> dict[str, str]:
    given = {
        "PatientID": patient_id, "IssuerOfPatientID": issuer, "PatientName": name, "PatientBirthDate": birth_date,
        "PatientSex": sex,
    }  # fmt: skip
    return {keyword: value for keyword, value in given.items() if value}


def _correct(what: Correction | Literal["delete"], name: str, site: str, asked: Asked, *, json: bool) -> None:
    from hapacs.site import study  # noqa: PLC0415

    at = chosen.sites(name, site)[0]
    with errors.status("Asking the catalog"):
        report = study.delete(at, asked) if what == "delete" else study.correct(at, what, asked)
    if json:
        print_json({"deployment": name, "site": at.name, **report})
        return
    print_outcome(report)
