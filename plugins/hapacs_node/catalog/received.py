"""What index and catalog have of one study: its patients, series and images as they were received."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from hapacs_node.catalog import corrections
from hapacs_node.catalog.database import Connection


@dataclass(frozen=True)
class ReceivedSeries:
    """A series under one patient ID.

    Attributes
    ----------
    patient_id : str
        Patient ID of its files.
    resource : str
        Orthanc's identifier of the series.
    uid, modality : str
        Its UID and modality.
    images, size : int
        Images in the index, and their bytes.
    callers : tuple of str
        Who stored them.
    first_at, last_at : datetime or None
        When the first and the last of them was stored, UTC.
    hidden : bool
        Whether it, or its study, is hidden.
    """

    patient_id: str
    resource: str
    uid: str
    modality: str
    images: int
    size: int
    callers: tuple[str, ...]
    first_at: datetime | None
    last_at: datetime | None
    hidden: bool


@dataclass(frozen=True)
class Removed:
    """The images of a study that were removed on request and are not in the index.

    Attributes
    ----------
    images : int
        How many.
    last_at : datetime or None
        When the last one was removed, UTC; None when none was.
    callers : tuple of str
        Who removed them.
    """

    images: int
    last_at: datetime | None
    callers: tuple[str, ...]


# Orthanc keeps a study once for each patient ID under which it was received. The tag of a study's own row is as the
# file has it; identifiers are in capitals.
_SERIES = f"""
select coalesce(patient.value, ''), r.publicid, uid.value, coalesce(described.modality, ''), count(*),
       coalesce(sum(o.size), 0), array_agg(distinct coalesce(o.caller, 'unknown')), min(o.stored_at), max(o.stored_at),
       {corrections.hidden("study.value", "uid.value")}
from dicomidentifiers study
join resources t on t.internalid = study.id and t.resourcetype = 1
left join maindicomtags patient on patient.id = t.internalid and patient.taggroup = 16 and patient.tagelement = 32
join resources r on r.parentid = t.internalid
join dicomidentifiers uid on uid.id = r.internalid and uid.taggroup = 32 and uid.tagelement = 14
join resources instance on instance.parentid = r.internalid
join attachedfiles file on file.id = instance.internalid and file.filetype = 1
left join hapacs.object o on o.uuid = file.uuid::uuid
left join hapacs.series described on described.study = study.value and described.uid = uid.value
where study.taggroup = 32 and study.tagelement = 13 and study.value = %(study)s
group by 1, 2, 3, 4, study.value
order by 1, min(r.internalid)
"""  # noqa: S608 - constants

_REMOVED = """
select count(distinct r.sop), max(o.tombstoned_at), coalesce(array_agg(distinct coalesce(r.caller, 'unknown')), '{}')
from hapacs.removal r join hapacs.object o using (uuid)
where r.study = %(study)s and r.reason in ('removed', 'unknown') and o.tombstoned_at is not null and not exists (
    select from dicomidentifiers i where i.taggroup = 8 and i.tagelement = 24 and i.value = r.sop)
"""

_RESOURCES = """
select distinct t.publicid from dicomidentifiers study
join resources t on t.internalid = study.id and t.resourcetype = 1
where study.taggroup = 32 and study.tagelement = 13 and study.value = %(study)s
"""


def series(connection: Connection, study: str) -> list[ReceivedSeries]:
    """List the series of a study in the index by patient ID, in the order in which they came."""
    return [
        ReceivedSeries(patient, resource, uid, modality, images, int(size), tuple(callers), first, last, hidden)
        for patient, resource, uid, modality, images, size, callers, first, last, hidden in connection.execute(
            _SERIES, {"study": study}
        )
    ]


def removed(connection: Connection, study: str) -> Removed:
    """Count the removed images of a study that are not in the index."""
    row = connection.execute(_REMOVED, {"study": study}).fetchone()
    return Removed(0, None, ()) if row is None else Removed(row[0], row[1], tuple(row[2]))


def resources(connection: Connection, study: str) -> Sequence[str]:
    """Return Orthanc's identifiers of a study: one for each patient ID under which it was received."""
    return [row[0] for row in connection.execute(_RESOURCES, {"study": study})]
