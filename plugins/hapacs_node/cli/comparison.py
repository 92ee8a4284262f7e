"""`hapacs-node replication compare`: whether the second site has what this one has."""

import time
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from hapacs_node import log, settings
from hapacs_node.catalog import ruleset
from hapacs_node.catalog.database import Database
from hapacs_node.cli.common import ConfigOption, JsonOption, err, errors, out, print_json, to_journal
from hapacs_node.errors import ConfigurationError
from hapacs_node.metrics import Metrics
from hapacs_node.replication.compare import PAUSE_S, Comparison, Listed, Outcome
from hapacs_node.replication.model import Outgoing, SecondSite
from hapacs_node.replication.ranges import There, post
from hapacs_node.routing import stow
from hapacs_node.routing.peer import Access, Identity

_LOG = log.get("comparison")
_TLS = Path("/etc/hapacs-routing/tls")
# A range has 50,000 images at most.
_LIMITS = {"connections": 2, "statement_timeout_s": 60.0, "deadline_s": 90.0}
_SHOWN = 20
_KINDS = tuple(one.name for one in fields(Outcome) if one.name not in {"compared", "there", "requests"})


def compare(
    *,
    study: Annotated[str | None, typer.Option(help="Only images of this study, by its Study Instance UID.")] = None,
    most: Annotated[int, typer.Option(min=1, max=100_000, help="Most images that are named of each kind.")] = 1000,
    tls: Annotated[Path, typer.Option(help="Folder of replica.crt, replica.key and ca-replica.crt.")] = _TLS,
    config: ConfigOption = settings.DEFAULT_PATH,
    as_json: JsonOption = False,
) -> None:
    """Compare this site's images with those of the second one, by digests of ranges. Nothing is changed.

    Exit codes: 0 both sites have the same images; 1 they differ, or a site does not answer; 2 wrong usage.
    """
    to_journal(_LOG)
    began = time.monotonic()
    with errors():
        known = settings.load(config)
        limits = known.database.model_copy(update=_LIMITS)
        with Database(limits, Metrics(), application=f"hapacs-compare@{known.node}") as database:
            second = _second(database)
            access = Access(Identity(tls / "replica.crt", tls / "replica.key", tls / "ca-replica.crt"))
            columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
            with (
                stow.connect(second.entry, access) as session,
                Progress(*columns, console=err, disable=as_json) as progress,
            ):
                task = progress.add_task("Comparing")
                comparison = Comparison(
                    database, There(partial(post, session)), study, second.past, most, PAUSE_S,
                    shown=lambda images: progress.update(task, description=f"Comparing: {images:,} images"),
                )  # fmt: skip
                outcome = comparison.run()
    document = report(second.name, outcome, time.monotonic() - began)
    counts = {kind: getattr(outcome, kind).count for kind in _KINDS}
    _LOG.info(log.line("sites_compared", second_site=second.name, compared=outcome.compared, **counts))
    if as_json:
        print_json(document)
    else:
        _print(second.name, outcome, document["duration_s"])
    raise typer.Exit(0 if document["equal"] else 1)


def report(name: str, outcome: Outcome, duration_s: float) -> dict[str, Any]:
    """Return the report of a comparison: lists of SOP Instance UIDs, their full counts, and reasons."""
    listed: dict[str, Listed] = {kind: getattr(outcome, kind) for kind in _KINDS}
    return {
        "equal": not outcome.differences,
        "second_site": name,
        "compared": outcome.compared,
        "there": outcome.there,
        **{kind: list(one.images) for kind, one in listed.items()},
        "counts": {kind: one.count for kind, one in listed.items()},
        "reasons": {sop: why for one in listed.values() for sop, why in one.images.items() if why},
        "duration_s": round(duration_s, 1),
    }


def _second(database: Database) -> SecondSite:
    _, document = database.run(ruleset.current)
    if (second := Outgoing.model_validate(document).second_site) is None:
        raise ConfigurationError(
            "this site copies nothing: compare at the site with `policy.replicate`, or switch it on with `hapacs up`"
        )
    return second


def _print(name: str, outcome: Outcome, duration_s: float) -> None:
    meanings = {
        "only_here": "only at this site",
        "only_there": f"only at {name}",
        "different": "other bytes at each site",
        "waiting": "copy under way",
        "deleted_here": f"deleted here, still at {name}",
        "left_out": "from before the copies began, not copied",
    }
    table = Table("", "images", "for example", "why", box=None)
    for kind, meaning in meanings.items():
        listed: Listed = getattr(outcome, kind)
        for number, (sop, why) in enumerate(list(listed.images.items())[:_SHOWN]):
            table.add_row(meaning if number == 0 else "", f"{listed.count:,}" if number == 0 else "", sop, why)
    if table.row_count:
        out.print(table)
    equal = "both sites have the same images" if not outcome.differences else "the sites differ"
    out.print(f"{outcome.compared:,} images compared with {outcome.there:,} of {name} in {duration_s:.0f} s: {equal}")
