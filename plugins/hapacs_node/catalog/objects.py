"""Table `hapacs.object`: the attachments. Stored images also get a row in `hapacs.event` while rules are active."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from hapacs_node.catalog import headers, site
from hapacs_node.catalog.database import Connection
from hapacs_node.catalog.events import UNROUTED
from hapacs_node.catalog.index import DICOM
from hapacs_node.catalog.rebuild import MARK
from hapacs_node.probe.names import CANARY_CALLER
from hapacs_node.query.header import Header
from hapacs_node.replication.names import CALLER


@dataclass(frozen=True)
class StoredObject:
    """One attachment of Orthanc and the place of its bytes.

    Attributes
    ----------
    uuid : UUID
        Orthanc's name of the attachment.
    digest : str
        SHA-256 of the bytes, 64 hexadecimal digits.
    size : int
        Bytes.
    type : int
        Orthanc's content type: 1 for a DICOM file, 0 for an attachment of a plugin or user.
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
    caller : str or None
        Who stored it: ``title:...`` or ``user:...``; None when it isn't known.
    header : Header or None
        What searches find of a DICOM file that is being stored; it is not part of the row.
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
    caller: str | None = None
    header: Header | None = field(default=None, compare=False, repr=False)


def is_newer(row: StoredObject, than: StoredObject) -> bool:
    """Whether an attachment was stored after another one, or at the same time."""
    return row.stored_at is not None and (than.stored_at is None or row.stored_at >= than.stored_at)


# An image that is rebuilt from the archive is no event: it was sent to other systems when it was stored first.
# Nor is one of the probe, which no other system wants, or a copy of another site, which sent it. A canary of the probe
# has an event for its copy, also after its archive object was rebuilt.
# A fenced site stores copies of the other site, and what its nodes make again themselves; the rows of others return no
# UUID.
# One statement is one transaction and one round trip. It is repeated after a lost acknowledgement of a COMMIT: an equal
# row returns its UUID, and a name that exists with other bytes returns no row.
_ADD = f"""
with given as (
    select * from unnest(
        %(uuids)s::uuid[], %(digests)s::bytea[], %(sizes)s::bigint[], %(types)s::int[], %(stores)s::text[],
        %(keys)s::text[], %(offsets)s::bigint[], %(lengths)s::bigint[], %(nodes)s::text[], %(callers)s::text[]
    ) as g (uuid, digest, size, type, store, key, "offset", length, node, caller)
), stored as (
    insert into hapacs.object as o (uuid, digest, size, type, store, key, "offset", length, node, caller)
    select uuid, digest, size, type, store, key, "offset", length, node, caller from given
    where given.type <> %(dicom)s or given.caller is null or given.caller = %(copies)s or {site.OPEN}
    on conflict (uuid) do update set digest = excluded.digest
    where o.digest = excluded.digest and o.size = excluded.size and o.type = excluded.type and o.tombstoned_at is null
    returning uuid
), event as (
    insert into hapacs.event (uuid, node)
    select uuid, node from stored join given using (uuid)
    where given.type = %(dicom)s and exists (select from hapacs.ruleset where active)
    and case when given.caller = %(canary)s then exists (
        select from hapacs.replication where canary_since is not null)
    else coalesce(given.caller, '') <> all(%(unrouted)s) and not exists (
        select from hapacs.object known where known.digest = given.digest and known.tombstoned_by = %(rebuilt)s)
    end
    on conflict (uuid) do nothing
), described as (
    select g.* from {headers.ROWS} join stored using (uuid)
), {headers.WRITE}
select uuid from stored
"""  # noqa: S608 - constants

COLUMNS = (
    "uuid, encode(digest, 'hex') as digest, size, type, store, key, \"offset\", length, node, stored_at, "
    "tombstoned_at, caller"
)
"""Columns of a StoredObject, in its order."""

_FIND = f"select {COLUMNS} from hapacs.object where uuid = %(uuid)s"  # noqa: S608 - a constant

_FIND_ALL = f"select {COLUMNS} from hapacs.object where uuid = any(%(uuids)s)"  # noqa: S608

_BY_DIGEST = f"select {COLUMNS} from hapacs.object where digest = %(digest)s order by stored_at, uuid"  # noqa: S608

_BY_DIGESTS = f"select {COLUMNS} from hapacs.object where digest = any(%(digests)s)"  # noqa: S608

# By Orthanc's index, whose resource types are 2 for a series and 3 for an instance.
_SERIES = f"""
select {COLUMNS} from (
    select file.uuid::uuid as uuid, sibling.internalid
    from attachedfiles one
    join resources instance on instance.internalid = one.id and instance.resourcetype = 3
    join resources sibling on sibling.parentid = instance.parentid
    join attachedfiles file on file.id = sibling.internalid and file.filetype = 1
    where one.uuid = %(uuid)s
) as files join hapacs.object using (uuid)
order by internalid
"""  # noqa: S608 - a constant

_MOVE = """
update hapacs.object set store = %(store)s, key = %(key)s, "offset" = %(offset)s
where digest = %(digest)s and store = %(old_store)s and key = %(old_key)s and "offset" = %(old_offset)s
"""


def add(connection: Connection, rows: Sequence[StoredObject]) -> set[UUID]:
    """Write the rows of attachments, and the events of DICOM files, in one transaction. It can be repeated.

    Parameters
    ----------
    connection : Connection
        To the leader.
    rows : sequence of StoredObject
        Different attachments.

    Returns
    -------
    set of UUID
        Attachments that the catalog now has. A missing one exists with other bytes, was removed, or came to a fenced
        site.
    """
    parameters: dict[str, Any] = {
        "uuids": [row.uuid for row in rows],
        "digests": [bytes.fromhex(row.digest) for row in rows],
        "sizes": [row.size for row in rows],
        "types": [row.type for row in rows],
        "stores": [row.store for row in rows],
        "keys": [row.key for row in rows],
        "offsets": [row.offset for row in rows],
        "lengths": [row.length for row in rows],
        "nodes": [row.node for row in rows],
        "callers": [row.caller for row in rows],
        "dicom": DICOM,
        "rebuilt": MARK,
        "unrouted": UNROUTED,
        "copies": CALLER,
        "canary": CANARY_CALLER,
        "headers": headers.parameter([(row.uuid, row.header) for row in rows if row.header is not None]),
    }
    return {uuid for (uuid,) in connection.execute(_ADD, parameters)}


def find(connection: Connection, uuid: UUID) -> StoredObject | None:
    """Find an attachment, removed or not."""
    found = connection.execute(_FIND, {"uuid": uuid}).fetchone()
    return None if found is None else StoredObject(*found)


def find_all(connection: Connection, uuids: Sequence[UUID]) -> list[StoredObject]:
    """Find attachments, removed or not."""
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


def move(connection: Connection, row: StoredObject, key: str, offset: int) -> int:
    """Record another place in the archive for the bytes of a row and of all rows that share its place.

    Returns
    -------
    int
        Number of rows.
    """
    old = {"old_store": row.store, "old_key": row.key, "old_offset": row.offset}
    new = {"store": row.store, "key": key, "offset": offset, "digest": bytes.fromhex(row.digest)}
    return connection.execute(_MOVE, old | new).rowcount
