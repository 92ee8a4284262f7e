"""Table `hapacs.correction`: studies and series that were hidden, deleted or moved to another patient.

The query tables, Orthanc's index and the bytes keep what was received. A correction is applied when something is
searched or retrieved, so that it holds for images that come later, and so that it can be undone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from psycopg.types.json import Jsonb

from hapacs_node.catalog.database import Connection
from hapacs_node.correction.patient import TAGS, Move
from hapacs_node.errors import RefusedError
from hapacs_node.query import header
from hapacs_node.query.dicom_json import Json

Kind = Literal["move", "hide", "delete"]
"""``delete`` is the record of a deletion; the tombstones are its effect."""

_IN_FORCE = "c.ended_at is null and c.kind"
_MOVED = f"{_IN_FORCE} = 'move' and c.series = ''"
_FOUND = f"select c.found from hapacs.correction c where {_MOVED}"  # noqa: S608 - constants
_MOVE = f"""
select json_build_object(
    'patient', c.patient, 'at', to_char(c.made_at at time zone 'UTC', 'YYYYMMDDHH24MISS"+0000"'))::text
from hapacs.correction c where {_MOVED}
"""  # noqa: S608


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


def moved(study: str) -> str:
    """Return the SQL expression of the move of a study in force, for `Move.of`.

    Parameters
    ----------
    study : str
        SQL expression of its UID.
    """
    return f"({_MOVE} and c.study = {study})"


def found_of(table: str) -> str:
    """Return the SQL expression of a study's values as they are compared with a patient's attribute.

    Parameters
    ----------
    table : str
        Alias of `hapacs.study`.
    """
    return f"coalesce(({_FOUND} and c.study = {table}.uid), {table}.found)"


PATIENTS = f"""(
    select s.uid as study, s.patient_id, s.found, s.shown from hapacs.study s
    where not exists (select from hapacs.correction c where {_MOVED} and c.study = s.uid)
    union all
    select c.study, c.patient_id, c.found, c.patient from hapacs.correction c where {_MOVED}
)"""  # noqa: S608 - constants
"""All studies with the patient that clients get; each half has an index on the patient ID or is small."""

NAMES = f"""(
    select n.study, n.name from hapacs.study_name n
    where not exists (select from hapacs.correction c where {_MOVED} and c.study = n.study)
    union all
    select c.study, n.name from hapacs.correction c, jsonb_array_elements_text(c.found -> '00100010') as n (name)
    where {_MOVED}
)"""  # noqa: S608
"""The forms of all patients' names that clients get, by study."""

_MOVES = f"""
select c.study, c.patient from hapacs.correction c where {_MOVED} and c.study = any(%(studies)s)
"""  # noqa: S608

# IssuerOfPatientID is 0010,0021.
_OF_PATIENT = f"""
select p.study, p.shown from {PATIENTS} p
where p.patient_id = %(id)s and (%(issuer)s::text is null or coalesce(p.found -> '00100021' ->> 0, '') = %(issuer)s)
order by p.study
"""  # noqa: S608

_PATIENT_OF = f"select p.shown from {PATIENTS} p where p.study = %(study)s"  # noqa: S608

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

_ADD_MOVE = """
insert into hapacs.correction (kind, study, patient, found, patient_id, who, why)
values ('move', %(study)s, %(patient)s, %(found)s, %(patient_id)s, %(who)s, %(why)s) returning id
"""

_END = """
update hapacs.correction set ended_at = clock_timestamp(), ended_by = %(who)s, ended_why = %(why)s
where study = %(study)s and series = %(series)s and kind = %(kind)s and ended_at is null returning id
"""

_OF_STUDY = """
select id, kind, series, who, why, made_at, ended_at, ended_by, ended_why, patient
from hapacs.correction where study = %(study)s order by id
"""

# An image that searches do not know yet is as it was received.
_OF_IMAGE = f"""
select {hidden("i.study", "i.series")}, {moved("i.study")} from hapacs.instance i where i.uuid = %(uuid)s
"""  # noqa: S608

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
    patient: Json | None


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


def moves(connection: Connection, studies: Iterable[str]) -> dict[str, Json]:
    """Return the patients of those of some studies that were moved."""
    found = connection.execute(_MOVES, {"studies": list(studies)})
    return dict(found.fetchall())


def of_patient(connection: Connection, patient_id: str, issuer: str | None) -> dict[str, Json]:
    """Return the studies of a patient with the attributes that clients get.

    Parameters
    ----------
    connection : Connection
        To the leader.
    patient_id : str
        Patient ID that clients get.
    issuer : str or None
        Its issuer; empty for none, None for any.
    """
    return dict(connection.execute(_OF_PATIENT, {"id": patient_id, "issuer": issuer}).fetchall())


def patient_of(connection: Connection, study: str) -> Json | None:
    """Return the attributes of a study that clients get, those of the patient among them; None for an unknown one."""
    row = connection.execute(_PATIENT_OF, {"study": study}).fetchone()
    return None if row is None else row[0]


def move(connection: Connection, studies: Sequence[str], patient: Json, reason: Reason) -> list[int]:
    """Move studies to another patient, all or none, in place of earlier moves; return the corrections' numbers."""
    compared = header.described(patient)
    named = {
        "patient": Jsonb(patient),
        "found": Jsonb(compared.found),
        "patient_id": compared.first(TAGS["PatientID"]),
        "who": reason.who,
        "why": reason.why,
    }
    numbers = []
    with connection.transaction():
        for study in studies:
            end(connection, "move", study, "", reason)
            row = connection.execute(_ADD_MOVE, {**named, "study": study}).fetchone()
            numbers += [] if row is None else [int(row[0])]
    return numbers


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


def of_image(connection: Connection, uuid: UUID) -> tuple[bool, Move | None] | None:
    """Return whether an image is hidden, and the move of its study; None for an image that is in no study."""
    row = connection.execute(_OF_IMAGE, {"uuid": uuid}).fetchone()
    return None if row is None else (bool(row[0]), Move.of(row[1]))
