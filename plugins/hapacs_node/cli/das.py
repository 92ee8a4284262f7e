"""`hapacs-node das`: usage of this node's DAS, and eviction."""

from dataclasses import asdict
from typing import Annotated

import typer

from hapacs_node import settings
from hapacs_node.cli import occupancy
from hapacs_node.cli.common import ConfigOption, JsonOption, out, print_json
from hapacs_node.cli.node import opened

app = typer.Typer(no_args_is_help=True, help="Usage of this node's DAS, and eviction.")


@app.command()
def status(config: ConfigOption = settings.DEFAULT_PATH, as_json: JsonOption = False) -> None:
    """Show usage and watermarks of the DAS, and how much can be evicted; samples about 200,000 files."""
    with opened(config) as node:
        report = occupancy.report(node)
    if as_json:
        print_json(report)
    else:
        out.print(occupancy.table(report))
    raise typer.Exit(0 if report["ok"] else 1)


@app.command()
def evict(
    config: ConfigOption = settings.DEFAULT_PATH,
    as_json: JsonOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check only; delete nothing.")] = False,
    free: Annotated[int | None, typer.Option(min=0, help="Evict until this many bytes are free.")] = None,
) -> None:
    """Evict the least recently used DAS copies that the archive confirms; keep those below the minimum age."""
    with opened(config) as node:
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
