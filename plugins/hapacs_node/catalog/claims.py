"""Claims of tasks (table `hapacs.task`): which ones a worker of a node may do now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hapacs_node.catalog.database import Connection
from hapacs_node.catalog.tasks import LANES, REPLICATE, Lane, Task

# Other nodes leave a task this long to the node that has the image on its DAS.
_OTHERS_AFTER_S = 5.0


@dataclass(frozen=True)
class Claim:
    """What a worker may do now.

    Attributes
    ----------
    tasks : tuple of Task
        By priority, then by due time; copies for the second site by the time of storing, the newest first.
    failures : int
        How often in a row the destination gave no association.
    """

    tasks: tuple[Task, ...] = ()
    failures: int = 0


@dataclass(frozen=True)
class Terms:
    """How a worker claims.

    Attributes
    ----------
    holder : str
        Unique name of this claim: the node, a colon, and what no other claim has.
    node : str
        The node that claims.
    limit, parallel : int
        Most tasks, and most claims at the same time, over all nodes.
    lease_s : float
        Time after which others may claim the tasks, unless the lease is renewed.
    """

    holder: str
    node: str
    limit: int
    parallel: int
    lease_s: float


# The lock orders the claims for one destination, so that what is read below it is right.
_GATE = """
select failures from hapacs.destination
where kind = %(kind)s and name = %(destination)s and not held and (retry_at is null or retry_at <= now())
for update
"""

_HOLDERS = """
select distinct holder from hapacs.task
where kind = %(kind)s and destination = %(destination)s and state = 'in flight'
"""

_OF = "kind = %(kind)s and destination = %(destination)s and state = 'waiting' and priority = %(priority)s"

# The nodes that have tasks, by one look into the index for each, at any backlog.
_NODES = f"""
with recursive nodes as (
    (select node from hapacs.task where {_OF} order by node limit 1)
    union all
    select (select t.node from hapacs.task t where {_OF} and t.node > nodes.node order by t.node limit 1)
    from nodes where nodes.node is not null
)
select node from nodes where node is not null
"""  # noqa: S608 - a constant

# Bounds of a pair of columns, and an order by both, leave one index only: by another one the tasks of all nodes that
# come before would be looked at.
_CHOOSE = f"""
select id from unnest(%(nodes)s::text[], %(after)s::float8[]) as allowed (node, after_s)
cross join lateral (
    select id, due_at from hapacs.task
    where {_OF} and (node, due_at) >= (allowed.node, '-infinity'::timestamptz)
    and (node, due_at) <= (allowed.node, now() - allowed.after_s * interval '1 second')
    order by node, due_at
    limit %(limit)s
    for update skip locked
) as first
order by due_at
limit %(limit)s
"""  # noqa: S608 - a constant

# The kind is written out: the index has only this one.
_OF_COPIES = _OF.replace("%(kind)s", f"'{REPLICATE}'")
_CHOOSE_NEWEST = f"""
select id from unnest(%(nodes)s::text[], %(after)s::float8[]) as allowed (node, after_s)
cross join lateral (
    select id, stored_at from hapacs.task
    where {_OF_COPIES} and node = allowed.node and due_at <= now() - allowed.after_s * interval '1 second'
    order by stored_at desc
    limit %(limit)s
    for update skip locked
) as first
order by stored_at desc
limit %(limit)s
"""  # noqa: S608 - constants

_TAKE = """
update hapacs.task
set state = 'in flight', holder = %(holder)s, leased_until = clock_timestamp() + %(lease_s)s * interval '1 second',
    attempts = attempts + 1
where id = any(%(ids)s)
returning id, uuid, study, series, sop, sop_class, transfer_syntax, size, rule, change, attempts,
    extract(epoch from clock_timestamp() - taken_at)::float8, only_if_absent
"""


def claim(connection: Connection, lane: Lane, terms: Terms) -> Claim:
    """Claim tasks of a destination that are due, unless it is held, waits after a failure, or has enough workers.

    Tasks of images that another node stored are left to that node while it works for the destination: it has them on
    its DAS, and others would read each of them from the archive. After a failure one worker tries one task.

    Parameters
    ----------
    connection : Connection
        To the leader.
    lane : Lane
        The destination.
    terms : Terms
        Who claims, and how much.
    """
    names = {"kind": lane.kind, "destination": lane.destination}
    limit, parallel = terms.limit, terms.parallel
    with connection.transaction():
        gate = connection.execute(_GATE, names).fetchone()
        if gate is None:
            return Claim()
        (failures,) = gate
        if failures:
            parallel = limit = 1
        holders = [str(holder) for (holder,) in connection.execute(_HOLDERS, names)]
        if len(holders) >= parallel:
            return Claim(failures=failures)
        others = {holder.partition(":")[0] for holder in holders} - {terms.node}
        chosen: list[int] = []
        for priority in LANES:
            if len(chosen) < limit:
                of = {**names, "priority": priority}
                chosen += _first(connection, of, terms.node, others, limit - len(chosen))
        if not chosen:
            return Claim(failures=failures)
        taking = {"ids": chosen, "holder": terms.holder, "lease_s": terms.lease_s}
        taken = connection.execute(_TAKE, taking).fetchall()
    tasks = {row[0]: Task(*row) for row in taken}
    return Claim(tuple(tasks[id_] for id_ in chosen), failures)


def _first(
    connection: Connection, names: Mapping[str, object], node: str, others: set[str], limit: int
) -> Sequence[int]:
    """Return the tasks of a priority that come first, of this node and of those that do not work for the lane."""
    nodes = [name for (name,) in connection.execute(_NODES, names) if name not in others]
    if not nodes:
        return []
    after = [0.0 if name == node else _OTHERS_AFTER_S for name in nodes]
    choose = _CHOOSE_NEWEST if names["kind"] == REPLICATE else _CHOOSE
    more = {"nodes": nodes, "after": after, "limit": limit}
    return [id_ for (id_,) in connection.execute(choose, {**names, **more})]
