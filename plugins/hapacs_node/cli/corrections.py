"""`hapacs-node study show`, `hide`, `unhide` and `delete`: what an operator does after a wrong scan."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from hapacs_node import log, settings
from hapacs_node.catalog.corrections import Reason
from hapacs_node.catalog.database import Database
from hapacs_node.cli.common import SELF, ConfigOption, JsonOption, err, errors, out, print_json, to_journal
from hapacs_node.correction.operator import Corrector, Outcome, Shown
from hapacs_node.metrics import Metrics
from hapacs_node.restore import Orthanc

Study = Annotated[str, typer.Argument(help="Study Instance UID.")]
Series = Annotated[str, typer.Option(help="Only this series, by its Series Instance UID.")]
Why = Annotated[
    str,
    typer.Option(help="The reason, kept in the catalog. With - it comes from standard input: it may name a patient."),
]
Who = Annotated[str, typer.Option(help="Who asks for it. Kept in the catalog, and in the journal.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it. Without this, only what would be done is reported.")]
# A person waits, so the deadlines are short.
_DEADLINES = {"deadline_s": 10.0, "statement_timeout_s": 5.0}


def show(study: Study, *, config: ConfigOption = settings.DEFAULT_PATH, as_json: JsonOption = False) -> None:
    """Show patient IDs, series, callers, corrections and removed images of a study. Exit code 1: it is unknown."""
    with _corrector(config) as corrector:
        found = corrector.show(study)
    if as_json:
        print_json({"ok": found.is_known, **asdict(found)})
    elif not found.is_known:
        err.print(f"nothing is known of study {study}")
    else:
        _print_shown(found)
    raise typer.Exit(0 if found.is_known else 1)


def hide(
    study: Study,
    *,
    why: Why,
    who: Who = SELF,
    series: Series = "",
    yes: Yes = False,
    config: ConfigOption = settings.DEFAULT_PATH,
    as_json: JsonOption = False,
) -> None:
    """Hide a study or a series: it is not found and not given any more, and stays stored."""
    with _corrector(config) as corrector:
        _end(corrector.hide(study, series, _reason(who, why), dry=not yes), yes=yes, as_json=as_json)


def unhide(
    study: Study,
    *,
    why: Why,
    who: Who = SELF,
    series: Series = "",
    yes: Yes = False,
    config: ConfigOption = settings.DEFAULT_PATH,
    as_json: JsonOption = False,
) -> None:
    """Show a hidden study or series to clients again."""
    with _corrector(config) as corrector:
        _end(corrector.unhide(study, series, _reason(who, why), dry=not yes), yes=yes, as_json=as_json)


def delete(
    study: Study,
    *,
    why: Why,
    store: Annotated[str, typer.Option(help="The storing Orthanc of a node, https://ADDRESS:PORT.")],
    who: Who = SELF,
    series: Series = "",
    yes: Yes = False,
    config: ConfigOption = settings.DEFAULT_PATH,
    as_json: JsonOption = False,
) -> None:
    """Delete a study or a series from the index: each image gets a tombstone, and `study restore` stores it again."""
    with _corrector(config) as corrector:
        orthanc, reason = Orthanc.of(store), _reason(who, why)
        done = corrector.delete(study, series, reason, lambda path: orthanc.remove(path, who), dry=not yes)
        _end(done, yes=yes, as_json=as_json)


def _reason(who: str, why: str) -> Reason:
    """Take the reason from standard input when it is ``-``: sudo writes the words of a command to the journal."""
    return Reason(who, sys.stdin.read().strip() if why == "-" else why)


@contextmanager
def _corrector(config: Path) -> Iterator[Corrector]:
    to_journal(log.get("correction"))
    with errors():
        wanted = settings.load(config).database.model_copy(update=_DEADLINES)
        with Database(wanted, Metrics()) as database:
            yield Corrector(database)


def _end(outcome: Outcome, *, yes: bool, as_json: bool) -> None:
    if as_json:
        print_json({"ok": True, "dry": not yes, **asdict(outcome)})
    else:
        of = f"series {outcome.series} of study {outcome.study}" if outcome.series else f"study {outcome.study}"
        done = f"done, number {outcome.number}" if outcome.done else "nothing done yet: add --yes"
        out.print(f"{outcome.what} {of}: {outcome.images} images; {outcome.detail or done}", soft_wrap=True)


def _print_shown(found: Shown) -> None:
    received = Table("patient ID", "series", "", "images", "bytes", "stored by", "last stored", "", box=None)
    for one in found.series:
        last = "" if one.last_at is None else f"{one.last_at:%Y-%m-%d %H:%M}"
        numbers = (f"{one.images:,}", f"{one.size:,}")
        state = "hidden" if one.hidden else ""
        callers = escape(", ".join(one.callers))
        received.add_row(escape(one.patient_id), one.uid, one.modality, *numbers, callers, last, state)
    out.print(received)
    if found.removed.images:
        callers = escape(", ".join(found.removed.callers))
        out.print(f"{found.removed.images} removed images, the last one {found.removed.last_at}, by {callers}")
    made = Table("number", "", "series", "made", "by", "why", "undone", box=None)
    for correction in found.corrections:
        undone = "" if correction.ended_at is None else f"{correction.ended_at:%Y-%m-%d %H:%M} {correction.ended_by}"
        when = f"{correction.made_at:%Y-%m-%d %H:%M}"
        words: list[Any] = [correction.who, correction.why, undone]
        made.add_row(str(correction.id), correction.kind, correction.series or "all", when, *map(escape, words))
    if found.corrections:
        out.print(made)
