"""`hapacs-node commitment`: the service for storage commitment, and the requests of the site."""

import logging
import signal
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from hapacs_node import log, settings
from hapacs_node.catalog import commitment
from hapacs_node.catalog.database import Database
from hapacs_node.cli.common import ConfigOption, JsonOption, errors, out, print_json, to_journal
from hapacs_node.commitment.service import Service
from hapacs_node.commitment.settings import CommitmentSettings
from hapacs_node.metrics import Metrics

app = typer.Typer(no_args_is_help=True, help="Storage commitment: the service, and the requests of the site.")
_SETTINGS = Path("/etc/hapacs-commitment/commitment.json")


@app.command()
def run(
    *,
    own: Annotated[Path, typer.Option("--settings", help="The configuration of the service.")] = _SETTINGS,
    config: ConfigOption = settings.DEFAULT_PATH,
) -> None:
    """Run the service until a signal ends it."""
    to_journal(logging.getLogger(log.ROOT))
    with errors():
        service = Service.build(settings.load(config), CommitmentSettings.load(own))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: service.stop.set())
    service.run()


@app.command("list")
def list_(
    *,
    every: Annotated[bool, typer.Option("--all", help="Also those at their end.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="The most to show.")] = 100,
    config: ConfigOption = settings.DEFAULT_PATH,
    as_json: JsonOption = False,
) -> None:
    """List requests that wait for their check or report, the newest first. Exit code 1: a caller took no report."""
    with errors(), Database(settings.load(config).database, Metrics()) as database:
        found = database.run(lambda c: commitment.listing(c, only_open=not every, limit=limit))
    undelivered = any(one.state == "undelivered" for one in found)
    if as_json:
        print_json({"ok": not undelivered, "requests": [asdict(one) for one in found]})
    else:
        table = Table(
            "caller", "requested", "state", "images", "committed", "failed", "tries", "last problem", box=None
        )
        for one in found:
            numbers = [f"{number:,}" for number in (one.images, one.committed, one.failed, one.attempts)]
            table.add_row(one.caller, f"{one.requested_at:%Y-%m-%d %H:%M}", one.state, *numbers, one.error)
        out.print(table)
    raise typer.Exit(1 if undelivered else 0)
