"""Tables `hapacs.gathering` and `hapacs.completion`: studies and series that are sent once they are complete.

A study is complete when no image of it came for a quiet time, or when its modality asked for storage commitment of all
its images. The lock of its row orders the decisions of all nodes, and no node counts anything in memory. Images that
come later open the next revision, and are sent with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from hapacs_node.catalog.database import Connection

Level = Literal["study", "series"]
type Row = tuple[Any, ...]


@dataclass(frozen=True)
class Touched:
    """A study or series of which images were compared with the rules.

    Attributes
    ----------
    level : str
        ``study`` or ``series``.
    uid, study : str
        Its UID, and that of the study.
    quiet_s : float
        Time without an image after which it is complete.
    """

    level: Level
    uid: str
    study: str
    quiet_s: float


@dataclass(frozen=True)
class Completion:
    """A study or series that was complete.

    Attributes
    ----------
    level : str
        ``study`` or ``series``.
    uid : str
        Its UID.
    revision : int
        1 for the first time.
    images : int
        How many waited for it.
    completed_at : datetime
        When it was decided.
    reason : str
        Why.
    node : str
        The node that decided.
    """

    level: Level
    uid: str
    revision: int
    images: int
    completed_at: datetime
    reason: str
    node: str


# Rows are locked in one order, so that planners do not wait for each other in a circle. Images that wait for nothing
# make no row: they prolong one that is open.
_ARRIVE = """
insert into hapacs.gathering as g (level, uid, study, revision, images, open, due_at)
select a.level, a.uid, a.study, 1, a.images, true, clock_timestamp() + a.quiet_s * interval '1 second'
from unnest(%(levels)s::text[], %(uids)s::text[], %(studies)s::text[], %(images)s::bigint[], %(quiets)s::float8[])
    as a (level, uid, study, images, quiet_s)
where a.images > 0 or exists (select from hapacs.gathering o where o.level = a.level and o.uid = a.uid and o.open)
order by a.level, a.uid
on conflict (level, uid) do update
set revision = g.revision + case when g.open or excluded.images = 0 then 0 else 1 end,
    images = case when g.open then g.images else 0 end + excluded.images,
    open = g.open or excluded.images > 0,
    due_at = greatest(g.due_at, excluded.due_at)
"""

QUIET = "open and due_at <= now()"
"""Which studies and series are complete because no image came."""
OPEN = "open"
"""Which studies and series wait."""

_QUIET = f"""
select level, uid, study, revision, images from hapacs.gathering
where {QUIET}
order by due_at
limit %(limit)s
for update skip locked
"""  # noqa: S608 - a constant

# Of the newest requests only: an older one is from before the quiet time. An image that a request names may be stored
# and not compared with the rules yet. Its study waits until it was.
_NAMED = """
select g.level, g.uid, g.study, g.revision, g.images from hapacs.gathering g
where g.open and exists (
    select from (select id, caller from hapacs.commitment order by id desc limit 200) c
    where c.caller = any(%(callers)s)
    and exists (
        select from hapacs.task t join hapacs.committed n on n.commitment = c.id and n.sop = t.sop
        where t.state = 'gathering' and t.gathers = g.level and t.study = g.study
        and (g.level = 'study' or t.series = g.uid)
    )
    and not exists (
        select from hapacs.task t
        where t.state = 'gathering' and t.gathers = g.level and t.study = g.study
        and (g.level = 'study' or t.series = g.uid)
        and not exists (select from hapacs.committed n where n.commitment = c.id and n.sop = t.sop)
    )
    and not exists (
        select from hapacs.committed n join hapacs.instance i on i.sop = n.sop join hapacs.event e on e.uuid = i.uuid
        where n.commitment = c.id
    )
)
order by g.due_at
limit %(limit)s
for update of g skip locked
"""

# After the lock, so that it sees every task whose planner had the row before.
_RELEASE = """
with complete as (
    select * from unnest(%(levels)s::text[], %(uids)s::text[], %(studies)s::text[], %(revisions)s::int[])
        as c (level, uid, study, revision)
), closed as (
    update hapacs.gathering g set open = false from complete c where g.level = c.level and g.uid = c.uid
), recorded as (
    insert into hapacs.completion (level, uid, study, revision, images, reason, node)
    select g.level, g.uid, g.study, g.revision, g.images, %(reason)s, %(node)s
    from hapacs.gathering g join complete c on g.level = c.level and g.uid = c.uid
)
update hapacs.task t
set state = 'waiting', revision = c.revision, due_at = greatest(t.due_at, clock_timestamp())
from complete c
where t.state = 'gathering' and t.gathers = c.level and t.study = c.study
and (c.level = 'study' or t.series = c.uid)
"""

_OF_STUDY = """
select level, uid, revision, images, completed_at, reason, node from hapacs.completion
where study = %(study)s order by completed_at, level, uid
"""

BATCH = 100


def arrive(connection: Connection, touched: Sequence[Touched], waiting: Mapping[tuple[str, str], int]) -> None:
    """Note images of studies and series, in the transaction that writes their tasks.

    Parameters
    ----------
    connection : Connection
        To the leader.
    touched : sequence of Touched
        Of which images came.
    waiting : mapping
        How many new tasks wait for a level and UID. Without any, images only prolong what others wait for.
    """
    if not touched:
        return
    parameters = {
        "levels": [one.level for one in touched],
        "uids": [one.uid for one in touched],
        "studies": [one.study for one in touched],
        "images": [waiting.get((one.level, one.uid), 0) for one in touched],
        "quiets": [one.quiet_s for one in touched],
    }
    connection.execute(_ARRIVE, parameters)


def complete(connection: Connection, node: str, callers: Sequence[str] = ()) -> list[tuple[Level, str, int]]:
    """Decide which studies and series are complete, and let their tasks be sent.

    Parameters
    ----------
    connection : Connection
        To the leader.
    node : str
        This node.
    callers : sequence of str
        AE titles whose request for storage commitment of all images ends a study or series.

    Returns
    -------
    list of tuple
        Level, UID and revision.
    """
    with connection.transaction():
        quiet = connection.execute(_QUIET, {"limit": BATCH}).fetchall()
        _release(connection, quiet, node, "no image came for the quiet time")
        named = connection.execute(_NAMED, {"limit": BATCH, "callers": list(callers)}).fetchall() if callers else []
        _release(connection, named, node, "a request for storage commitment named its images")
    return [(row[0], row[1], row[3]) for row in (*quiet, *named)]


def _release(connection: Connection, rows: Sequence[Row], node: str, reason: str) -> None:
    if rows:
        parameters = {
            "levels": [row[0] for row in rows],
            "uids": [row[1] for row in rows],
            "studies": [row[2] for row in rows],
            "revisions": [row[3] for row in rows],
            "reason": reason,
            "node": node,
        }
        connection.execute(_RELEASE, parameters)


def of_study(connection: Connection, study: str) -> list[Completion]:
    """Return when a study and its series were complete."""
    return [Completion(*row) for row in connection.execute(_OF_STUDY, {"study": study})]
