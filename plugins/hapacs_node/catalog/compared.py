"""Table `hapacs.comparison`: when all images were compared with those of the second site, and what differed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from psycopg.types.json import Jsonb

from hapacs_node.catalog.database import Connection
from hapacs_node.replication.names import DESTINATION

# A node that compares may die.
_AT_WORK = "interval '6 hours'"

_BEGIN = f"""
insert into hapacs.comparison as c (destination, began_at) values (%(destination)s, clock_timestamp())
on conflict (destination) do update set began_at = excluded.began_at
where %(every_s)s::float8 is null or (
    coalesce(c.ended_at, '-infinity') < clock_timestamp() - %(every_s)s * interval '1 second'
    and (c.ended_at >= c.began_at or c.began_at < clock_timestamp() - {_AT_WORK}))
returning true
"""  # noqa: S608 - a constant

_END = """
update hapacs.comparison set ended_at = clock_timestamp(), compared = %(compared)s, counts = %(counts)s,
    locks_from = %(locks_from)s
where destination = %(destination)s
"""

_RELEASE = """
update hapacs.comparison set began_at = coalesce(ended_at, '-infinity') where destination = %(destination)s
"""

# Until the first one has ended, the time counts since the copies began.
_LAST = """
select coalesce(c.ended_at, r.since), coalesce(c.compared, 0), coalesce(c.counts, '{}')
from hapacs.replication r left join hapacs.comparison c on c.destination = r.destination
where r.destination = %(destination)s
"""


@dataclass(frozen=True)
class Compared:
    """The last comparison of all images.

    Attributes
    ----------
    at : datetime
        When it ended, or before the first one when the copies began. UTC.
    images : int
        Images of this site.
    counts : mapping
        Numbers of images by how they differ; empty before the first one.
    """

    at: datetime
    images: int
    counts: Mapping[str, int]


def begin(connection: Connection, every_s: float | None) -> bool:
    """Note that a comparison of all images begins.

    Parameters
    ----------
    every_s : float or None
        Only when the last one ended longer ago, and no other node is at it. None: in any case.

    Returns
    -------
    bool
        Whether it may begin.
    """
    names = {"destination": DESTINATION, "every_s": every_s}
    return connection.execute(_BEGIN, names).fetchone() is not None


def end(connection: Connection, compared: int, counts: Mapping[str, int], locks_from: str) -> None:
    """Note what a comparison of all images has found, and where the next one goes on with locks."""
    names = {"destination": DESTINATION, "compared": compared, "counts": Jsonb(dict(counts))}
    connection.execute(_END, {**names, "locks_from": locks_from})


def locks_from(connection: Connection) -> str:
    """Return the SOP Instance UID with which a comparison begins to read locks; empty for the beginning."""
    query = "select locks_from from hapacs.comparison where destination = %(destination)s"
    row = connection.execute(query, {"destination": DESTINATION}).fetchone()
    return "" if row is None else str(row[0])


def release(connection: Connection) -> None:
    """Let another node begin: this one could not compare all images."""
    connection.execute(_RELEASE, {"destination": DESTINATION})


def last(connection: Connection) -> Compared | None:
    """Return the last comparison of all images; None when nothing is copied."""
    row = connection.execute(_LAST, {"destination": DESTINATION}).fetchone()
    return None if row is None else Compared(*row)
