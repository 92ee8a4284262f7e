"""`hapacs-node migrate`, `reindex`, `check`, `instance` and `object`."""

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.progress import Progress
from rich.table import Table

from hapacs_node import history, journal, settings
from hapacs_node.catalog import schema
from hapacs_node.cli import copies
from hapacs_node.cli.common import ConfigOption, JsonOption, err, out, print_json
from hapacs_node.cli.node import opened
from hapacs_node.errors import NodeError
from hapacs_node.health import try_once
from hapacs_node.node import Node
from hapacs_node.query import header

app = typer.Typer()


@app.command()
def migrate(config: ConfigOption = settings.DEFAULT_PATH) -> None:
    """Bring the catalog's schema to this program's version (once per site; can be repeated)."""
    with opened(config) as node:
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
    with opened(config) as node:
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
    with opened(config) as node:
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
    with opened(config) as node:
        found = history.of_instance(node.lookup, journal.find, name)
    _show(found, as_json, f"neither the index nor this node's journal has an instance {name}")


@app.command(name="object")
def object_(
    digest: Annotated[str, typer.Argument(help="SHA-256 of the stored bytes.")],
    config: ConfigOption = settings.DEFAULT_PATH,
    as_json: JsonOption = False,
) -> None:
    """Show the copies of an object, and whether they are whole."""
    with opened(config) as node:
        report = node.lookup.by_digest(digest)
    objects = [report] if report["catalog"] else []
    _show(
        {"ok": report["ok"], "node": report["node"], "objects": objects}, as_json, f"no object {digest} in the catalog"
    )


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
