"""Tables `hapacs.outbound_commitment` and `.outbound_committed`: what destinations were asked to commit, and reported.

A report is taken by any node, and also for a task that was asked for again meanwhile: each request keeps its tasks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hapacs_node.catalog.database import Connection
from hapacs_node.catalog.tasks import COUNTED, Lane
from hapacs_node.outbox.backoff import Backoff


@dataclass(frozen=True)
class Report:
    """What an N-EVENT-REPORT says (DICOM PS3.4 table J.3-3).

    Attributes
    ----------
    transaction : str
        Transaction UID (0008,1195).
    committed : frozenset of str
        SOP Instance UIDs that the destination keeps.
    failed : mapping
        Failure reasons (0008,1197) of those that it does not keep, by SOP Instance UID.
    """

    transaction: str
    committed: frozenset[str] = frozenset()
    failed: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """A request to a destination.

    Attributes
    ----------
    transaction : str
        Its Transaction UID.
    lane : Lane
        The destination.
    peer : str
        AE title that may report it.
    node : str
        The node that asks.
    """

    transaction: str
    lane: Lane
    peer: str
    node: str


_ADD = """
with request as (
    insert into hapacs.outbound_commitment (transaction, kind, destination, peer, node)
    values (%(transaction)s, %(kind)s, %(destination)s, %(peer)s, %(node)s)
    on conflict (transaction) do nothing
    returning transaction
)
insert into hapacs.outbound_committed (transaction, task)
select request.transaction, given.task from request, unnest(%(tasks)s::bigint[]) as given (task)
"""

# The row's lock orders reports that come twice. Who is not the peer that was asked learns nothing.
_KNOWN = """
select from hapacs.outbound_commitment where transaction = %(transaction)s and peer = %(peer)s for update
"""

# Only what has no end yet changes, so a report that is repeated finds nothing. A failure counts for images taken before
# the request: one that was sent again since is not sent a third time.
_REPORTED = f"""
with given as (
    select * from unnest(%(sops)s::text[], %(states)s::text[], %(reasons)s::text[]) as g (sop, state, reason)
), ended as (
    update hapacs.task t
    set state = case when t.state = 'held' and g.state = 'waiting' then 'held' else g.state end,
        holder = null, leased_until = null, reason = g.reason,
        taken_at = case when g.state = 'waiting' then null else t.taken_at end,
        due_at = clock_timestamp()
            + least(%(most_s)s, %(first_s)s * 2.0 ^ least(t.attempts - 1, 20)) * interval '1 second',
        ended_at = case when g.state = 'waiting' then null else clock_timestamp() end
    from hapacs.outbound_commitment r, hapacs.outbound_committed c, given g
    where r.transaction = %(transaction)s and c.transaction = r.transaction and t.id = c.task and t.sop = g.sop
    and t.state in ('waiting', 'held', 'in flight') and (g.state = 'confirmed' or t.taken_at <= r.requested_at)
    returning t.kind, t.destination, t.state, t.size, t.rule
), {COUNTED}, noted as (
    update hapacs.outbound_commitment
    set reported_at = coalesce(reported_at, clock_timestamp()), committed = %(committed)s, failed = %(failed)s
    where transaction = %(transaction)s
)
select state, count(*) from ended group by 1
"""  # noqa: S608 - a constant


def add(connection: Connection, request: Request, tasks: Sequence[int]) -> None:
    """Keep a request before it is sent, so that its report finds it on any node. It can be repeated."""
    connection.execute(
        _ADD,
        {
            "transaction": request.transaction,
            "kind": request.lane.kind,
            "destination": request.lane.destination,
            "peer": request.peer,
            "node": request.node,
            "tasks": list(tasks),
        },
    )


def report(
    connection: Connection, peer: str, told: Report, ends: Mapping[str, tuple[str, str]], again: Backoff
) -> dict[str, int] | None:
    """Record a report, once.

    Parameters
    ----------
    connection : Connection
        To the leader.
    peer : str
        AE title that reports.
    told : Report
        What it says.
    ends : mapping
        State and reason that follow for each SOP Instance UID.
    again : Backoff
        When an image is sent again.

    Returns
    -------
    dict or None
        Number of tasks that changed, by their new state; None when this peer was not asked under this Transaction UID.
    """
    with connection.transaction():
        if connection.execute(_KNOWN, {"transaction": told.transaction, "peer": peer}).fetchone() is None:
            return None
        parameters = {
            "transaction": told.transaction,
            "sops": list(ends),
            "states": [state for state, _ in ends.values()],
            "reasons": [reason for _, reason in ends.values()],
            "first_s": again.first_s,
            "most_s": again.most_s,
            "committed": len(told.committed),
            "failed": len(told.failed),
        }
        return {state: int(number) for state, number in connection.execute(_REPORTED, parameters)}
