"""What operators see of the outbox, and what they do with it. Each intervention is kept with operator and reason."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from hapacs_node.catalog.database import Connection

Action = Literal["retry", "hold", "release", "drop"]

STATES = ("gathering", "waiting", "held", "in flight", "dead")
"""States of tasks that are not at their end."""

# Counts of the tasks that are not at their end. Each state has an index, which a list of states would not use.
_COUNTED = " union all ".join(
    f"""
        select '{state}' as state, count(*) as images, coalesce(sum(size), 0) as bytes, min(created_at) as oldest
        from hapacs.task t where t.kind = d.kind and t.destination = d.name and t.state = '{state}'
"""  # noqa: S608 - a constant
    for state in STATES
)

_STATUS = f"""
select d.name, d.held, d.failures, d.error, d.retry_at, d.confirmed, d.confirmed_bytes, d.confirmed_at,
       c.counts, c.bytes, coalesce(extract(epoch from now() - c.oldest), 0)
from hapacs.destination d
cross join lateral (
    select jsonb_object_agg(state, images) as counts,
           sum(bytes) filter (where state in ('gathering', 'waiting', 'in flight')) as bytes,
           min(oldest) filter (where state = 'waiting') as oldest
    from ({_COUNTED}) as s
) as c
where d.kind = %(kind)s
order by d.name
"""  # noqa: S608 - a constant

# By the index on waiting tasks of a destination. A second site that is away refuses nobody.
_OLDEST_WAITING = """
select coalesce(extract(epoch from now() - min(t.created_at)), 0)
from hapacs.destination d join hapacs.task t on t.kind = d.kind and t.destination = d.name
where d.kind = 'route' and not d.held and t.state = 'waiting'
"""

_UNPLANNED = "select count(*) from hapacs.event"

_UNMATCHED = "select coalesce((select images from hapacs.unmatched where day = current_date), 0)"

_COLUMNS = (
    "id, destination, state, reason, attempts, study, series, sop, rule, priority, size, created_at, due_at, holder, "
    "ended_at"
)

_ONE = f"select {_COLUMNS} from hapacs.task where id = %(id)s"  # noqa: S608 - a constant

# Few rows belong to a study or have a number; its index finds them in any state.
_FOUND = f"""
select {_COLUMNS} from hapacs.task
where (%(destination)s::text is null or destination = %(destination)s)
and (%(state)s::text is null and state <> all('{{confirmed,dropped}}') or state = %(state)s)
and (%(study)s::text is null or study = %(study)s)
and (%(id)s::bigint is null or id = %(id)s)
order by priority, due_at, id
limit %(limit)s
"""  # noqa: S608 - constants

# Tasks are kept when they end, so the table is large, and those that are not at their end are few in it. For each
# destination and state an index gives the first ones in the order in which they come up.
_PARTS: dict[str, tuple[str, ...]] = {
    "gathering": ("t.state = 'gathering' order by t.study",),
    "waiting": tuple(f"t.state = 'waiting' and t.priority = {lane} order by t.due_at" for lane in (0, 1, 2)),
    "held": ("t.state = 'held' order by t.id",),
    "in flight": ("t.state = 'in flight' order by t.leased_until",),
    "dead": ("t.state = 'dead' order by t.id",),
}


def _first(states: Sequence[str]) -> str:
    """Return the query of the first tasks of each destination in some states that are not the end."""
    parts = " union all ".join(
        f"(select t.* from hapacs.task t where t.kind = d.kind and t.destination = d.name and {part} limit %(limit)s)"  # noqa: S608 - constants
        for state in states
        for part in _PARTS[state]
    )
    return f"""
        select {", ".join(f"t.{column.strip()}" for column in _COLUMNS.split(","))}
        from hapacs.destination d cross join lateral ({parts}) as t
        where %(destination)s::text is null or d.name = %(destination)s
        order by t.priority, t.due_at, t.id
        limit %(limit)s
    """  # noqa: S608 - constants


# A selected task or study changes its rows. A destination that is held as a whole is marked, for tasks to come too.
_CHANGE = """
update hapacs.task
set state = %(to)s, holder = null, leased_until = null,
    due_at = case when %(to)s = 'waiting' then clock_timestamp() else due_at end,
    taken_at = case when state = 'dead' then null else taken_at end,
    ended_at = case when %(to)s = 'dropped' then clock_timestamp() else null end
where state = any(%(from)s)
and (%(destination)s::text is null or destination = %(destination)s)
and (%(study)s::text is null or study = %(study)s)
and (%(id)s::bigint is null or id = %(id)s)
"""

_MARK = "update hapacs.destination set held = %(held)s where name = %(destination)s and held <> %(held)s"

_TRY_NOW = "update hapacs.destination set retry_at = null where name = %(destination)s"

_KEEP = """
insert into hapacs.intervention (action, kind, destination, study, tasks, operator, reason)
values (%(action)s, 'route', %(destination)s, %(study)s, %(tasks)s, %(operator)s, %(reason)s)
"""

_CHANGES: dict[Action, tuple[tuple[str, ...], str]] = {
    "retry": (("dead",), "waiting"),
    "hold": (("waiting",), "held"),
    "release": (("held",), "waiting"),
    "drop": (("gathering", "waiting", "held", "dead"), "dropped"),
}


@dataclass(frozen=True)
class Status:
    """The outbox of one destination.

    Attributes
    ----------
    destination : str
        Its name.
    held : bool
        Whether an operator holds it.
    failures : int
        Associations in a row that it did not give.
    error : str
        The last of them.
    retry_at : datetime or None
        When it is tried again.
    confirmed, confirmed_bytes : int
        All that it ever confirmed.
    confirmed_at : datetime or None
        When it last confirmed.
    tasks : mapping
        Tasks by state that are not at their end.
    bytes : int
        Of those that are still to be sent.
    oldest_s : float
        Age of the oldest waiting task.
    """

    destination: str
    held: bool
    failures: int
    error: str
    retry_at: datetime | None
    confirmed: int
    confirmed_bytes: int
    confirmed_at: datetime | None
    tasks: Mapping[str, int]
    bytes: int
    oldest_s: float


@dataclass(frozen=True)
class Selection:
    """Which tasks an operator means.

    Attributes
    ----------
    destination : str or None
        Its name; None for all.
    study : str or None
        Study Instance UID.
    id : int or None
        One task.
    """

    destination: str | None = None
    study: str | None = None
    id: int | None = None

    def parameters(self) -> dict[str, object]:
        """Return the parameters of a query."""
        return {"destination": self.destination, "study": self.study, "id": self.id}


@dataclass(frozen=True)
class Listed:
    """A task as operators see it."""

    id: int
    destination: str
    state: str
    reason: str
    attempts: int
    study: str
    series: str
    sop: str
    rule: str
    priority: int
    size: int
    created_at: datetime
    due_at: datetime
    holder: str | None
    ended_at: datetime | None


def status(connection: Connection, kind: str) -> list[Status]:
    """Return the state of every destination that the rules have ever named."""
    found = connection.execute(_STATUS, {"kind": kind})
    return [
        Status(
            name, held, failures, error, retry_at, confirmed, confirmed_bytes, confirmed_at,
            {state: int(counts.get(state, 0)) for state in STATES}, int(size), float(oldest_s),
        )
        for name, held, failures, error, retry_at, confirmed, confirmed_bytes, confirmed_at, counts, size, oldest_s
        in found
    ]  # fmt: skip


def oldest_waiting_s(connection: Connection) -> float:
    """Return the age of the oldest task that waits for a destination that no operator holds, seconds."""
    row = connection.execute(_OLDEST_WAITING).fetchone()
    return 0 if row is None else float(row[0])


def unplanned(connection: Connection) -> int:
    """Return how many stored images were not compared with the rules yet."""
    row = connection.execute(_UNPLANNED).fetchone()
    return 0 if row is None else int(row[0])


def unmatched_today(connection: Connection) -> int:
    """Return how many images no rule matched since midnight, UTC."""
    row = connection.execute(_UNMATCHED).fetchone()
    return 0 if row is None else int(row[0])


def tasks(connection: Connection, selection: Selection, state: str | None, limit: int) -> Sequence[Listed]:
    """List tasks by priority and due time; without a state, those that are not at their end."""
    parameters = selection.parameters() | {"state": state, "limit": limit}
    return [Listed(*row) for row in connection.execute(listing(selection, state), parameters)]


def listing(selection: Selection, state: str | None) -> str:
    """Return the query of a list of tasks."""
    if selection.study is not None or selection.id is not None or state not in {None, *STATES}:
        return _FOUND
    return _first(STATES if state is None else (state,))


_BY_STATE = """
select destination, state, count(*), max(ended_at) from hapacs.task where study = %(study)s group by 1, 2 order by 1, 2
"""


def of_study(connection: Connection, study: str) -> list[tuple[str, str, int, datetime | None]]:
    """Return the tasks of a study by destination and state, with their number and the last end."""
    return [(row[0], row[1], int(row[2]), row[3]) for row in connection.execute(_BY_STATE, {"study": study})]


def intervene(connection: Connection, action: Action, selection: Selection, operator: str, reason: str) -> int:
    """Change the state of tasks, and keep by whom and why; return their number.

    To hold or release a destination as a whole also marks it, so that tasks that come later are held too. To retry one
    as a whole also tries it now, instead of after its pause.
    """
    sources, target = _CHANGES[action]
    parameters = selection.parameters()
    whole = selection.destination is not None and selection.study is None and selection.id is None
    with connection.transaction():
        marked = 0
        if whole and action in {"hold", "release"}:
            marked = connection.execute(_MARK, parameters | {"held": action == "hold"}).rowcount
        if whole and action == "retry":
            connection.execute(_TRY_NOW, parameters)
        count = 0
        if not (whole and action == "hold"):
            count = connection.execute(_CHANGE, parameters | {"from": list(sources), "to": target}).rowcount
        kept = {"action": action, "tasks": count, "operator": operator, "reason": reason}
        connection.execute(_KEEP, parameters | kept)
    return count + marked


def task(connection: Connection, number: int) -> Listed | None:
    """Return one task in any state."""
    row = connection.execute(_ONE, {"id": number}).fetchone()
    return None if row is None else Listed(*row)
