"""Reads catalog and index in pages and in order, so that they are compared without keeping their rows in memory.

Each page is a short transaction: a long one would keep the database from removing old versions of rows.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from hapacs_node.catalog.database import Connection
from hapacs_node.storage import derived

Order = Literal["uuid", "key", "digest"]


class Row(NamedTuple):
    """A row of the catalog, with UUID and digest as text.

    `settled` is false while the row is younger than the transactions that may still change it.
    """

    uuid: str
    digest: str
    size: int
    store: str
    key: str
    offset: int
    length: int
    removed: bool
    settled: bool


class Indexed(NamedTuple):
    """An attachment in Orthanc's index that the catalog must have."""

    uuid: str
    size: int
    compression: int


class Resource(NamedTuple):
    """A patient, study, series or instance of Orthanc's index."""

    public_id: str
    number: int


_ROW = (
    "o.uuid::text, encode(o.digest, 'hex'), o.size, o.store, o.key, o.\"offset\", o.length, "
    "o.tombstoned_at is not null, greatest(o.stored_at, o.tombstoned_at) <= %(before)s"
)
# Each has an index.
_ORDERS: dict[Order, str] = {"uuid": "o.uuid", "key": 'o.key collate "C"', "digest": "o.digest"}
_AFTER: dict[Order, str] = {"uuid": "%(uuid)s::uuid", "key": "%(key)s", "digest": "decode(%(digest)s, 'hex')"}

_ROWS = """
select {columns} from hapacs.object o
where ({order}, o.uuid) > ({after}, %(uuid)s::uuid)
order by {order}, o.uuid limit %(limit)s
"""

_ARCHIVED = f"filetype <> all(array[{', '.join(map(str, sorted(derived.TYPES)))}])"

_INDEXED = f"""
select uuid, uncompressedsize, compressiontype from attachedfiles
where uuid > %(after)s and {_ARCHIVED}
order by uuid limit %(limit)s
"""  # noqa: S608 - constants

_RESOURCES = """
select publicid, internalid from resources
where (publicid, internalid) > (%(public_id)s, %(number)s)
order by publicid, internalid limit %(limit)s
"""

_PAIRS = f"""
select asked.uuid::text, {_ROW}, f.uncompressedsize, f.compressiontype
from unnest(%(uuids)s::uuid[]) as asked (uuid)
left join hapacs.object o on o.uuid = asked.uuid
left join attachedfiles f on f.uuid = asked.uuid::text and f.{_ARCHIVED}
"""  # noqa: S608

_USED_KEYS = 'select distinct key from hapacs.object where key collate "C" = any(%(keys)s)'

_USED_DIGESTS = "select distinct encode(digest, 'hex') from hapacs.object where digest = any(%(digests)s)"

# Also older than every transaction of this role, which is Orthanc's too. The server's clock wrote the rows' times.
_BEFORE = """
select least(now() - %(age_s)s * interval '1 second', (
    select min(xact_start) from pg_stat_activity where usename = current_user and datname = current_database()
))
"""


_DOUBLED = "select publicid from resources where publicid = any(%(public_ids)s) group by publicid having count(*) > 1"


def before(connection: Connection, age_s: float) -> datetime:
    """Return the time before which rows are settled: an age, or the start of the oldest transaction."""
    found = connection.execute(_BEFORE, {"age_s": age_s}).fetchone()
    assert found is not None  # noqa: S101 - a query without a table has one row
    at: datetime = found[0]
    return at


def rows(connection: Connection, order: Order, after: Row | None, settled: datetime, limit: int) -> list[Row]:
    """Return the next rows of the catalog in an order, removed ones too."""
    # Less than every row.
    last: dict[str, Any] = {"uuid": "00000000-0000-0000-0000-000000000000", "key": "", "digest": ""}
    if after is not None:
        last = {"uuid": after.uuid, "key": after.key, "digest": after.digest}
    query = _ROWS.format(columns=_ROW, order=_ORDERS[order], after=_AFTER[order])
    return [Row(*row) for row in connection.execute(query, {**last, "before": settled, "limit": limit})]


def indexed(connection: Connection, after: Indexed | None, limit: int) -> list[Indexed]:
    """Return the next attachments of the index by UUID, without derived ones."""
    found = connection.execute(_INDEXED, {"after": "" if after is None else after.uuid, "limit": limit})
    return [Indexed(*row) for row in found]


def resources(connection: Connection, after: Resource | None, limit: int) -> list[Resource]:
    """Return the next resources of the index by their public identifier."""
    public_id, number = ("", 0) if after is None else after
    found = connection.execute(_RESOURCES, {"public_id": public_id, "number": number, "limit": limit})
    return [Resource(*row) for row in found]


def pairs(
    connection: Connection, uuids: Sequence[str], settled: datetime
) -> dict[str, tuple[Row | None, Indexed | None]]:
    """Return what catalog and index have of some attachments, both at the same moment."""
    found: dict[str, tuple[Row | None, Indexed | None]] = {}
    for uuid, *row, size, compression in connection.execute(_PAIRS, {"uuids": list(uuids), "before": settled}):
        indexed_ = None if size is None else Indexed(uuid, size, compression)
        found[uuid] = (None if row[0] is None else Row(*row), indexed_)
    return found


def used_keys(connection: Connection, keys: Sequence[str]) -> set[str]:
    """Return those archive objects that rows refer to."""
    return {key for (key,) in connection.execute(_USED_KEYS, {"keys": list(keys)})}


def used_digests(connection: Connection, digests: Sequence[str]) -> set[str]:
    """Return those digests that rows have."""
    wanted = [bytes.fromhex(digest) for digest in digests]
    return {digest for (digest,) in connection.execute(_USED_DIGESTS, {"digests": wanted})}


def doubled(connection: Connection, public_ids: Sequence[str]) -> set[str]:
    """Return those public identifiers that more than one resource has."""
    return {public_id for (public_id,) in connection.execute(_DOUBLED, {"public_ids": list(public_ids)})}
