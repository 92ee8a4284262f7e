"""`hapacs-node study show`, `move`, `merge`, `hide`, `delete`...: what an operator does after a wrong scan."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Self

import typer
from pydantic import BaseModel, ConfigDict, ValidationError
from rich.markup import escape
from rich.table import Table

from hapacs_node import log, settings
from hapacs_node.catalog.corrections import Reason
from hapacs_node.catalog.database import Database
from hapacs_node.cli.common import SELF, ConfigOption, JsonOption, err, errors, out, print_json, to_journal
from hapacs_node.correction.moving import Mover, Target
from hapacs_node.correction.operator import Corrector, Outcome, Shown
from hapacs_node.correction.patient import values_of, words
from hapacs_node.errors import BadRequestError, CatalogUnavailableError, NodeError
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
    with _corrector(config, as_json=as_json) as corrector:
        found = corrector.show(study)
    if as_json:
        made = [{**asdict(one), "patient": values_of(one.patient or {})} for one in found.corrections]
        print_json({"ok": found.is_known, **asdict(found), "corrections": made})
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
    with _corrector(config, as_json=as_json) as corrector:
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
    with _corrector(config, as_json=as_json) as corrector:
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
    with _corrector(config, as_json=as_json) as corrector:
        orthanc, reason = Orthanc.of(store), _reason(who, why)
        done = corrector.delete(study, series, reason, lambda path: orthanc.remove(path, who), dry=not yes)
        _end(done, yes=yes, as_json=as_json)


def _reason(who: str, why: str) -> Reason:
    """Take the reason from standard input when it is ``-``: sudo writes the words of a command to the journal."""
    return Reason(who, sys.stdin.read().strip() if why == "-" else why)


def move(
    study: Study,
    *,
    who: Who = SELF,
    yes: Yes = False,
    config: ConfigOption = settings.DEFAULT_PATH,
    as_json: JsonOption = False,
) -> None:
    """Move a study to another patient: `{"why": "", "patient": {"PatientID": ""}, "like": ""}` is standard input.

    With PatientID alone, or with the UID `like` of a study, the other attributes come from a study of that patient.
    """
    with _corrector(config, as_json=as_json) as corrector:
        asked = _Asked.read()
        done = Mover(corrector.database).move(study, asked.target, Reason(who, asked.why), dry=not yes)
        _end(done, yes=yes, as_json=as_json)


def merge(
    *,
    who: Who = SELF,
    yes: Yes = False,
    config: ConfigOption = settings.DEFAULT_PATH,
    as_json: JsonOption = False,
) -> None:
    """Move all studies of a patient: standard input as for `move`, and of whom: `"merged": {"PatientID": ""}`."""
    with _corrector(config, as_json=as_json) as corrector:
        asked = _Asked.read()
        done = Mover(corrector.database).merge(asked.merged, asked.target, Reason(who, asked.why), dry=not yes)
        _end(done, yes=yes, as_json=as_json)


def unmove(
    study: Study,
    *,
    why: Why,
    who: Who = SELF,
    yes: Yes = False,
    config: ConfigOption = settings.DEFAULT_PATH,
    as_json: JsonOption = False,
) -> None:
    """Give a moved study with the patient of its files again."""
    with _corrector(config, as_json=as_json) as corrector:
        _end(Mover(corrector.database).unmove(study, _reason(who, why), dry=not yes), yes=yes, as_json=as_json)


class _Asked(BaseModel):
    """What is asked by standard input: patients' attributes must not be in the words of a command."""

    model_config = ConfigDict(extra="forbid")

    why: str
    patient: dict[str, str] = {}
    like: str = ""
    merged: dict[str, str] = {}

    @classmethod
    def read(cls) -> Self:
        """Read it.

        Raises
        ------
        BadRequestError
            When it is no such document.
        """
        try:
            return cls.model_validate_json(sys.stdin.read())
        except ValidationError as error:
            # Not the values: they name a patient.
            where = ", ".join(".".join(map(str, one["loc"])) or "document" for one in error.errors())
            raise BadRequestError(f"standard input is not as `--help` says: {where}") from None

    @property
    def target(self) -> Target:
        """The patient to whom studies are moved."""
        return Target(self.patient, self.like)


@contextmanager
def _corrector(config: Path, *, as_json: bool) -> Iterator[Corrector]:
    """Open the catalog. A refusal is part of a report in JSON: who asked on another machine has to read it."""
    to_journal(log.get("correction"))
    with errors():
        wanted = settings.load(config).database.model_copy(update=_DEADLINES)
        with Database(wanted, Metrics()) as database:
            try:
                yield Corrector(database)
            except CatalogUnavailableError:
                raise
            except NodeError as error:
                if not as_json:
                    raise
                print_json({"ok": False, "error": str(error)})
                raise typer.Exit(1) from None


def _end(outcome: Outcome, *, yes: bool, as_json: bool) -> None:
    if as_json:
        print_json({"ok": True, "dry": not yes, **asdict(outcome)})
    else:
        of = f"series {outcome.series} of study {outcome.study}" if outcome.series else f"study {outcome.study}"
        done = f"done, number {outcome.number}" if outcome.done else "nothing done yet: add --yes"
        of = of if outcome.study else f"{len(outcome.studies)} studies"
        out.print(f"{outcome.what} {of}: {outcome.images} images; {outcome.detail or done}", soft_wrap=True)
        for title, values in (("from", outcome.before), ("to", outcome.after)):
            if values:
                out.print(f"  {title}: {escape(words(values))}", soft_wrap=True)


def _print_shown(found: Shown) -> None:
    out.print(f"clients get: {escape(words(found.patient))}", soft_wrap=True)
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
    made = Table("number", "", "series", "made", "by", "why", "patient", "undone", box=None)
    for correction in found.corrections:
        undone = "" if correction.ended_at is None else f"{correction.ended_at:%Y-%m-%d %H:%M} {correction.ended_by}"
        when = f"{correction.made_at:%Y-%m-%d %H:%M}"
        patient = words(values_of(correction.patient or {}))
        texts = map(escape, (correction.who, correction.why, patient, undone))
        made.add_row(str(correction.id), correction.kind, correction.series or "all", when, *texts)
    if found.corrections:
        out.print(made)
