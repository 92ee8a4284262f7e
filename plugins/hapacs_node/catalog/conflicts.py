"""Copies that were set aside, and what a person decides about two images with the same UIDs and other bytes.

Each site keeps its own image until somebody has chosen: then the other one is treated as a copy, which the chosen image
replaces when it comes. Its bytes stay in the archive, and its row stays as a tombstone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from hapacs_node.catalog.database import Connection
from hapacs_node.catalog.tasks import REPLICATE
from hapacs_node.replication.names import CALLER, DESTINATION

_ASIDE = f"t.kind = '{REPLICATE}' and t.destination = '{DESTINATION}' and t.state = 'dead' and o.tombstoned_at is null"

_LIST = f"""
select t.study, t.sop, encode(o.digest, 'hex'), o.caller, o.stored_at, t.reason
from hapacs.task t join hapacs.object o on o.uuid = t.uuid
where {_ASIDE} order by o.stored_at desc, t.id limit %(limit)s
"""  # noqa: S608 - constants

# The caller of before is kept in the reason of the task, which stays as long as the row of its image.
_GIVE_WAY = f"""
with given as (
    select t.id, o.uuid, o.caller from hapacs.task t join hapacs.object o on o.uuid = t.uuid
    where {_ASIDE} and t.sop = any(%(sops)s)
    for update of t, o
), relabeled as (
    update hapacs.object o set caller = '{CALLER}' from given where o.uuid = given.uuid
)
update hapacs.task t set state = 'dropped', ended_at = clock_timestamp(),
    reason = %(reason)s || '; it came from ' || coalesce(given.caller, 'an unknown caller')
from given where t.id = given.id
returning t.sop
"""  # noqa: S608 - constants

_KEEP = f"""
update hapacs.task t
set state = 'waiting', due_at = clock_timestamp(), ended_at = null, taken_at = null, attempts = 0, reason = %(reason)s
from hapacs.object o
where o.uuid = t.uuid and {_ASIDE} and t.sop = any(%(sops)s)
returning t.sop
"""  # noqa: S608 - constants


@dataclass(frozen=True)
class Aside:
    """A copy that was set aside.

    Attributes
    ----------
    study, sop : str
        Its UIDs.
    digest : str
        SHA-256 of this site's bytes.
    caller : str or None
        Who stored them here.
    stored_at : datetime
        UTC.
    reason : str
        Why the other site has them not.
    """

    study: str
    sop: str
    digest: str
    caller: str | None
    stored_at: datetime
    reason: str


def aside(connection: Connection, limit: int) -> list[Aside]:
    """Return copies that were set aside, those first that were stored last."""
    return [Aside(*row) for row in connection.execute(_LIST, {"limit": limit})]


def give_way(connection: Connection, sops: Sequence[str], reason: str) -> list[str]:
    """Let the other site's images replace these, whose copies were set aside; return those for which that was done.

    Parameters
    ----------
    reason : str
        Who decided it, and why.
    """
    rows = connection.execute(_GIVE_WAY, {"sops": list(sops), "reason": f"gives way to the other site's: {reason}"})
    return [str(row[0]) for row in rows]


def keep(connection: Connection, sops: Sequence[str], reason: str) -> list[str]:
    """Send images again whose copies were set aside; return those for which that was done."""
    rows = connection.execute(_KEEP, {"sops": list(sops), "reason": f"sent again, this one stays: {reason}"})
    return [str(row[0]) for row in rows]
