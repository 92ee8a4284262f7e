"""Table `hapacs.task`: one image for one destination. Workers of all nodes claim tasks with a lease.

Times are the database's, so that the clocks of nodes do not matter.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from hapacs_node.catalog import gathering
from hapacs_node.catalog.database import Connection
from hapacs_node.catalog.gathering import Level, Touched
from hapacs_node.outbox.answers import Ended
from hapacs_node.replication.names import CANARY_RULE

LANES = (0, 1, 2)
"""Priorities: urgent, normal, bulk. A lane is empty before the next one is served."""

REPLICATE = "replicate"
"""The kind of tasks that copy images to the second site. The newest image comes first, at any backlog."""

TOMBSTONE = "tombstone"
"""The kind of tasks that tell the other site what was deleted."""


@dataclass(frozen=True)
class Lane:
    """A destination of one kind of task.

    Attributes
    ----------
    kind : str
        ``route``, ``replicate`` or ``tombstone``.
    destination : str
        Its name in the rules, or that of the second site.
    """

    kind: str
    destination: str


@dataclass(frozen=True)
class Task:
    """A claimed task.

    Attributes
    ----------
    id : int
        Its number.
    uuid : UUID
        The attachment to send.
    study, series, sop : str
        Its UIDs.
    sop_class, transfer_syntax : str
        Their UIDs.
    size : int
        Its bytes.
    rule : str
        The rule that wanted it.
    change : list or None
        What changes in the copy that leaves.
    attempts : int
        How often it was tried, this time included.
    taken_s : float or None
        Time since the destination took it, which it has to list before it is confirmed; None before.
    only_if_absent : bool
        Whether the destination is asked before it is sent, and gets it only if it does not list it.
    """

    id: int
    uuid: UUID
    study: str
    series: str
    sop: str
    sop_class: str
    transfer_syntax: str
    size: int
    rule: str
    change: list[dict[str, Any]] | None
    attempts: int
    taken_s: float | None = None
    only_if_absent: bool = False


_RENEW = """
update hapacs.task set leased_until = clock_timestamp() + %(lease_s)s * interval '1 second'
where kind = %(kind)s and destination = %(destination)s and state = 'in flight' and holder = %(holder)s
"""

LAPSED = "state = 'in flight' and leased_until < now()"
"""Which tasks have a lease that has ended."""

_LAPSE = f"""
update hapacs.task
set state = 'waiting', reason = 'the lease of ' || holder || ' ended without an answer', holder = null,
    leased_until = null
where {LAPSED}
returning destination
"""  # noqa: S608 - a constant

COUNTED = f"""counted as (
    update hapacs.destination d
    set confirmed = d.confirmed + c.images, confirmed_bytes = d.confirmed_bytes + c.bytes,
        confirmed_at = clock_timestamp()
    from (
        select kind, destination, count(*) as images, sum(size) as bytes from ended
        where state = 'confirmed' and rule <> '{CANARY_RULE}' group by kind, destination
    ) as c
    where d.kind = c.kind and d.name = c.destination
)"""  # noqa: S608 - a constant
"""Counts the tasks of a query `ended` that were confirmed at their destinations; canaries are none of the images."""

# An image that a destination confirmed counts as confirmed, also when its lease ended meanwhile. A repeated statement
# finds no row, so that nothing is counted twice.
_END = f"""
with given as (
    select * from unnest(%(ids)s::bigint[], %(states)s::text[], %(reasons)s::text[], %(pauses)s::float8[],
                         %(tried)s::boolean[], %(asked)s::boolean[], %(taken)s::boolean[])
        as g (id, state, reason, pause_s, tried, asked, taken)
), ended as (
    update hapacs.task t
    set state = g.state, holder = null, leased_until = null,
        reason = case when g.tried then g.reason else t.reason end,
        attempts = t.attempts - case when g.tried and not g.asked then 0 else 1 end,
        taken_at = case when g.taken is null then t.taken_at when g.taken then clock_timestamp() end,
        due_at = case when g.tried then clock_timestamp() + g.pause_s * interval '1 second' else t.due_at end,
        ended_at = case when g.state = 'waiting' then null else clock_timestamp() end
    from given g
    where t.id = g.id
    and (t.holder = %(holder)s or (g.state = 'confirmed' and t.state in ('waiting', 'held', 'in flight')))
    returning t.id, t.kind, t.destination, t.state, t.size, t.rule
), {COUNTED}
select id from ended
"""  # noqa: S608 - a constant

_FAILED = """
update hapacs.destination
set failures = failures + 1, error = %(error)s, retry_at = clock_timestamp() + %(pause_s)s * interval '1 second'
where kind = %(kind)s and name = %(destination)s
"""

_ANSWERED = """
update hapacs.destination set failures = 0, error = '', retry_at = null
where kind = %(kind)s and name = %(destination)s and failures > 0
"""


def renew(connection: Connection, lane: Lane, holder: str, lease_s: float) -> int:
    """Renew a lease; return how many tasks it still covers."""
    parameters = {"kind": lane.kind, "destination": lane.destination, "holder": holder, "lease_s": lease_s}
    return connection.execute(_RENEW, parameters).rowcount


def lapse(connection: Connection) -> int:
    """Hand over the tasks whose lease has ended; return their number."""
    return connection.execute(_LAPSE).rowcount


def end(connection: Connection, holder: str, ended: Sequence[Ended]) -> set[int]:
    """Record the ends of attempts; return the tasks that were still this holder's. It can be repeated."""
    parameters = {
        "holder": holder,
        "ids": [one.id for one in ended],
        "states": [one.state for one in ended],
        "reasons": [one.reason for one in ended],
        "pauses": [float(one.pause_s) for one in ended],
        "tried": [one.tried for one in ended],
        "asked": [one.asked for one in ended],
        "taken": [one.taken for one in ended],
    }
    return {id_ for (id_,) in connection.execute(_END, parameters)}


def failed(connection: Connection, lane: Lane, error: str, pause_s: float) -> None:
    """Record that a destination gave no association, and when it is tried again."""
    parameters = {"kind": lane.kind, "destination": lane.destination, "error": error, "pause_s": pause_s}
    connection.execute(_FAILED, parameters)


def answered(connection: Connection, lane: Lane) -> None:
    """Record that a destination gave an association."""
    connection.execute(_ANSWERED, {"kind": lane.kind, "destination": lane.destination})


@dataclass(frozen=True)
class Wanted:
    """A task that a rule wants.

    Attributes
    ----------
    uuid : UUID
        The attachment.
    lane : Lane
        Where it goes.
    study, series, sop : str
        Its UIDs.
    sop_class, transfer_syntax : str
        Their UIDs.
    size : int
        Its bytes.
    node : str
        The node that has it on its DAS.
    rule : str
        The rule.
    priority : int
        One of `LANES`.
    delay_s : float
        Time until it is due.
    change : list or None
        What changes in the copy that leaves.
    gathers : str or None
        ``study`` or ``series``: what has to be complete before it is sent.
    only_if_absent : bool
        Whether the destination is asked first, and gets it only if it does not list it.
    stored_at : datetime or None
        When it was stored, for a copy at the second site.
    """

    uuid: UUID
    lane: Lane
    study: str
    series: str
    sop: str
    sop_class: str
    transfer_syntax: str
    size: int
    node: str
    rule: str
    priority: int
    delay_s: float = 0
    change: list[dict[str, Any]] | None = None
    gathers: Level | None = None
    only_if_absent: bool = False
    stored_at: datetime | None = None


# A repeated statement finds no event, and adds nothing.
_PLAN = """
with planned as (
    delete from hapacs.event where uuid = any(%(events)s) returning uuid
), added as (
    insert into hapacs.task
        (kind, destination, uuid, study, series, sop, sop_class, transfer_syntax, size, node, rule, priority, change,
         due_at, gathers, state, only_if_absent, stored_at)
    select w.kind, w.destination, w.uuid, w.study, w.series, w.sop, w.sop_class, w.transfer_syntax, w.size, w.node,
           w.rule, w.priority, w.change, clock_timestamp() + w.delay_s * interval '1 second', w.gathers,
           case when w.gathers is null then 'waiting' else 'gathering' end, w.only_if_absent, w.stored_at
    from unnest(%(kinds)s::text[], %(destinations)s::text[], %(uuids)s::uuid[], %(studies)s::text[],
                %(series)s::text[], %(sops)s::text[], %(sop_classes)s::text[], %(transfer_syntaxes)s::text[],
                %(sizes)s::bigint[], %(nodes)s::text[], %(rules)s::text[], %(priorities)s::smallint[],
                %(changes)s::jsonb[], %(delays)s::float8[], %(gathers)s::text[], %(only_if_absent)s::boolean[],
                %(stored)s::timestamptz[])
        as w (kind, destination, uuid, study, series, sop, sop_class, transfer_syntax, size, node, rule, priority,
              change, delay_s, gathers, only_if_absent, stored_at)
    join planned using (uuid)
    on conflict (uuid, kind, destination) do nothing
    returning study, series, gathers
), counted as (
    insert into hapacs.unmatched as u (day, images)
    select current_date, count(*) from planned where uuid = any(%(unmatched)s) having count(*) > 0
    on conflict (day) do update set images = u.images + excluded.images
)
select count(*), null, null from planned
union all
select count(*), gathers, case gathers when 'study' then study else series end from added
where gathers is not null group by 2, 3
"""


# Images of before have no event. What has a task keeps it, at any state.
_PLAN_PAST = """
insert into hapacs.task
    (kind, destination, uuid, study, series, sop, sop_class, transfer_syntax, size, node, rule, priority, stored_at)
select * from unnest(%(kinds)s::text[], %(destinations)s::text[], %(uuids)s::uuid[], %(studies)s::text[],
                     %(series)s::text[], %(sops)s::text[], %(sop_classes)s::text[], %(transfer_syntaxes)s::text[],
                     %(sizes)s::bigint[], %(nodes)s::text[], %(rules)s::text[], %(priorities)s::smallint[],
                     %(stored)s::timestamptz[])
on conflict (uuid, kind, destination) do nothing
"""

# Of a destination that may have lost what it confirmed. What waits already goes on, and what was dropped stays so.
_PLAN_PAST_AGAIN = _PLAN_PAST.replace(
    "do nothing",
    """do update
set state = 'waiting', rule = excluded.rule, priority = excluded.priority, due_at = clock_timestamp(), taken_at = null,
    ended_at = null, attempts = 0, reason = ''
where hapacs.task.state = 'confirmed'""",
)

# A task that had its end is done again: a destination may have lost what it once confirmed, and is asked first. What an
# operator dropped stays dropped.
_ADD_AGAIN = """
insert into hapacs.task as t
    (kind, destination, uuid, study, series, sop, sop_class, transfer_syntax, size, node, rule, priority,
     only_if_absent)
select * from unnest(%(kinds)s::text[], %(destinations)s::text[], %(uuids)s::uuid[], %(studies)s::text[],
                     %(series)s::text[], %(sops)s::text[], %(sop_classes)s::text[], %(transfer_syntaxes)s::text[],
                     %(sizes)s::bigint[], %(nodes)s::text[], %(rules)s::text[], %(priorities)s::smallint[],
                     %(only_if_absent)s::boolean[])
on conflict (uuid, kind, destination) do update
set state = 'waiting', rule = excluded.rule, priority = excluded.priority, only_if_absent = excluded.only_if_absent,
    due_at = clock_timestamp(), taken_at = null, ended_at = null, attempts = 0, reason = ''
where t.state = 'confirmed'
"""


def add_again(connection: Connection, wanted: Sequence[Wanted]) -> int:
    """Add tasks without an event, also for images that had one before; return how many wait now."""
    return connection.execute(_ADD_AGAIN, _columns(wanted)).rowcount


def plan_past(connection: Connection, wanted: Sequence[Wanted], *, again: bool = False) -> int:
    """Add tasks without an event, for images that have none yet; return their number. It can be repeated.

    Parameters
    ----------
    connection : Connection
        To the leader.
    wanted : sequence of Wanted
        The tasks.
    again : bool
        Whether tasks that were confirmed wait again.
    """
    return connection.execute(_PLAN_PAST_AGAIN if again else _PLAN_PAST, _columns(wanted)).rowcount


def plan(
    connection: Connection,
    events: Sequence[UUID],
    wanted: Sequence[Wanted],
    unmatched: Sequence[UUID],
    touched: Sequence[Touched] = (),
) -> int:
    """Replace events by their tasks in one transaction. It can be repeated.

    Parameters
    ----------
    connection : Connection
        To the leader.
    events : sequence of UUID
        Attachments that were compared with the rules, or will not be.
    wanted : sequence of Wanted
        Their tasks.
    unmatched : sequence of UUID
        Those that no rule matched, for the count.
    touched : sequence of Touched
        Their studies and series, when rules wait for the end of such.

    Returns
    -------
    int
        The number of events.
    """
    parameters: dict[str, Any] = {
        "events": list(events),
        "unmatched": list(unmatched),
    } | _columns(wanted)
    with connection.transaction():
        (planned, *_), *waiting = connection.execute(_PLAN, parameters).fetchall()
        gathering.arrive(connection, touched, {(level, uid): count for count, level, uid in waiting})
    return int(planned)


def _columns(wanted: Sequence[Wanted]) -> dict[str, Any]:
    return {
        "kinds": [one.lane.kind for one in wanted],
        "destinations": [one.lane.destination for one in wanted],
        "uuids": [one.uuid for one in wanted],
        "studies": [one.study for one in wanted],
        "series": [one.series for one in wanted],
        "sops": [one.sop for one in wanted],
        "sop_classes": [one.sop_class for one in wanted],
        "transfer_syntaxes": [one.transfer_syntax for one in wanted],
        "sizes": [one.size for one in wanted],
        "nodes": [one.node for one in wanted],
        "rules": [one.rule for one in wanted],
        "priorities": [one.priority for one in wanted],
        "changes": [None if one.change is None else json.dumps(one.change) for one in wanted],
        "delays": [float(one.delay_s) for one in wanted],
        "gathers": [one.gathers for one in wanted],
        "only_if_absent": [one.only_if_absent for one in wanted],
        "stored": [one.stored_at for one in wanted],
    }


# Index `task_waiting` answers for each destination and priority at its first row, also when many are due later.
DUE = """
select d.name from hapacs.destination d
where d.kind = %(kind)s and not d.held and (d.retry_at is null or d.retry_at <= now())
and exists (
    select from hapacs.task t
    where t.kind = d.kind and t.destination = d.name and t.state = 'waiting' and t.priority in (0, 1, 2)
    and t.due_at <= now()
)
"""
"""The names of the destinations that have tasks to send now."""


def due(connection: Connection, kind: str) -> list[Lane]:
    """Return the destinations that have tasks to send now."""
    return [Lane(kind, name) for (name,) in connection.execute(DUE, {"kind": kind})]
