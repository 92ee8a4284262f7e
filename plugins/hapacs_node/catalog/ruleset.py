"""Table `hapacs.ruleset`: the rules of the site. All nodes read them, and take up new ones without a restart."""

import json
from collections.abc import Sequence
from typing import Any

from hapacs_node.catalog.database import Connection
from hapacs_node.catalog.tasks import Lane

_CURRENT = "select version, document from hapacs.ruleset"
_VERSION = "select version from hapacs.ruleset"

_LOAD = """
insert into hapacs.ruleset as r (version, document, active, loaded_by)
select 1, %(document)s::jsonb, %(active)s, %(by)s
where %(active)s or exists (select from hapacs.ruleset)
on conflict (single) do update
set version = r.version + 1, document = excluded.document, active = excluded.active, loaded_by = excluded.loaded_by,
    loaded_at = clock_timestamp()
where r.document is distinct from excluded.document
"""

_DESTINATION = """
insert into hapacs.destination (kind, name) select %(kind)s, unnest(%(names)s::text[]) on conflict do nothing
"""


def version(connection: Connection) -> int:
    """Return the version of the rules; 0 before any were loaded."""
    row = connection.execute(_VERSION).fetchone()
    return 0 if row is None else int(row[0])


def current(connection: Connection) -> tuple[int, dict[str, Any]]:
    """Return version and document of the rules; 0 and an empty document before any were loaded."""
    row = connection.execute(_CURRENT).fetchone()
    return (0, {}) if row is None else (int(row[0]), row[1])


def load(
    connection: Connection, document: dict[str, Any], destinations: Sequence[Lane], *, active: bool, by: str
) -> bool:
    """Replace the rules; return whether they are others than before. A site that never had a rule gets no row.

    Parameters
    ----------
    connection : Connection
        To the leader.
    document : dict
        The rules, checked.
    destinations : sequence of Lane
        Those that the rules name.
    active : bool
        Whether any image may match. Without it stored images get no event.
    by : str
        Who loads them.
    """
    parameters = {"document": json.dumps(document, sort_keys=True), "active": active, "by": by}
    with connection.transaction():
        for kind in {lane.kind for lane in destinations}:
            names = [lane.destination for lane in destinations if lane.kind == kind]
            connection.execute(_DESTINATION, {"kind": kind, "names": names})
        return connection.execute(_LOAD, parameters).rowcount > 0
