"""Tables `hapacs.scrub` and `hapacs.damage`: progress of reading every copy again, and damaged archive copies.

A shelf is the first two bytes of a digest. So progress is 65,536 rows for each place, however many images there are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from uuid import UUID

from hapacs_node.catalog.database import Connection
from hapacs_node.catalog.objects import COLUMNS, StoredObject

ARCHIVE = "archive"
"""Name of the archive as a place; that of a DAS is ``das NODE``."""

_SHELVES = 256 * 256
# A slow database must end each statement in time.
_AT_A_TIME = 4096
_EXISTS = "select exists (select from hapacs.scrub where place = %(place)s and shelf = %(last)s)"

_PREPARE = """
insert into hapacs.scrub (place, shelf) select %(place)s, generate_series(%(first)s::int, %(last)s::int)
on conflict do nothing
"""

# After a node's death its shelves are claimed again when the lease ends. Shelves that were read together have the same
# time, so they stay neighbours.
_CLAIM = """
update hapacs.scrub set leased_until = clock_timestamp() + %(lease_s)s * interval '1 second'
where place = %(place)s and shelf in (
    select shelf from hapacs.scrub
    where place = %(place)s and coalesce(leased_until, '-infinity') < clock_timestamp()
    and (checked_at is null or checked_at < %(before)s)
    order by checked_at nulls first, shelf limit %(most)s
    for update skip locked
)
returning shelf
"""

_CHECKED = """
update hapacs.scrub set checked_at = now(), leased_until = null
where place = %(place)s and shelf between %(first)s and %(last)s
"""

# One row of those that share a place.
_ROWS = f"""
select distinct on (digest, store, key, "offset") {COLUMNS} from hapacs.object
where digest >= %(first)s and (%(last)s::bytea is null or digest < %(last)s)
order by digest, store, key, "offset", uuid
"""  # noqa: S608 - a constant

_DAMAGED = """
insert into hapacs.damage (uuid, found_by) values (%(uuid)s, %(node)s) on conflict (uuid) do nothing
"""

_OPEN = f"select {COLUMNS} from hapacs.object where uuid in (select uuid from hapacs.damage)"  # noqa: S608

_PROGRESS = """
select place, count(*), count(*) filter (where checked_at >= %(before)s), min(checked_at)
from hapacs.scrub group by place order by place
"""


@dataclass(frozen=True)
class Progress:
    """How much of a place was read.

    Attributes
    ----------
    place : str
        The archive, or the DAS of a node.
    shelves, checked : int
        Shelves, and those that were read since the time that was asked for.
    oldest_at : datetime or None
        When the shelf that was read the longest ago was read; None before any was.
    """

    place: str
    shelves: int
    checked: int
    oldest_at: datetime | None


def prepare(connection: Connection, place: str, first: int) -> int | None:
    """Make some shelves of a place, from a number on, unless they exist; return the number to go on from, if any."""
    found = connection.execute(_EXISTS, {"place": place, "last": _SHELVES - 1}).fetchone()
    if found is not None and found[0]:
        return None
    connection.execute(_PREPARE, {"place": place, "first": first, "last": first + _AT_A_TIME - 1})
    return None if first + _AT_A_TIME == _SHELVES else first + _AT_A_TIME


def claim(connection: Connection, place: str, before: datetime, lease_s: float, most: int) -> list[range]:
    """Claim the shelves that were read the longest ago.

    Parameters
    ----------
    connection : Connection
    place : str
    before : datetime
        What was read since then is left alone.
    lease_s : float
        How long others leave the claimed ones alone.
    most : int
        How many at most.

    Returns
    -------
    list of range
        Neighbours together, in order; none when all were read since `before`, or are claimed.
    """
    found = connection.execute(_CLAIM, {"place": place, "before": before, "lease_s": lease_s, "most": most})
    claimed = sorted(int(row[0]) for row in found)
    # Neighbours have the same distance to their position in the list.
    together = [[shelf for _, shelf in run] for _, run in groupby(enumerate(claimed), lambda at: at[1] - at[0])]
    return [range(run[0], run[-1] + 1) for run in together]


def checked(connection: Connection, place: str, shelves: Sequence[range]) -> None:
    """Record that shelves were read, and end their claim."""
    for run in shelves:
        connection.execute(_CHECKED, {"place": place, "first": run[0], "last": run[-1]})


def rows(connection: Connection, shelves: range) -> list[StoredObject]:
    """List the attachments of neighbouring shelves, removed ones too; of those that share a place one."""
    last = None if shelves.stop == _SHELVES else shelves.stop.to_bytes(2)
    found = connection.execute(_ROWS, {"first": shelves.start.to_bytes(2), "last": last})
    return [StoredObject(*row) for row in found]


def damaged(connection: Connection, row: StoredObject, node: str) -> None:
    """Record that an image has no whole archive copy."""
    connection.execute(_DAMAGED, {"uuid": row.uuid, "node": node})


def open_damage(connection: Connection) -> list[StoredObject]:
    """List the images without a whole archive copy."""
    return [StoredObject(*row) for row in connection.execute(_OPEN)]


def repaired(connection: Connection, uuid: UUID) -> None:
    """Record that an image has a whole archive copy."""
    connection.execute("delete from hapacs.damage where uuid = %(uuid)s", {"uuid": uuid})


def progress(connection: Connection, before: datetime) -> Sequence[Progress]:
    """Return the progress of each place."""
    return [Progress(*row) for row in connection.execute(_PROGRESS, {"before": before})]
