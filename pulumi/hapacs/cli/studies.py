"""Prints what `hapacs study` reports."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rich.markup import escape

from hapacs.cli.output import console, print_table, print_warning

_GOOD = {"restored", "present"}
_MEANING = {
    "restored": "restored",
    "present": "already in the index",
    "superseded": "not restored: other bytes are stored with the same UIDs",
    "unreadable": "not restored: no whole copy was read",
    "refused": "not restored: Orthanc did not store it",
}


def print_outcome(report: dict[str, Any]) -> None:
    """Print what a correction did, or would do."""
    of = f"study {report['study']}" if report["study"] else f"{len(report['studies'])} studies"
    if report["series"]:
        of = f"series {report['series']} of {of}"
    console.print(f"{report['what']} {of}: {report['images']:,} images", soft_wrap=True)
    for title in ("before", "after"):
        if report[title]:
            console.print(f"  patient {title}: {_patient(report[title])}", soft_wrap=True)
    if report["detail"]:
        console.print(f"Nothing was done: {report['detail']}.")
    elif report["done"]:
        console.print(f"[green]Done[/], as number {report['number']} of `hapacs study show`.")
    else:
        console.print("[yellow]Nothing was done yet[/]: add --yes.")


def print_shown(report: dict[str, Any]) -> None:
    """Print what is known of a study."""
    console.print(f"Clients get it with {_patient(report['patient']) or 'no patient'}.", soft_wrap=True)
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
            _patient(one["patient"]),
            "" if one["ended_at"] is None else f"{_time(one['ended_at'])} by {escape(one['ended_by'])}",
        )
        for one in report["corrections"]
    ]
    if made:
        print_table("Corrections", ("number", "", "series", "made", "by", "why", "patient", "undone"), made)


def print_deleted(site: str, report: dict[str, Any]) -> None:
    """Print deleted studies."""
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


def print_restored(report: dict[str, Any]) -> None:
    """Print what became of the images of a restored study."""
    if not report["images"]:
        console.print(f"no image of study {report['study']} was deleted")
    for state, count in report["counts"].items():
        console.print(f"[{'green' if state in _GOOD else 'red'}]{count:,}[/] {_MEANING[state]}")
    for image in report["images"]:
        if image["state"] not in _GOOD:
            console.print(f"  {image['sop']} {image['state']} {escape(image['detail'])}".rstrip(), soft_wrap=True)


def _patient(values: dict[str, str]) -> str:
    return escape(", ".join(f"{keyword} {value}" for keyword, value in values.items() if value))


def _time(iso: str) -> str:
    return f"{datetime.fromisoformat(iso).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
