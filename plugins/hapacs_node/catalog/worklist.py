"""Table `hapacs.worklist`: scheduled procedure steps. Any node takes and answers them, and they survive each."""

import json
from datetime import timedelta
from uuid import UUID

from hapacs_node.catalog.database import Connection
from hapacs_node.query.dicom_json import Json
from hapacs_node.worklist.entry import Entry

# A day more, because a day of the site may end half a day after that of UTC.
_KEEP = """
insert into hapacs.worklist as w (name, document, starts, expires_at, changed_by)
select %(name)s, %(document)s::jsonb, %(starts)s, %(starts)s::date + interval '1 day' + %(keep)s, %(by)s
where exists (select from hapacs.worklist where name = %(name)s)
   or (select count(*) from hapacs.worklist) < %(most)s
on conflict (name) do update
set document = excluded.document, starts = excluded.starts, expires_at = excluded.expires_at,
    changed_by = excluded.changed_by, changed_at = clock_timestamp()
returning xmax = 0
"""

_EXPIRED = "delete from hapacs.worklist where expires_at <= clock_timestamp()"
_DELETE = "delete from hapacs.worklist where name = %(name)s"
_ONE = "select document from hapacs.worklist where name = %(name)s and expires_at > clock_timestamp()"
_ALL = "select document from hapacs.worklist where expires_at > clock_timestamp() order by starts, name"


def keep(connection: Connection, entry: Entry, days: timedelta, by: str, most: int) -> bool | None:
    """Keep an entry, and forget those whose time is over.

    Parameters
    ----------
    connection : Connection
        To the leader.
    entry : Entry
        The entry.
    days : timedelta
        How long it is kept after the day on which its step starts.
    by : str
        The user who sent it.
    most : int
        Most entries.

    Returns
    -------
    bool or None
        Whether it is new; None when there are too many.
    """
    parameters = {
        "name": entry.name,
        "document": json.dumps(entry.document),
        "starts": entry.starts,
        "keep": days,
        "by": by,
        "most": most,
    }
    with connection.transaction():
        connection.execute(_EXPIRED)
        row = connection.execute(_KEEP, parameters).fetchone()
    return None if row is None else bool(row[0])


def delete(connection: Connection, name: UUID) -> bool:
    """Delete an entry; return whether there was one."""
    return connection.execute(_DELETE, {"name": name}).rowcount > 0


def find(connection: Connection, name: UUID) -> Json | None:
    """Return an entry; None when there is none."""
    row = connection.execute(_ONE, {"name": name}).fetchone()
    return None if row is None else row[0]


def every(connection: Connection) -> list[Json]:
    """Return all entries by the day on which their steps start."""
    return [row[0] for row in connection.execute(_ALL)]
