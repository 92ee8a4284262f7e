"""Table `hapacs.heartbeat`: when each service of each node last wrote to the database."""

from hapacs_node.catalog.database import Connection

_BEAT = """
insert into hapacs.heartbeat (node, service, seen_at) values (%(node)s, %(service)s, clock_timestamp())
on conflict (node, service) do update set seen_at = excluded.seen_at
"""


def beat(connection: Connection, node: str, service: str) -> None:
    """Write this service's heartbeat in a real, replicated transaction."""
    connection.execute(_BEAT, {"node": node, "service": service})
