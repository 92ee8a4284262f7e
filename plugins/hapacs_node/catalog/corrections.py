"""Table `hapacs.correction`: studies and series that were hidden, deleted or moved to another patient.

The query tables, Orthanc's index and the bytes keep what was received. A correction is applied when something is
searched or retrieved, so that it holds for images that come later, and so that it can be undone.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from hapacs_node.catalog.database import Connection
from hapacs_node.errors import RefusedError

Kind = Literal["move", "hide", "delete"]
"""``delete`` is the record of a deletion; the tombstones are its effect."""

_IN_FORCE = "c.ended_at is null and c.kind"


def hidden(study: str, series: str) -> str:
    """Return the SQL condition that a series, or its study, is hidden.

    Parameters
    ----------
    study, series : str
        SQL expressions of the UIDs.
    """
    return (
        f"exists (select from hapacs.correction c where {_IN_FORCE} = 'hide' "
        f"and c.study = {study} and c.series in ('', {series}))"
    )


# Asked again after a lost answer, it returns what it added.
_ADD = """
with added as (
    insert into hapacs.correction (kind, study, series, who, why)
    values (%(kind)s, %(study)s, %(series)s, %(who)s, %(why)s)
    on conflict do nothing returning id
)
select id from added union all
select id from hapacs.correction
where kind = %(kind)s and study = %(study)s and series = %(series)s and ended_at is null
order by id desc limit 1
"""

_END = """
update hapacs.correction set ended_at = clock_timestamp(), ended_by = %(who)s, ended_why = %(why)s
where study = %(study)s and series = %(series)s and kind = %(kind)s and ended_at is null returning id
"""

_OF_STUDY = """
select id, kind, series, who, why, made_at, ended_at, ended_by, ended_why, patient
from hapacs.correction where study = %(study)s order by id
"""

_CHANGE_ANSWERS = f"""
select exists (select from hapacs.correction c where {_IN_FORCE} <> 'delete'
    and (%(study)s::text is null or c.study = %(study)s))
"""  # noqa: S608 - constants

_HIDE = f"""
select exists (select from hapacs.correction c where {_IN_FORCE} = 'hide' and c.study = %(study)s
    and (%(series)s::text is null or c.series in ('', %(series)s)))
"""  # noqa: S608


@dataclass(frozen=True)
class Correction:
    """One row.

    Attributes
    ----------
    id : int
        Its number.
    kind : str
        See `Kind`.
    series : str
        Series Instance UID; empty for the whole study.
    who, why : str
        Who asked for it, and the reason.
    made_at : datetime
        When, UTC.
    ended_at, ended_by, ended_why
        When it was undone, by whom and for what reason; None while it is in force.
    patient : dict or None
        Attributes of the patient of a move, in the DICOM JSON model.
    """

    id: int
    kind: Kind
    series: str
    who: str
    why: str
    made_at: datetime
    ended_at: datetime | None
    ended_by: str | None
    ended_why: str | None
    patient: dict[str, dict[str, Any]] | None


@dataclass(frozen=True)
class Reason:
    """Who asks for a correction, and why; both are kept."""

    who: str
    why: str

    def __post_init__(self) -> None:
        if not self.who.strip() or not self.why.strip():
            raise RefusedError("a correction needs who asks for it and why: both are kept")


def add(connection: Connection, kind: Kind, study: str, series: str, reason: Reason) -> int | None:
    """Record a correction, unless it is in force; return its number."""
    named = {"kind": kind, "study": study, "series": series, "who": reason.who, "why": reason.why}
    row = connection.execute(_ADD, named).fetchone()
    return None if row is None else int(row[0])


def end(connection: Connection, kind: Kind, study: str, series: str, reason: Reason) -> int | None:
    """End the correction in force; return its number, None when there is none."""
    named = {"kind": kind, "study": study, "series": series, "who": reason.who, "why": reason.why}
    row = connection.execute(_END, named).fetchone()
    return None if row is None else int(row[0])


def of_study(connection: Connection, study: str) -> list[Correction]:
    """List all corrections of a study and its series, the first one first."""
    return [Correction(*row) for row in connection.execute(_OF_STUDY, {"study": study})]


def in_force(connection: Connection, kind: Kind, study: str, series: str = "") -> bool:
    """Return whether a correction of exactly this study or series is in force."""
    return any(
        one.kind == kind and one.series == series and one.ended_at is None for one in of_study(connection, study)
    )


def change_answers(connection: Connection, study: str | None = None) -> bool:
    """Return whether a correction is in force that changes what clients get of a study; without one, of any study."""
    row = connection.execute(_CHANGE_ANSWERS, {"study": study}).fetchone()
    return row is not None and bool(row[0])


def hide(connection: Connection, study: str, series: str | None) -> bool:
    """Return whether a series is hidden, or its study; without one, whether any series of the study is."""
    row = connection.execute(_HIDE, {"study": study, "series": series}).fetchone()
    return row is not None and bool(row[0])
