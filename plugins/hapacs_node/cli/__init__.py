"""`hapacs-node`: inspect a node and its stored objects.

Exit codes: 0 all is well; 1 something is missing, damaged or doesn't answer; 2 wrong usage or configuration.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress
from rich.table import Table

from hapacs_node import history, journal, log, settings
from hapacs_node import restore as restore_
from hapacs_node.catalog import schema
from hapacs_node.cli import (
    commitment,
    copies,
    corrections,
    integrity,
    manifest,
    occupancy,
    probe,
    rebuild,
    replication,
    route,
    site,
    studies,
)
from hapacs_node.cli.common import ConfigOption, JsonOption, err, errors, out, print_json, to_journal
from hapacs_node.correction.operator import Corrector
from hapacs_node.errors import NodeError
from hapacs_node.health import try_once
from hapacs_node.node import Node
from hapacs_node.query import header
from hapacs_node.settings import Settings

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
_MOST_STUDIES = 1000

das_app = typer.Typer(no_args_is_help=True, help="Usage of this node's DAS, and eviction.")
app.add_typer(das_app, name="das")

study_app = typer.Typer(no_args_is_help=True, help="Studies: their corrections, deletion and restoration.")
app.add_typer(study_app, name="study")
_STUDY_COMMANDS = (
    corrections.show, corrections.move, corrections.unmove, corrections.merge, corrections.hide, corrections.unhide,
    corrections.delete,
)  # fmt: skip
for command in _STUDY_COMMANDS:
    study_app.command()(command)

app.add_typer(route.route_app, name="route")
app.add_typer(route.outbox_app, name="outbox")
app.add_typer(commitment.app, name="commitment")
app.add_typer(replication.app, name="replication")
app.add_typer(site.app, name="site")
app.add_typer(probe.app, name="probe")

app.command()(integrity.reconcile)
app.command()(integrity.scrub)
app.command()(rebuild.rebuild)
app.command()(manifest.manifest)


def main() -> None:
    """Run the command line."""
    logging.getLogger(log.ROOT).setLevel(logging.ERROR)
    app()


@app.command()
def migrate(config: ConfigOption = settings.DEFAULT_PATH) -> None:
    """Bring the catalog's schema to this program's version (once per site; can be repeated)."""
    with _node(config) as node:
        before, after = schema.migrate(node.database)
        # Before the services of this version answer searches.
        node.refresh.complete()
    if before == after:
        out.print(f"unchanged: the schema is version {after}")
    else:
        out.print(f"changed: the schema went from version {before or 'nothing'} to {after}")


@app.command()
def reindex(config: ConfigOption = settings.DEFAULT_PATH, as_json: JsonOption = False) -> None:
    """Read the images again whose names or other keys an older program or setting has read (can be interrupted)."""
    with _node(config) as node:
        copied, _ = node.refresh.complete()
        waiting = node.storage.catalog.count_outdated(header.described_as(node.settings.undeclared))
        with Progress(console=err, disable=as_json) as progress:
            task = progress.add_task("Reading images", total=waiting)
            renewed = node.refresh.renew(lambda images: progress.advance(task, images))
    if as_json:
        print_json({"ok": not renewed.unreadable, "copied": copied, **asdict(renewed)})
    else:
        out.print(f"{renewed.images} images read, {renewed.unreadable} can't be read now")
    raise typer.Exit(1 if renewed.unreadable else 0)


@app.command()
def check(config: ConfigOption = settings.DEFAULT_PATH, as_json: JsonOption = False) -> None:
    """Check the configuration, and all that a store needs."""
    with _node(config) as node:
        results = {name: try_once(probe) for name, probe in {**node.health.probes, "schema": _schema(node)}.items()}
    ok = all(result.ok for result in results.values())
    if as_json:
        print_json({"ok": ok, "checks": {name: {"ok": r.ok, "detail": r.detail} for name, r in results.items()}})
    else:
        table = Table("", "check", "seen", box=None)
        for name, result in results.items():
            table.add_row("[green]ok[/]" if result.ok else "[red]bad[/]", name, result.detail)
        out.print(table)
    raise typer.Exit(0 if ok else 1)


@app.command()
def instance(
    name: Annotated[str, typer.Argument(help="SOP Instance UID or Orthanc's identifier.")],
    config: ConfigOption = settings.DEFAULT_PATH,
    as_json: JsonOption = False,
) -> None:
    """Show the copies of an instance, whether they are whole, and its events in the journal."""
    with _node(config) as node:
        found = history.of_instance(node.lookup, journal.find, name)
    _show(found, as_json, f"neither the index nor this node's journal has an instance {name}")


@app.command(name="object")
def object_(
    digest: Annotated[str, typer.Argument(help="SHA-256 of the stored bytes.")],
    config: ConfigOption = settings.DEFAULT_PATH,
    as_json: JsonOption = False,
) -> None:
    """Show the copies of an object, and whether they are whole."""
    with _node(config) as node:
        report = node.lookup.by_digest(digest)
    objects = [report] if report["catalog"] else []
    _show(
        {"ok": report["ok"], "node": report["node"], "objects": objects}, as_json, f"no object {digest} in the catalog"
    )


@das_app.command()
def status(config: ConfigOption = settings.DEFAULT_PATH, as_json: JsonOption = False) -> None:
    """Show usage and watermarks of the DAS, and how much can be evicted; samples about 200,000 files."""
    with _node(config) as node:
        report = occupancy.report(node)
    if as_json:
        print_json(report)
    else:
        out.print(occupancy.table(report))
    raise typer.Exit(0 if report["ok"] else 1)


@das_app.command()
def evict(
    config: ConfigOption = settings.DEFAULT_PATH,
    as_json: JsonOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check only; delete nothing.")] = False,
    free: Annotated[int | None, typer.Option(min=0, help="Evict until this many bytes are free.")] = None,
) -> None:
    """Evict the least recently used DAS copies that the archive confirms; keep those below the minimum age."""
    with _node(config) as node:
        outcome = occupancy.make_room(node, until_free=free, dry_run=dry_run)
    short = outcome.freed_bytes < outcome.wanted_bytes
    if as_json:
        print_json({"ok": not short, "dry_run": dry_run, **asdict(outcome)})
    elif not outcome.wanted_bytes:
        out.print("nothing to do: enough is free")
    else:
        verb = "would be evicted" if dry_run else "evicted"
        out.print(
            f"{outcome.objects} objects and {outcome.derived} derived attachments {verb}, {outcome.freed_bytes} of "
            f"{outcome.wanted_bytes} bytes; {outcome.unconfirmed} kept, the archive does not confirm them"
        )
    raise typer.Exit(1 if short else 0)


@study_app.command()
def deleted(
    config: ConfigOption = settings.DEFAULT_PATH,
    as_json: JsonOption = False,
    since: Annotated[datetime | None, typer.Option(help="Only what was deleted since then, UTC.")] = None,
) -> None:
    """List the studies of which images were deleted: when, by whom, and how many are not in the index now."""
    with _node(config) as node:
        unread = restore_.identify(node.storage.catalog, node.storage.reader)
        after = None if since is None else since.replace(tzinfo=UTC)
        document = studies.deleted(node.storage.catalog.deleted_studies(after, _MOST_STUDIES), unread)
    if as_json:
        print_json(document)
    else:
        out.print(studies.deleted_table(document))
        if unread:
            err.print(f"{unread} deleted images can't be read now: their studies are not in the list")
    raise typer.Exit(0 if document["ok"] else 1)


@study_app.command()
def restore(
    study: Annotated[str, typer.Argument(help="Study Instance UID.")],
    store: Annotated[str, typer.Option(help="The storing Orthanc of a node, https://ADDRESS:PORT.")],
    config: ConfigOption = settings.DEFAULT_PATH,
    as_json: JsonOption = False,
    operator: Annotated[str, typer.Option(help="Name for the journal.")] = "root",
) -> None:
    """Store the deleted images of a study again; images that the index has are not touched."""
    to_journal(log.get("restore"))
    with _node(config) as node:
        orthanc = restore_.Orthanc.of(store)
        restoration = restore_.Restoration(node.storage.catalog, node.storage.reader, orthanc.store)
        document = studies.restored(study, restoration.study(study, operator))
        if document["ok"]:
            Corrector(node.database).restored(study, operator)
    if as_json:
        print_json(document)
    elif not document["images"]:
        err.print(f"no image of study {study} was deleted")
    else:
        out.print(", ".join(f"{count} {state}" for state, count in document["counts"].items()))
        if not document["ok"]:
            out.print(studies.restored_table(document))
    raise typer.Exit(0 if document["ok"] else 1)


def _show(found: dict[str, Any], as_json: bool, nothing: str) -> None:
    if as_json:
        print_json(found)
    elif not found["objects"] and not found.get("events"):
        err.print(nothing)
    else:
        for report in found["objects"]:
            out.print(copies.table(report))
        if found.get("events"):
            out.print(copies.events(found["events"]))
    raise typer.Exit(0 if found["ok"] else 1)


def _schema(node: Node) -> Any:
    def probe() -> str:
        version, wanted = node.database.run(schema.current, deadline_s=10), schema.expected()
        if version != wanted:
            raise NodeError(f"version {version or 'nothing'} in place of {wanted}: run `hapacs-node migrate`")
        return f"version {version}"

    return probe


@contextmanager
def _node(config: Path) -> Iterator[Node]:
    with errors():
        node = Node.build(_short(settings.load(config)), "check")
        try:
            yield node
        finally:
            node.close()


def _short(loaded: Settings) -> Settings:
    # A person waits, so the deadlines are short.
    database = loaded.database.model_copy(update={"deadline_s": 10.0, "statement_timeout_s": 5.0})
    cas = loaded.cas.model_copy(update={"deadline_s": 10.0, "attempt_timeout_s": 5.0})
    return loaded.model_copy(update={"database": database, "cas": cas})
