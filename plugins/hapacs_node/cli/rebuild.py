"""`hapacs-node rebuild`: index and catalog from nothing but the archive."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from hapacs_node import background, log, settings
from hapacs_node.cli.common import ConfigOption, JsonOption, err, errors, out, print_json, to_journal
from hapacs_node.errors import NodeError
from hapacs_node.manifest.run import Manifests
from hapacs_node.node import Node
from hapacs_node.rebuild.contents import Source
from hapacs_node.rebuild.progress import Kind, Progress
from hapacs_node.rebuild.run import Rebuild
from hapacs_node.restore import Orthanc

app = typer.Typer()
_PROGRESS = Path("/var/lib/hapacs/rebuild.sqlite")
_SHOWN_EVERY_S = 1
_LOGGED_EVERY_S = 60
_LISTED_PROBLEMS = 1000
_LOG = log.get("rebuild")


@app.command()
def rebuild(
    *,
    store: Annotated[str, typer.Option(help="The storing Orthanc of a node, https://ADDRESS:PORT.")] = "",
    status: Annotated[bool, typer.Option("--status", help="Only say how far the run of this node is.")] = False,
    from_archive: Annotated[bool, typer.Option("--from-archive", help="Read everything from the archive.")] = False,
    config: ConfigOption = settings.DEFAULT_PATH,
    as_json: JsonOption = False,
    progress: Annotated[Path, typer.Option(help="File in which the progress is kept.")] = _PROGRESS,
) -> None:
    """Store every image of the archive again whose index and catalog are lost. It can be interrupted at any moment.

    Images that the index has are not touched, and bytes are not archived again. Exit codes: 0 all images of the archive
    are in the index; 1 something is damaged or was not read, or a place did not answer; 2 wrong usage.
    """
    if status:
        _print_status(progress, as_json=as_json)
        return
    if not from_archive or not store:
        err.print("give --from-archive, there is no other source, and --store", style="red")
        raise typer.Exit(2)
    to_journal(_LOG)
    with errors(), Progress.open(progress) as kept:
        node = Node.build(settings.load(config), "check")
        source = Source(node.cas, node.das)
        manifests = Manifests(node.settings.site, node.database, node.cas)
        run = Rebuild(node.settings.node, node.storage.catalog, source, kept, Orthanc.of(store).store, manifests)
        began, failure = time.monotonic(), None
        try:
            with _shown(run, disable=as_json):
                run.run()
        except NodeError as error:
            failure = str(error)
        finally:
            node.close()
        document = _document(kept, failure, run.images, time.monotonic() - began)
    if as_json:
        print_json(document)
    else:
        _print(document)
    raise typer.Exit(0 if document["ok"] else 1)


def _print_status(progress: Path, *, as_json: bool) -> None:
    with errors():
        objects, done = Progress.glance(progress)
    if as_json:
        print_json({"objects": objects, "done": done})
    else:
        out.print(f"{done:,} of {objects:,} archive objects read")


def _document(kept: Progress, failure: str | None, images: int, seconds: float) -> dict[str, Any]:
    counts = kept.counts()
    problems = [{**problem._asdict(), "whole_elsewhere": whole} for problem, whole in kept.problems(_LISTED_PROBLEMS)]
    return {
        "ok": failure is None and not counts.lost,
        "failure": failure,
        **asdict(counts),
        "found": sum(counts.images.values()),
        "listed": problems,
        "seconds": round(seconds, 1),
        "images_per_s": round(images / seconds, 1) if seconds else 0,
    }


def _print(document: dict[str, Any]) -> None:
    if document["listed"]:
        table = Table("problem", "object", "at", "image", "particulars", box=None)
        for one in document["listed"]:
            elsewhere = one["whole_elsewhere"] and one["kind"] != Kind.DELETED
            detail = "another copy is whole; " * elsewhere + one["detail"]
            table.add_row(one["kind"], one["key"], f"{one['at']:,}", one["digest"] or "", escape(detail))
        out.print(table)
    states = ", ".join(f"{count:,} {state}" for state, count in sorted(document["images"].items()))
    out.print(
        f"{document['done']:,} of {document['objects']:,} archive objects read, {document['found']:,} images found"
        f"{f': {states}' if states else ''}; {document['lost']:,} lost or not stored; "
        f"{document['in_manifests']:,} listed by manifests; {document['images_per_s']:,} images/s"
    )
    if document["failure"] is not None:
        err.print(f"not complete, run it again: {document['failure']}", style="red")


@contextmanager
def _shown(run: Rebuild, *, disable: bool) -> Iterator[None]:
    """Show how far it is, and write it to the journal."""
    columns = (TextColumn("Reading archive objects"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=err, disable=disable) as bar:
        task = bar.add_task("", total=None)
        logged = time.monotonic()

        def follow() -> None:
            nonlocal logged
            bar.update(task, total=run.objects or None, completed=run.done)
            if time.monotonic() - logged >= _LOGGED_EVERY_S:
                logged = time.monotonic()
                _LOG.info(log.line("rebuild_goes_on", objects=run.objects, done=run.done, images=run.images))

        with background.repeated(follow, _SHOWN_EVERY_S, "progress"):
            yield
