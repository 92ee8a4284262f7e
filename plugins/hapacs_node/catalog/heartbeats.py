"""Signs of life at the leader: table `hapacs.heartbeat`, when each service last wrote, and sessions of the index."""

from hapacs_node.catalog.database import Connection

_BEAT = """
insert into hapacs.heartbeat (node, service, seen_at) values (%(node)s, %(service)s, clock_timestamp())
on conflict (node, service) do update set seen_at = excluded.seen_at
"""

# A server keeps 63 bytes of the name.
_SESSION = "select exists (select from pg_stat_activity where application_name = left(%(application)s, 63))"


def beat(connection: Connection, node: str, service: str) -> None:
    """Write this service's heartbeat in a real, replicated transaction."""
    connection.execute(_BEAT, {"node": node, "service": service})


def has_session(connection: Connection, application: str) -> bool:
    """Return whether the leader has a session of an application."""
    row = connection.execute(_SESSION, {"application": application}).fetchone()
    return row is not None and bool(row[0])
