"""Queries on Orthanc's own tables in the same database; this program never writes them.

An object counts as acknowledged when it is in `attachedfiles`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from hapacs_node.catalog.database import Connection

DICOM = 1
"""Orthanc's content type of a DICOM file."""
UNCOMPRESSED = 1
"""Orthanc's compression type of bytes that are stored as received."""


@dataclass(frozen=True)
class Attachment:
    """One row of Orthanc's `attachedfiles`.

    Attributes
    ----------
    uuid : UUID
        The attachment.
    type : int
        Its content type.
    size : int
        Bytes, uncompressed.
    compression : int
        1 for none.
    md5 : str
        MD5 of the uncompressed bytes, hexadecimal; empty when Orthanc didn't compute it.
    """

    uuid: UUID
    type: int
    size: int
    compression: int
    md5: str


@dataclass(frozen=True)
class Origin:
    """Identity of an instance, and how Orthanc received it.

    Attributes
    ----------
    study, series, sop : str
        Study, series and SOP Instance UID.
    sop_class, transfer_syntax : str or None
        Their UIDs.
    received_at : datetime or None
        UTC.
    protocol : str or None
        Orthanc's name of the protocol: ``DicomProtocol``, ``RestApi``, ``Plugins``, ``Lua`` or ``WebDav``.
    calling_title, called_title : str or None
        AE titles of the association, for C-STORE.
    via : str or None
        Address of the connection to Orthanc, which is the balancer's.
    """

    study: str
    series: str
    sop: str
    sop_class: str | None
    transfer_syntax: str | None
    received_at: datetime | None
    protocol: str | None
    calling_title: str | None
    called_title: str | None
    via: str | None


@dataclass(frozen=True)
class Present:
    """An image that is in the index.

    Attributes
    ----------
    digest : str or None
        SHA-256 of its bytes; None when the catalog has no row.
    caller : str or None
        Who stored it: ``title:...`` or ``user:...``; None when it isn't known.
    """

    digest: str | None
    caller: str | None


_WITH_PARENT = """
select d.uuid, d.filetype, d.uncompressedsize, d.compressiontype, coalesce(d.uncompressedhash, ''),
       p.uuid, p.filetype, p.uncompressedsize, p.compressiontype, coalesce(p.uncompressedhash, '')
from attachedfiles d join attachedfiles p on p.id = d.id and p.filetype = %(dicom)s
where d.uuid = %(uuid)s
"""

_PARENTS = """
select d.uuid, d.filetype, d.uncompressedsize, d.compressiontype, coalesce(d.uncompressedhash, ''),
       p.uuid, p.filetype, p.uncompressedsize, p.compressiontype, coalesce(p.uncompressedhash, '')
from attachedfiles d left join attachedfiles p on p.id = d.id and p.filetype = %(dicom)s
where d.uuid = any(%(uuids)s)
"""

_BY_PUBLIC_ID = """
select r.publicid, a.uuid, a.filetype, a.uncompressedsize, a.compressiontype, coalesce(a.uncompressedhash, '')
from resources r join attachedfiles a on a.id = r.internalid
where r.resourcetype = 3 and r.publicid = %(name)s
order by a.filetype, a.uuid
"""

# Tag (0008,0018); Orthanc keeps identifiers in upper case, which changes nothing for a UID.
_BY_SOP_INSTANCE_UID = """
select r.publicid, a.uuid, a.filetype, a.uncompressedsize, a.compressiontype, coalesce(a.uncompressedhash, '')
from dicomidentifiers i
join resources r on r.internalid = i.id and r.resourcetype = 3
join attachedfiles a on a.id = r.internalid
where i.taggroup = 8 and i.tagelement = 24 and i.value = %(name)s
order by r.publicid, a.filetype, a.uuid
"""

# Identifiers of the instance, its series and its study; Orthanc's types of metadata are 2 for the time of reception, 3
# and 12 for the titles, 8 for the protocol, 9 and 10 for the syntax and the class, and 11 for the address.
_ORIGINS = """
select instance.publicid, study.value, series.value, sop.value, (
    select jsonb_object_agg(m.type, m.value) from metadata m
    where m.id = instance.internalid and m.type in (2, 3, 8, 9, 10, 11, 12)
)
from resources instance
join dicomidentifiers sop on sop.id = instance.internalid and sop.taggroup = 8 and sop.tagelement = 24
join dicomidentifiers series
    on series.id = instance.parentid and series.taggroup = 32 and series.tagelement = 14
join resources parent on parent.internalid = instance.parentid
join dicomidentifiers study on study.id = parent.parentid and study.taggroup = 32 and study.tagelement = 13
where instance.resourcetype = 3 and instance.publicid = any(%(names)s)
"""

# Of images from before the catalog knew callers, Orthanc's metadata 3 has the title.
_PRESENT = """
select encode(o.digest, 'hex'), coalesce(o.caller, 'title:' || nullif(title.value, ''))
from dicomidentifiers sop
join resources instance on instance.internalid = sop.id and instance.resourcetype = 3
join resources parent on parent.internalid = instance.parentid
join dicomidentifiers series on series.id = parent.internalid and series.taggroup = 32 and series.tagelement = 14
join dicomidentifiers study on study.id = parent.parentid and study.taggroup = 32 and study.tagelement = 13
join attachedfiles file on file.id = instance.internalid and file.filetype = 1
left join metadata title on title.id = instance.internalid and title.type = 3
left join hapacs.object o on o.uuid = file.uuid::uuid
where sop.taggroup = 8 and sop.tagelement = 24 and sop.value = %(sop)s
and series.value = %(series)s and study.value = %(study)s
"""

_ACKNOWLEDGED = "select uuid from attachedfiles where uuid = any(%(uuids)s)"


def with_parent(connection: Connection, uuid: UUID) -> tuple[Attachment, Attachment] | None:
    """Find a derived attachment and the DICOM file that it was derived from."""
    row = connection.execute(_WITH_PARENT, {"uuid": str(uuid), "dicom": DICOM}).fetchone()
    return None if row is None else (_attachment(row[:5]), _attachment(row[5:]))


def parents(connection: Connection, uuids: Sequence[UUID]) -> dict[UUID, tuple[Attachment, Attachment | None]]:
    """Find derived attachments that the index refers to, each with its DICOM file if that is in the index."""
    found = connection.execute(_PARENTS, {"uuids": [str(uuid) for uuid in uuids], "dicom": DICOM})
    return {UUID(row[0]): (_attachment(row[:5]), _attachment(row[5:]) if row[5] else None) for row in found}


def instances(connection: Connection, name: str) -> dict[str, list[Attachment]]:
    """List the attachments of an instance.

    Parameters
    ----------
    name : str
        A SOP Instance UID or Orthanc's identifier of the instance.

    Returns
    -------
    dict
        Attachments by Orthanc identifier; the same UID can be in several studies.
    """
    found: dict[str, list[Attachment]] = {}
    query = _BY_SOP_INSTANCE_UID if set(name) <= set("0123456789.") else _BY_PUBLIC_ID
    for row in connection.execute(query, {"name": name}):
        found.setdefault(row[0], []).append(_attachment(row[1:]))
    return found


def origins(connection: Connection, names: Sequence[str]) -> dict[str, Origin]:
    """Find identity and origin of instances by their Orthanc identifiers."""
    found = {}
    for name, study, series, sop, metadata in connection.execute(_ORIGINS, {"names": list(names)}):
        known = {int(kind): str(value) for kind, value in (metadata or {}).items() if value}
        found[name] = Origin(
            study=study,
            series=series,
            sop=sop,
            sop_class=known.get(10),
            transfer_syntax=known.get(9),
            received_at=_time(known.get(2)),
            protocol=known.get(8),
            calling_title=known.get(3),
            called_title=known.get(12),
            via=known.get(11),
        )
    return found


def acknowledged(connection: Connection, uuids: Sequence[UUID]) -> set[UUID]:
    """Return those attachments that are in the index."""
    return {UUID(row[0]) for row in connection.execute(_ACKNOWLEDGED, {"uuids": [str(uuid) for uuid in uuids]})}


def present(connection: Connection, study: str, series: str, sop: str) -> list[Present]:
    """List the images with these UIDs; the index has several when patients differ."""
    found = connection.execute(_PRESENT, {"study": study, "series": series, "sop": sop})
    return [Present(*row) for row in found]


def _attachment(row: tuple[object, ...]) -> Attachment:
    uuid, kind, size, compression, md5 = row
    return Attachment(UUID(str(uuid)), int(str(kind)), int(str(size)), int(str(compression)), str(md5))


def _time(text: str | None) -> datetime | None:
    # As 20261128T093000, in UTC.
    return None if text is None else datetime.strptime(text, "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
