"""Signs of life at the leader: table `hapacs.heartbeat`, when each service last wrote, and sessions of the index."""

from hapacs_node.catalog import site
from hapacs_node.catalog.database import Connection

_BEAT = f"""
insert into hapacs.heartbeat (node, service, seen_at) values (%(node)s, %(service)s, clock_timestamp())
on conflict (node, service) do update set seen_at = excluded.seen_at
returning ({site.FENCED})
"""  # noqa: S608 - a constant

# A server keeps 63 bytes of the name.
_SESSION = "select exists (select from pg_stat_activity where application_name = left(%(application)s, 63))"


def beat(connection: Connection, node: str, service: str) -> str | None:
    """Write this service's heartbeat in a real, replicated transaction; return why the site is fenced, if it is."""
    row = connection.execute(_BEAT, {"node": node, "service": service}).fetchone()
    return None if row is None or row[0] is None else str(row[0])


def has_session(connection: Connection, application: str) -> bool:
    """Return whether the leader has a session of an application."""
    row = connection.execute(_SESSION, {"application": application}).fetchone()
    return row is not None and bool(row[0])
