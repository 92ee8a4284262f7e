"""`hapacs-node replication aside`, `give-way` and `keep`: what was set aside, and what a person decides about it."""

import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from hapacs_node import log, settings
from hapacs_node.catalog import conflicts
from hapacs_node.cli.common import SELF, ConfigOption, JsonOption, err, errors, of_catalog, out, print_json, to_journal

_LOG = log.get("conflicts")
type Decision = Callable[..., list[str]]
Reason = Annotated[str, typer.Option(help="Why, for the records.")]
Operator = Annotated[str, typer.Option(help="Who decides, for the records.")]


def aside(
    *,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="Most images.")] = 1000,
    config: ConfigOption = settings.DEFAULT_PATH,
    as_json: JsonOption = False,
) -> None:
    """List images whose copies were set aside, the latest first. Exit code 1: there are some."""
    with errors(), of_catalog(config, "replication") as database:
        found = database.run(lambda c: conflicts.aside(c, limit))
    if as_json:
        print_json({"aside": [asdict(one) for one in found]})
    else:
        table = Table("image", "digest", "from", "stored", "why", box=None)
        for one in found:
            table.add_row(one.sop, one.digest[:12], one.caller or "", f"{one.stored_at:%Y-%m-%d %H:%M:%S}", one.reason)
        out.print(table)
    raise typer.Exit(1 if found else 0)


def give_way(
    *,
    reason: Reason,
    operator: Operator = SELF,
    config: ConfigOption = settings.DEFAULT_PATH,
    as_json: JsonOption = False,
) -> None:
    """Let the other site's images replace those of this site; standard input has their SOP Instance UIDs.

    Only images whose copies were set aside. Their bytes stay in the archive, and their rows as tombstones.
    """
    _decide(conflicts.give_way, reason, operator, config, as_json=as_json)


def keep(
    *,
    reason: Reason,
    operator: Operator = SELF,
    config: ConfigOption = settings.DEFAULT_PATH,
    as_json: JsonOption = False,
) -> None:
    """Send images again whose copies were set aside; standard input has their SOP Instance UIDs."""
    _decide(conflicts.keep, reason, operator, config, as_json=as_json)


def _decide(decision: Decision, reason: str, operator: str, config: Path, *, as_json: bool) -> None:
    sops = sys.stdin.read().split()
    if not sops:
        err.print("standard input names no image", style="red")
        raise typer.Exit(2)
    to_journal(_LOG)
    with errors(), of_catalog(config, "replication") as database:
        done = database.run(partial(decision, sops=sops, reason=f"{reason} ({operator})"))
    for sop in done:
        _LOG.warning(log.line("conflict_decided", sop=sop, decision=decision.__name__, operator=operator))
    if as_json:
        print_json({"done": done})
    else:
        out.print(f"{len(done):,} of {len(set(sops)):,} images")
    raise typer.Exit(0 if set(done) == set(sops) else 1)
