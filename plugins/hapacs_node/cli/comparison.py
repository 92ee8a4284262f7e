"""`hapacs-node replication compare`: whether the second site has what this one has."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from hapacs_node import log, settings
from hapacs_node.catalog import compared, ruleset
from hapacs_node.catalog.database import Database
from hapacs_node.cli.common import ConfigOption, JsonOption, err, errors, out, print_json, to_journal
from hapacs_node.commitment.ranges import locks as locks_of
from hapacs_node.commitment.settings import CommitmentSettings
from hapacs_node.errors import ConfigurationError, NodeError
from hapacs_node.metrics import Metrics
from hapacs_node.replication.compare import PAUSE_S, Comparison, Listed, Outcome
from hapacs_node.replication.compare_locks import LockComparison
from hapacs_node.replication.locks import Locks
from hapacs_node.replication.model import Outgoing, SecondSite
from hapacs_node.replication.names import RANGES_PATH
from hapacs_node.replication.ranges import Here, There
from hapacs_node.routing import stow
from hapacs_node.routing.peer import Access, Identity
from hapacs_node.settings import Settings
from hapacs_node.storage import s3
from hapacs_node.storage.cas import Cas

_LOG = log.get("comparison")
_TLS = Path("/etc/hapacs-routing/tls")
_ARCHIVE = Path("/etc/hapacs-commitment/commitment.json")
# A range has 50,000 images at most.
_LIMITS = {"connections": 2, "statement_timeout_s": 60.0, "deadline_s": 90.0}
_SHOWN = 20
# A timer of each node starts it once a day, at a random time within hours.
_DAILY_S = 20 * 3600.0
_KINDS = tuple(one.name for one in fields(Outcome) if one.name not in {"compared", "there", "requests"})


def compare(
    *,
    study: Annotated[str | None, typer.Option(help="Only images of this study, by its Study Instance UID.")] = None,
    most: Annotated[int, typer.Option(min=1, max=100_000, help="Most images that are named of each kind.")] = 1000,
    tls: Annotated[Path, typer.Option(help="Folder of replica.crt, replica.key and ca-replica.crt.")] = _TLS,
    locks: Annotated[
        int, typer.Option(min=0, max=1_000_000, help="Most images whose locks are read, after those of the last time.")
    ] = 10_000,
    archive: Annotated[Path, typer.Option(help="Configuration of storage commitment.")] = _ARCHIVE,
    daily: Annotated[
        bool, typer.Option("--daily", help="Only if no node has done it today, and none is at it (for the timer).")
    ] = False,
    config: ConfigOption = settings.DEFAULT_PATH,
    as_json: JsonOption = False,
) -> None:
    """Compare this site's images with those of the second one, by digests of ranges. No image is changed.

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
            here = Here(database, _locks(known, database, archive) if locks else None)
            with _noted(database, every_s=_DAILY_S if daily else None, all_images=study is None) as noted:
                if noted is None:
                    out.print("another node has compared the sites today, or is at it")
                    return
                with stow.connect(second.entry, access) as session, _shown(disable=as_json) as shown:
                    there = There(partial(session.question, RANGES_PATH, unsaid="what it has"))
                    outcome = Comparison(database, there, study, second.past, most, PAUSE_S, shown).run()
                    reading = LockComparison(database, here, there, study, locks, PAUSE_S)
                    start = reading.run(outcome, "" if study else database.run(compared.locks_from))
                noted.append((outcome, start))
    document = report(second.name, outcome, time.monotonic() - began) | {"locks": reading.read}
    _LOG.info(log.line("sites_compared", second_site=second.name, compared=outcome.compared, **document["counts"]))
    if as_json:
        print_json(document)
    else:
        _print(second.name, outcome, document["duration_s"])
        out.print(f"locks of {reading.read:,} images read at both sites")
    raise typer.Exit(0 if document["equal"] else 1)


@contextmanager
def _noted(
    database: Database, *, every_s: float | None, all_images: bool
) -> Iterator[list[tuple[Outcome, str]] | None]:
    """Note in the catalog that all images are compared, and what the block adds: the outcome, and where locks go on.

    The block gets None when another node has compared them within `every_s`, or is at it.
    """
    if not all_images:
        yield []
        return
    if not database.run(lambda c: compared.begin(c, every_s)):
        yield None
        return
    found: list[tuple[Outcome, str]] = []
    try:
        yield found
    except NodeError:
        with suppress(NodeError):
            database.run(compared.release)
        raise
    ((outcome, start),) = found
    counts = {kind: getattr(outcome, kind).count for kind in _KINDS}
    database.run(lambda c: compared.end(c, outcome.compared, counts, start))


def _locks(known: Settings, database: Database, archive: Path) -> Locks:
    cas = Cas(s3.connect(known.cas, metrics := Metrics()), known.cas.deadline_s, metrics)
    found = locks_of(database, cas, CommitmentSettings.load(archive).archive)
    if found is None:
        raise ConfigurationError(f"{archive} has no retention_days: run `hapacs up`, or give --locks 0")
    return found


@contextmanager
def _shown(*, disable: bool) -> Iterator[Callable[[int], None]]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=err, disable=disable) as progress:
        task = progress.add_task("Comparing")
        yield lambda images: progress.update(task, description=f"Comparing: {images:,} images")


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
        "different": "other bytes or locks",
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
