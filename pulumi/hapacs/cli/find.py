"""``hapacs find``: where an image is, who sent it, and which copies and locks it has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from hapacs.cli.output import console, errors, print_json
from hapacs.cli.parameters import Json, Name
from hapacs.deployment import Deployment
from hapacs.errors import ExitCode

if TYPE_CHECKING:
    from hapacs.site.find import Found

Uid = Annotated[
    str, typer.Argument(metavar="UID", help="SOP, series or study instance UID, or the SHA-256 digest of an object.")
]
Instances = Annotated[bool, typer.Option("--instances", help="List every image of a study or series.")]
Log = Annotated[bool, typer.Option("--log", help="Show the journal lines of all nodes that contain the UID.")]

_NO_ROW = "[red]no row in the catalog[/]"


def find(uid: Uid, name: Name = "lab", instances: Instances = False, log: Log = False, json: Json = False) -> None:
    """Find an image, series or study: sender, online copies, archive objects and locks, at every site.

    Exit code 1: no site knows the UID.
    """
    from hapacs.site.access import sites  # noqa: PLC0415 - its clients are slow to import
    from hapacs.site.find import find as find_at  # noqa: PLC0415
    from hapacs.site.find import kind_of  # noqa: PLC0415

    kind_of(uid)
    deployment = Deployment.load(name)
    with errors.status("Asking the nodes"):
        at = sites(deployment)
        with ThreadPoolExecutor(len(at)) as pool:
            found = list(pool.map(lambda site: find_at(site, uid, log=log), at))
    if json:
        print_json({"deployment": name, "uid": uid, "found": any(found), "sites": [one.document() for one in found]})
    else:
        for one in found:
            for line in lines(one, instances=instances):
                console.print(line, soft_wrap=True)
    if not any(found):
        raise typer.Exit(ExitCode.FAILED)


def lines(found: Found, *, instances: bool) -> Iterator[str]:
    """Yield what is printed of a site."""
    if not found:
        yield f"[bold]{found.site}[/]: not found" + (" on the nodes that answered" if found.silent else "")
    elif found.level in {"study", "series"}:
        yield f"[bold]{found.site}[/]: {found.level} of {len(found.images)} images, {found.total_bytes:,} bytes"
        yield from _summary(found)
        if instances:
            yield from _images(found)
    else:
        yield f"[bold]{found.site}[/]: {found.level}"
        yield from _objects(found)
        yield from _events(found)
    for node, entries in found.journal.items():
        yield f"  journal of {node}: {len(entries)} lines"
        yield from (f"    {escape(entry)}" for entry in entries)
    for node, reason in found.silent.items():
        yield f"  [yellow]![/] {node} did not answer: {escape(reason)}"


def _row(label: str, *values: str) -> Iterator[str]:
    for number, value in enumerate(values):
        yield f"  {label if number == 0 else '':<9} {value}"


def _summary(found: Found) -> Iterator[str]:
    from hapacs.site.find import ends  # noqa: PLC0415

    count = len(found.images)
    yield from _row("study", *sorted({image.study for image in found.images}))
    for series, images in found.by_series.items():
        yield from _row("series", series, f"{images} images")
    times = sorted(image.stored_at for image in found.images if image.stored_at)
    if times:
        yield from _row("stored", f"{_time(times[0])} to {_time(times[-1])}")
    lost = sum(image.digest is None for image in found.images)
    if lost:
        yield from _row("catalog", f"[red]{lost} images have no row[/]")
    yield from _row("online", *(f"{node}: {_share(there, count)}" for node, there in found.online.items()))
    locks = list(found.locks.values())
    good = [lock for lock in locks if not lock.problem]
    yield from _row("archive", f"{_share(len(good), len(locks))} objects locked; {found.replication}")
    for mode in sorted({lock.mode for lock in good}):
        yield from _row("lock", f"{mode} until {_time(ends(good))} or later")
    problems = {key: lock.problem for key, lock in found.locks.items() if lock.problem}
    yield from _row("", *(f"[red]{key}: {escape(problem)}[/]" for key, problem in problems.items()))


def _images(found: Found) -> Iterator[str]:
    for image in found.images:
        yield f"  image     {image.sop}"
        yield from _row("", image.digest or _NO_ROW)


def _objects(found: Found) -> Iterator[str]:
    for image in found.images:
        yield from _row("image", image.sop)
        yield from _row("series", image.series)
        yield from _row("study", image.study)
    objects: dict[str, dict[str, Mapping[str, Any]]] = {}
    for node, report in found.nodes.items():
        for one in report["objects"]:
            objects.setdefault(one["digest"] or _NO_ROW, {})[node] = one
    for digest, reports in objects.items():
        first = next(iter(reports.values()))
        if received := first.get("received"):
            sender = received["calling_title"] or received["protocol"]
            yield from _row("received", f"{_time(received['at'])} from {escape(str(sender))}")
        yield from _row("object", digest)
        for row in first["catalog"]:
            removed = row["tombstoned_at"]
            state = f"removed {_time(removed)}" if removed else "in the index" if row["acknowledged"] else "not indexed"
            stored = f"stored {_time(row['stored_at'])} by {row['node']}"
            yield from _row("", f"{row['size']:,} bytes, {stored}, {state}")
        online = [f"{node} {_state(one['das'])}" for node, one in reports.items() if "das" in one]
        yield from _row("online", ", ".join(online))
        if (archived := first.get("cas")) is not None:
            keys = {str(row["key"]) for row in first["catalog"]}
            shared = sorted(f"shared object {key}" for key in keys if not key.endswith(digest))
            yield from _row("archive", f"{_state(archived)}, {found.replication}", *shared)
            if archived["retention_mode"]:
                yield from _row("lock", f"{archived['retention_mode']} until {_time(archived['retained_until'])}")


def _events(found: Found) -> Iterator[str]:
    events = [(event, node) for node, report in found.nodes.items() for event in report.get("events", ())]
    for event, node in sorted(events, key=lambda item: str(item[0]["at"])):
        who = event.get("caller") or event.get("user") or "nobody"
        where = f" at {event['address']}" if event.get("address") else ""
        outcome = f", {event['outcome']}" if event.get("outcome") else ""
        what = f"{event.get('event', '')}{outcome} on {node}"
        yield from _row("event", f"{_time(event['at'])} {escape(what)}", f"  for {escape(str(who) + where)}")


def _share(there: int, count: int) -> str:
    return f"[{'green' if there == count else 'yellow'}]{there} of {count}[/]"


def _state(copy: Mapping[str, Any]) -> str:
    colour = {"whole": "green", "missing": "yellow"}.get(copy["state"], "red")
    return f"[{colour}]{copy['state']}[/]"


def _time(iso: object) -> str:
    """Return a time in UTC to the second, as people read it."""
    if iso is None:
        return "at an unknown time"
    return f"{datetime.fromisoformat(str(iso)).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
