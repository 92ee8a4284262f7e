"""Tables `hapacs.object` and `hapacs.outbox`: the attachments and what is still to be done with them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from hapacs_node.catalog.database import Connection
from hapacs_node.errors import CatalogError


@dataclass(frozen=True)
class StoredObject:
    """One attachment of Orthanc and where its bytes lie.

    Attributes
    ----------
    uuid : UUID
        Orthanc's name of the attachment.
    digest : str
        SHA-256 of the bytes, 64 hexadecimal digits.
    size : int
        Bytes.
    type : int
        Orthanc's content type: 1 is a DICOM file, 0 anything that a plugin or user attached.
    store, key : str
        The archive store and the object in it.
    offset, length : int
        The attachment's bytes within that object.
    node : str
        The node that stored it.
    stored_at : datetime or None
        UTC; None before it is stored.
    tombstoned_at : datetime or None
        When Orthanc removed it; the bytes remain.
    """

    uuid: UUID
    digest: str
    size: int
    type: int
    store: str
    key: str
    offset: int
    length: int
    node: str
    stored_at: datetime | None = None
    tombstoned_at: datetime | None = None


# One statement is one transaction and one round trip. When the acknowledgement of a COMMIT was lost it is sent again:
# the same attachment with the same bytes is then simply confirmed, anything else under the same name gives no row.
_ADD = """
with stored as (
    insert into hapacs.object as o (uuid, digest, size, type, store, key, "offset", length, node)
    values (%(uuid)s, %(digest)s, %(size)s, %(type)s, %(store)s, %(key)s, %(offset)s, %(length)s, %(node)s)
    on conflict (uuid) do update set digest = excluded.digest
    where o.digest = excluded.digest and o.size = excluded.size and o.type = excluded.type and o.tombstoned_at is null
    returning uuid
), outbox as (
    insert into hapacs.outbox (uuid, kind)
    select stored.uuid, kind from stored, unnest(%(outbox)s::text[]) as kind
    on conflict (uuid, kind) do nothing
)
select uuid from stored
"""

_COLUMNS = (
    "uuid, encode(digest, 'hex') as digest, size, type, store, key, \"offset\", length, node, stored_at, tombstoned_at"
)

_FIND = f"select {_COLUMNS} from hapacs.object where uuid = %(uuid)s"  # noqa: S608 - a constant

_FIND_ALL = f"select {_COLUMNS} from hapacs.object where uuid = any(%(uuids)s)"  # noqa: S608

_BY_DIGEST = f"select {_COLUMNS} from hapacs.object where digest = %(digest)s order by stored_at, uuid"  # noqa: S608

_BY_DIGESTS = f"select {_COLUMNS} from hapacs.object where digest = any(%(digests)s)"  # noqa: S608

# Orthanc's index knows what belongs together; its levels are 2 for a series and 3 for an instance.
_SERIES = f"""
select {_COLUMNS} from (
    select file.uuid::uuid as uuid, sibling.internalid
    from attachedfiles one
    join resources instance on instance.internalid = one.id and instance.resourcetype = 3
    join resources sibling on sibling.parentid = instance.parentid
    join attachedfiles file on file.id = sibling.internalid and file.filetype = 1
    where one.uuid = %(uuid)s
) as files join hapacs.object using (uuid)
order by internalid
"""  # noqa: S608 - a constant

_TOMBSTONE = """
update hapacs.object
set tombstoned_at = coalesce(tombstoned_at, clock_timestamp()), tombstoned_by = coalesce(tombstoned_by, %(node)s)
where uuid = %(uuid)s
returning uuid
"""


def add(connection: Connection, row: StoredObject, outbox: Sequence[str]) -> None:
    """Write the row of an attachment and its outbox rows, all or nothing; again is harmless.

    Raises
    ------
    CatalogError
        When the attachment is known with other bytes, or was removed.
    """
    parameters: dict[str, Any] = {
        "uuid": row.uuid,
        "digest": bytes.fromhex(row.digest),
        "size": row.size,
        "type": row.type,
        "store": row.store,
        "key": row.key,
        "offset": row.offset,
        "length": row.length,
        "node": row.node,
        "outbox": list(outbox),
    }
    if connection.execute(_ADD, parameters).fetchone() is None:
        raise CatalogError(f"attachment {row.uuid} is already in the catalog with other bytes")


def find(connection: Connection, uuid: UUID) -> StoredObject | None:
    """Look an attachment up, removed or not."""
    found = connection.execute(_FIND, {"uuid": uuid}).fetchone()
    return None if found is None else StoredObject(*found)


def find_all(connection: Connection, uuids: Sequence[UUID]) -> list[StoredObject]:
    """Look attachments up, removed or not."""
    return [StoredObject(*row) for row in connection.execute(_FIND_ALL, {"uuids": list(uuids)})]


def by_digest(connection: Connection, digest: str) -> list[StoredObject]:
    """List the attachments that have these bytes, the oldest first."""
    found = connection.execute(_BY_DIGEST, {"digest": bytes.fromhex(digest)})
    return [StoredObject(*row) for row in found]


def by_digests(connection: Connection, digests: Sequence[str]) -> list[StoredObject]:
    """List the attachments that have any of these bytes."""
    found = connection.execute(_BY_DIGESTS, {"digests": [bytes.fromhex(digest) for digest in digests]})
    return [StoredObject(*row) for row in found]


def series(connection: Connection, uuid: UUID) -> list[StoredObject]:
    """List the DICOM files of the series that an attachment belongs to, in the order in which they were stored."""
    return [StoredObject(*row) for row in connection.execute(_SERIES, {"uuid": str(uuid)})]


def tombstone(connection: Connection, uuid: UUID, node: str) -> bool:
    """Mark an attachment as removed. The first removal counts; its bytes remain.

    Returns
    -------
    bool
        Whether the catalog knows the attachment.
    """
    return connection.execute(_TOMBSTONE, {"uuid": uuid, "node": node}).fetchone() is not None
