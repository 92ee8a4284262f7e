"""Table `hapacs.replication`, and the tasks of kind ``replicate``: what the second site has, and what it lacks."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from hapacs_node.catalog import events
from hapacs_node.catalog.database import Connection
from hapacs_node.catalog.events import Image, Past
from hapacs_node.catalog.outbox import STATES
from hapacs_node.catalog.tasks import REPLICATE, TOMBSTONE, Lane, Wanted, plan_past
from hapacs_node.probe.names import CANARY_CALLER
from hapacs_node.replication.names import CANARY_RULE, DESTINATION

LANE = Lane(REPLICATE, DESTINATION)
NEW, PAST = 1, 2
"""Lanes of the outbox: images that were stored since the copies began come before those of before."""
RULES = {NEW: "new-images", PAST: "past-images"}
"""What tasks of these lanes have in place of a rule."""

# Most tasks of past images that wait at the same time: the outbox stays small, and what is removed meanwhile is left
# out.
_MOST_PAST = 2000
_BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
# The past begins before this time: an image that was stored without an event is in the index by then.
_SETTLED = "interval '5 minutes'"

# No node runs an older program by then: its planner would compare a canary with the rules.
_ON = """
insert into hapacs.replication as r (destination, canary_since) values (%(destination)s, clock_timestamp())
on conflict (destination) do update set canary_since = excluded.canary_since where r.canary_since is null
"""
_OFF = "delete from hapacs.replication where destination = %(destination)s"

# One node at a time plans past images.
_NEXT = f"""
select past_at, past_uuid, again from hapacs.replication
where destination = %(destination)s and not past_ended and since < now() - {_SETTLED}
and (select count(*) from (
    select from hapacs.task
    where kind = '{REPLICATE}' and destination = %(destination)s and state = 'waiting' and priority = {PAST}
    limit {_MOST_PAST}) as waiting) < {_MOST_PAST}
for update skip locked
"""  # noqa: S608 - constants

_RESYNC = """
update hapacs.replication set again = true, past_at = null, past_uuid = null, past_ended = false
where destination = %(destination)s
"""

_PLANNED = """
update hapacs.replication set past_at = %(at)s, past_uuid = %(uuid)s, past_ended = %(ended)s
where destination = %(destination)s
"""

# The index `task_unreplicated` gives the first one of each lane.
_STATES = ", ".join(f"'{state}'" for state in STATES)
_OPEN = f"kind = '{REPLICATE}' and destination = %(destination)s and state in ({_STATES})"

# Canaries are no images of the site, and nobody loses them.
_NEW = f"{_OPEN} and priority = {NEW} and rule <> '{CANARY_RULE}'"

_UNPLANNED = f"""exists (select from attachedfiles f where f.uuid = e.uuid::text and f.filetype = 1)
     and not exists (select from hapacs.object o where o.uuid = e.uuid and o.caller = '{CANARY_CALLER}')"""  # noqa: S608 - a constant

_TOLD = f"kind = '{TOMBSTONE}' and destination = %(destination)s"

# An image without a task has its event. One that is not in the index was not acknowledged.
_LAG = f"""
select d.failures, d.error, d.retry_at, d.held, d.confirmed, d.confirmed_bytes, d.confirmed_at,
    new.images, new.bytes, new.dead, old.images, old.bytes, old.dead,
    (select count(*) from hapacs.event e where {_UNPLANNED}),
    coalesce(extract(epoch from now() - least(
        (select min(stored_at) from hapacs.task where {_NEW}),
        (select e.created_at from hapacs.event e where {_UNPLANNED} order by e.created_at limit 1))), 0)::float8,
    r.past_at, r.past_ended,
    (select count(*) from hapacs.task where {_TOLD} and state in ('waiting', 'held', 'in flight')),
    (select count(*) from hapacs.task where {_TOLD} and state = 'dead')
from hapacs.replication r
join hapacs.destination d on d.kind = '{REPLICATE}' and d.name = r.destination
cross join lateral (
    select count(*) as images, coalesce(sum(size), 0)::bigint as bytes, count(*) filter (where state = 'dead') as dead
    from hapacs.task where {_NEW}) as new
cross join lateral (
    select count(*) as images, coalesce(sum(size), 0)::bigint as bytes, count(*) filter (where state = 'dead') as dead
    from hapacs.task where {_OPEN} and priority = {PAST}) as old
where r.destination = %(destination)s
"""  # noqa: S608 - constants

# The newest first; those without a task are newer than all others.
_MISSING = f"""
(select sop.value from hapacs.event e
 join attachedfiles f on f.uuid = e.uuid::text and f.filetype = 1
 join dicomidentifiers sop on sop.id = f.id and sop.taggroup = 8 and sop.tagelement = 24
 where {_UNPLANNED}
 order by e.created_at desc limit %(limit)s)
union all
(select sop from hapacs.task where {_NEW} order by stored_at desc limit %(limit)s)
union all
(select sop from hapacs.task where {_OPEN} and priority = {PAST} order by stored_at desc limit %(limit)s)
limit %(limit)s
"""  # noqa: S608 - constants

# Their study has an index. What an operator dropped stays dropped.
_AGAIN = f"""
update hapacs.task t
set state = 'waiting', due_at = clock_timestamp(), taken_at = null, ended_at = null, attempts = 0, reason = %(reason)s
from hapacs.object o
where t.kind = '{REPLICATE}' and t.destination = %(destination)s and t.state = 'confirmed'
and t.study = any(%(studies)s) and t.sop = any(%(sops)s) and o.uuid = t.uuid and o.tombstoned_at is null
"""  # noqa: S608 - a constant


@dataclass(frozen=True)
class Lag:
    """How far the second site is behind.

    Attributes
    ----------
    failures : int
        How often in a row it did not answer.
    error : str
        The last of them.
    retry_at : datetime or None
        When it is tried again.
    held : bool
        Whether an operator holds the copies.
    confirmed, confirmed_bytes : int
        All that was ever confirmed.
    confirmed_at : datetime or None
        When an image was confirmed last.
    images, bytes : int
        Stored since the copies began, and not confirmed there.
    dead : int
        Those of them that are set aside: the second site refuses them, or keeps other bytes.
    past_images, past_bytes, past_dead : int
        The same of images from before, as far as they are planned.
    unplanned : int
        Stored images that have no task yet.
    rpo_s : float
        Age of the oldest acknowledged image that was stored since the copies began and is not confirmed there. 0
        without one.
    past_at : datetime or None
        Images that were stored before are not planned yet; None before the first one is.
    past_ended : bool
        Whether all images from before are planned.
    removals, removals_dead : int
        Deletions that the other site was not told yet; and those that it did not follow.
    """

    failures: int
    error: str
    retry_at: datetime | None
    held: bool
    confirmed: int
    confirmed_bytes: int
    confirmed_at: datetime | None
    images: int
    bytes: int
    dead: int
    past_images: int
    past_bytes: int
    past_dead: int
    unplanned: int
    rpo_s: float
    past_at: datetime | None
    past_ended: bool
    removals: int
    removals_dead: int

    @property
    def past_confirmed(self) -> bool:
        """Whether all images from before are there too."""
        return self.past_ended and not self.past_images


def switch(connection: Connection, *, on: bool) -> None:
    """Note that images are copied, or not any more. When it is switched on again all past images are planned again."""
    connection.execute(_ON if on else _OFF, {"destination": DESTINATION})


def resync(connection: Connection) -> bool:
    """Plan all past images once more, also confirmed ones and copies of the other site, which may have lost them.

    The other site is asked for each of them, and gets those that it lacks. Returns whether images are copied at all.
    """
    return connection.execute(_RESYNC, {"destination": DESTINATION}).rowcount > 0


def lag(connection: Connection) -> Lag | None:
    """Return how far the second site is behind; None when nothing is copied."""
    row = connection.execute(_LAG, {"destination": DESTINATION}).fetchone()
    return None if row is None else Lag(*row)


def missing(connection: Connection, limit: int) -> list[str]:
    """Return SOP Instance UIDs of acknowledged images that are not confirmed at the other site, the newest first."""
    return [sop for (sop,) in connection.execute(_MISSING, {"destination": DESTINATION, "limit": limit})]


def wanted(image: Image, priority: int) -> Wanted:
    """Return the task that copies an image."""
    rule = CANARY_RULE if image.is_canary else RULES[priority]
    # The file says its SOP class and its transfer syntax where they are needed.
    return Wanted(
        image.uuid, LANE, image.study, image.series, image.sop, "", "", image.size, image.node, rule,
        priority, stored_at=image.stored_at,
    )  # fmt: skip


def plan_older(connection: Connection, limit: int) -> int:
    """Plan the next images from before the copies began, the newest first; return how many were looked at."""
    names = {"destination": DESTINATION}
    with connection.transaction():
        row = connection.execute(_NEXT, names).fetchone()
        if row is None:
            return 0
        at, uuid, again = row
        before = events.newest(connection) if at is None else Past(uuid, at)
        found = events.past(connection, _BEGINNING, before, limit, copies=again)
        images = events.images(connection, [one.uuid for one in found])
        plan_past(connection, [wanted(image, PAST) for image in images if not image.is_trial], again=again)
        last = found[-1] if found else before
        ended = len(found) < limit
        connection.execute(_PLANNED, names | {"at": last.stored_at, "uuid": last.uuid, "ended": ended})
    return len(found)


def again(connection: Connection, instances: Sequence[tuple[str, str]], reason: str) -> int:
    """Copy those images again that are stored now under some Study and SOP Instance UIDs; return their number."""
    parameters = {
        "destination": DESTINATION,
        "studies": [study for study, _ in instances],
        "sops": [sop for _, sop in instances],
        "reason": reason,
    }
    return connection.execute(_AGAIN, parameters).rowcount
