"""What a manifest of the archive lists: the images that were stored on a day, and those that were removed on it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, LiteralString
from uuid import UUID

from hapacs_node.catalog.database import Connection, Database
from hapacs_node.catalog.index import DICOM

_PAGE = 5000
_STORE = "cas"

# A row of bytes that were there already is left out, because another row has the same digest. What the index refused
# was never acknowledged.
_LISTED = "(r.reason is null or r.reason not in ('resent', 'refused'))"
_UIDS = """
left join attachedfiles file on file.uuid = o.uuid::text and file.filetype = 1
left join resources instance on instance.internalid = file.id and instance.resourcetype = 3
left join resources parent on parent.internalid = instance.parentid
left join dicomidentifiers sop on sop.id = instance.internalid and sop.taggroup = 8 and sop.tagelement = 24
left join dicomidentifiers series on series.id = parent.internalid and series.taggroup = 32 and series.tagelement = 14
left join dicomidentifiers study on study.id = parent.parentid and study.taggroup = 32 and study.tagelement = 13
left join hapacs.removal r on r.uuid = o.uuid
"""
_COLUMNS = (
    "o.uuid, encode(o.digest, 'hex'), o.key, o.\"offset\", o.length, o.type, o.stored_at, "
    "coalesce(study.value, r.study), coalesce(series.value, r.series), coalesce(sop.value, r.sop), "
    "case when o.tombstoned_at is not null then coalesce(r.reason, 'unknown') end"
)
_STORED = f"""
select {_COLUMNS} from hapacs.object o {_UIDS}
where o.stored_at >= %(after)s and (o.stored_at, o.uuid) > (%(after)s, %(uuid)s) and o.stored_at < %(end)s
and o.store = '{_STORE}' and {_LISTED} and (o.type <> {DICOM} or file.id is not null or o.tombstoned_at is not null)
order by o.stored_at, o.uuid limit {_PAGE}
"""  # noqa: S608 - constants
_REMOVED = f"""
select o.tombstoned_at, {_COLUMNS} from hapacs.object o {_UIDS}
where o.tombstoned_at >= %(after)s and (o.tombstoned_at, o.uuid) > (%(after)s, %(uuid)s) and o.tombstoned_at < %(end)s
and o.stored_at < %(start)s and o.store = '{_STORE}' and {_LISTED}
order by o.tombstoned_at, o.uuid limit {_PAGE}
"""  # noqa: S608 - constants
_FIRST = f"select min(stored_at) from hapacs.object where store = '{_STORE}'"  # noqa: S608 - a constant
_NOBODY = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Archived:
    """An image of the archive, or another attachment.

    Attributes
    ----------
    digest : str
        SHA-256 of its bytes.
    key : str
        The archive object.
    offset, length : int
        Its bytes within that object.
    type : int
        Orthanc's content type: 1 for a DICOM file.
    stored_at : datetime
        UTC.
    study, series, sop : str or None
        Its UIDs; None when they are not known, and for what is no image.
    removed : str or None
        Why it was removed, when it was.
    """

    digest: str
    key: str
    offset: int
    length: int
    type: int
    stored_at: datetime
    study: str | None
    series: str | None
    sop: str | None
    removed: str | None


def stored(database: Database, start: datetime, end: datetime) -> Iterator[Archived]:
    """Yield what was stored between two times, in its order; each page is a transaction of its own."""
    names: dict[str, object] = {"after": start, "uuid": _NOBODY, "end": end}
    while page := database.run(partial(_page, query=_STORED, names=names)):
        for row in page:
            yield Archived(*row[1:])
        names |= {"after": page[-1][6], "uuid": page[-1][0]}


def removed(database: Database, start: datetime, end: datetime) -> Iterator[Archived]:
    """Yield what was removed between two times and was stored before them."""
    names: dict[str, object] = {"after": start, "uuid": _NOBODY, "start": start, "end": end}
    while page := database.run(partial(_page, query=_REMOVED, names=names)):
        for row in page:
            yield Archived(*row[2:])
        names |= {"after": page[-1][0], "uuid": page[-1][1]}


def first_stored(connection: Connection) -> datetime | None:
    """Return when the oldest object was stored; None when there is none."""
    row = connection.execute(_FIRST).fetchone()
    return None if row is None else row[0]


def _page(connection: Connection, query: LiteralString, names: dict[str, object]) -> list[tuple[Any, ...]]:
    return connection.execute(query, names).fetchall()
