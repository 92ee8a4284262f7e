"""Orthanc's own tables in the same database, only ever read here.

An object counts as acknowledged when one of them refers to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from hapacs_node.catalog.database import Connection

DICOM = 1
"""Orthanc's content type of a DICOM file."""
UNCOMPRESSED = 1
"""Orthanc's compression type of bytes kept as received."""


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
        Of the uncompressed bytes, hexadecimal; empty when Orthanc didn't compute it.
    """

    uuid: UUID
    type: int
    size: int
    compression: int
    md5: str


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
        By Orthanc identifier: the same UID can be in several studies.
    """
    found: dict[str, list[Attachment]] = {}
    query = _BY_SOP_INSTANCE_UID if set(name) <= set("0123456789.") else _BY_PUBLIC_ID
    for row in connection.execute(query, {"name": name}):
        found.setdefault(row[0], []).append(_attachment(row[1:]))
    return found


def acknowledged(connection: Connection, uuids: Sequence[UUID]) -> set[UUID]:
    """Tell which of the attachments the index refers to."""
    return {UUID(row[0]) for row in connection.execute(_ACKNOWLEDGED, {"uuids": [str(uuid) for uuid in uuids]})}


def _attachment(row: tuple[object, ...]) -> Attachment:
    uuid, kind, size, compression, md5 = row
    return Attachment(UUID(str(uuid)), int(str(kind)), int(str(size)), int(str(compression)), str(md5))
