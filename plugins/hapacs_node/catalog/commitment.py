"""Tables `hapacs.commitment` and `.committed`: requests for storage commitment, which any node works on.

Times are the database's, so that the clocks of nodes do not matter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from hapacs_node.catalog.database import Connection

COMMITTED = 0
"""Value of `failure` of an image that is committed."""


@dataclass(frozen=True)
class Referenced:
    """An image of a request.

    Attributes
    ----------
    sop_class, sop : str
        Its SOP Class and SOP Instance UID, as the caller gave them.
    number : int
        Its place in the request.
    failure : int or None
        0 when it is committed, a reason of DICOM PS3.3 C.14.1.1 when it is not, None when that is not known yet.
    problem : str
        Why it is not committed, for people.
    """

    sop_class: str
    sop: str
    number: int = 0
    failure: int | None = None
    problem: str = ""


@dataclass(frozen=True)
class Claim:
    """A request that this process works on.

    Attributes
    ----------
    id : int
        Its number.
    caller, called : str
        AE titles of the association that brought it.
    transaction : str
        Transaction UID (0008,1195).
    state : str
        ``checking`` or ``reporting``.
    attempts : int
        How often the check or the report was tried, this time included.
    age_s : float
        Time since the request, or for a report since the check ended.
    """

    id: int
    caller: str
    called: str
    transaction: str
    state: str
    attempts: int
    age_s: float


@dataclass(frozen=True)
class Listed:
    """A request as operators see it."""

    id: int
    caller: str
    transaction: str
    state: str
    requested_at: datetime
    checked_at: datetime | None
    ended_at: datetime | None
    due_at: datetime
    attempts: int
    error: str
    images: int
    committed: int
    failed: int


# A caller that repeats a request under the same identifier, because it had no answer, gets a new check and report.
_FORGET = "delete from hapacs.commitment where caller = %(caller)s and transaction = %(transaction)s"

_ADD = """
with request as (
    insert into hapacs.commitment (caller, called, transaction) values (%(caller)s, %(called)s, %(transaction)s)
    returning id
)
insert into hapacs.committed (commitment, number, sop_class, sop)
select request.id, given.number, given.sop_class, given.sop
from request, unnest(%(classes)s::text[], %(sops)s::text[]) with ordinality as given (sop_class, sop, number)
"""

_CLAIM = """
update hapacs.commitment
set holder = %(holder)s, leased_until = clock_timestamp() + %(lease_s)s * interval '1 second', attempts = attempts + 1
where id = (
    select id from hapacs.commitment
    where state in ('checking', 'reporting') and due_at <= now() and (leased_until is null or leased_until < now())
    order by due_at limit 1 for update skip locked
)
returning id, caller, called, transaction, state, attempts,
    extract(epoch from clock_timestamp() - coalesce(checked_at, requested_at))::float8
"""

_RENEW = """
update hapacs.commitment set leased_until = clock_timestamp() + %(lease_s)s * interval '1 second'
where holder = %(holder)s
"""

_OPEN = """
select sop_class, sop, number, failure, problem from hapacs.committed
where commitment = %(id)s and failure is null and number > %(after)s order by number limit %(limit)s
"""

_ALL = "select sop_class, sop, number, failure, problem from hapacs.committed where commitment = %(id)s order by number"

_JUDGED = """
update hapacs.committed c set failure = given.failure, problem = given.problem
from unnest(%(numbers)s::int[], %(failures)s::int[], %(problems)s::text[]) as given (number, failure, problem)
where c.commitment = %(id)s and c.number = given.number
and exists (select from hapacs.commitment where id = %(id)s and holder = %(holder)s)
"""

_AGAIN = """
update hapacs.commitment
set holder = null, leased_until = null, error = %(error)s,
    due_at = clock_timestamp() + %(pause_s)s * interval '1 second'
where id = %(id)s and holder = %(holder)s
"""

_CHECKED = """
update hapacs.commitment
set state = 'reporting', checked_at = clock_timestamp(), due_at = clock_timestamp(), attempts = 0, error = '',
    holder = null, leased_until = null
where id = %(id)s and holder = %(holder)s
and not exists (select from hapacs.committed where commitment = %(id)s and failure is null)
"""

_END = """
update hapacs.commitment
set state = %(state)s, ended_at = clock_timestamp(), error = %(error)s, holder = null, leased_until = null
where id = %(id)s and holder = %(holder)s
"""

# Tag (0008,0018), and Orthanc's metadata 10, the SOP class. Only what the index refers to is an image of the site.
_PLACES = """
select sop.value, file.uuid, class.value
from dicomidentifiers sop
join resources instance on instance.internalid = sop.id and instance.resourcetype = 3
join attachedfiles file on file.id = instance.internalid and file.filetype = 1
left join metadata class on class.id = instance.internalid and class.type = 10
where sop.taggroup = 8 and sop.tagelement = 24 and sop.value = any(%(sops)s)
"""

_LIST = """
select r.id, r.caller, r.transaction, r.state, r.requested_at, r.checked_at, r.ended_at, r.due_at, r.attempts, r.error,
    count(c.number), count(*) filter (where c.failure = 0), count(*) filter (where c.failure <> 0)
from hapacs.commitment r left join hapacs.committed c on c.commitment = r.id
where (%(open)s and r.state in ('checking', 'reporting')) or not %(open)s
group by r.id order by r.id desc limit %(limit)s
"""

_COUNTS = """
select state, count(*), coalesce(extract(epoch from now() - min(requested_at)), 0)::float8
from hapacs.commitment where state in ('checking', 'reporting') group by 1
"""


def add(connection: Connection, caller: str, called: str, transaction: str, images: Sequence[Referenced]) -> None:
    """Keep a request. It can be repeated; images get their numbers from 1 in the given order."""
    parameters = {"caller": caller, "called": called, "transaction": transaction}
    with connection.transaction():
        connection.execute(_FORGET, parameters)
        given = {"classes": [one.sop_class for one in images], "sops": [one.sop for one in images]}
        connection.execute(_ADD, parameters | given)


def claim(connection: Connection, holder: str, lease_s: float) -> Claim | None:
    """Claim the request that is due for the longest time, also one whose holder has died."""
    row = connection.execute(_CLAIM, {"holder": holder, "lease_s": lease_s}).fetchone()
    return None if row is None else Claim(*row)


def renew(connection: Connection, holder: str, lease_s: float) -> None:
    """Keep a claim."""
    connection.execute(_RENEW, {"holder": holder, "lease_s": lease_s})


def unjudged(connection: Connection, number: int, after: int, limit: int) -> list[Referenced]:
    """List images of a request that are not judged, in their order after a number."""
    parameters = {"id": number, "after": after, "limit": limit}
    return [Referenced(*row) for row in connection.execute(_OPEN, parameters)]


def images(connection: Connection, number: int) -> list[Referenced]:
    """List the images of a request."""
    return [Referenced(*row) for row in connection.execute(_ALL, {"id": number})]


def judged(connection: Connection, number: int, holder: str, found: Sequence[Referenced]) -> None:
    """Record what was found of some images. Nothing changes when another process has the request."""
    connection.execute(
        _JUDGED,
        {
            "id": number,
            "holder": holder,
            "numbers": [one.number for one in found],
            "failures": [one.failure for one in found],
            "problems": [one.problem for one in found],
        },
    )


def checked(connection: Connection, number: int, holder: str) -> bool:
    """Let a request be reported; return whether all of its images are judged."""
    return connection.execute(_CHECKED, {"id": number, "holder": holder}).rowcount > 0


def again(connection: Connection, number: int, holder: str, error: str, pause_s: float) -> None:
    """Give a request back, to be tried again after a pause."""
    connection.execute(_AGAIN, {"id": number, "holder": holder, "error": error, "pause_s": pause_s})


def end(connection: Connection, number: int, holder: str, state: str, error: str = "") -> None:
    """End a request: ``reported``, or ``undelivered`` when its caller took no report."""
    connection.execute(_END, {"id": number, "holder": holder, "state": state, "error": error})


def places(connection: Connection, sops: Sequence[str]) -> Mapping[str, Mapping[UUID, str | None]]:
    """Find the files that the index has of images, each with its SOP class; several when patients differ."""
    found: dict[str, dict[UUID, str | None]] = {}
    for sop, uuid, sop_class in connection.execute(_PLACES, {"sops": list(sops)}):
        found.setdefault(sop, {})[UUID(uuid)] = sop_class
    return found


def listing(connection: Connection, *, only_open: bool, limit: int) -> list[Listed]:
    """List requests, the newest first."""
    return [Listed(*row) for row in connection.execute(_LIST, {"open": only_open, "limit": limit})]


def counts(connection: Connection) -> dict[str, tuple[int, float]]:
    """Return the number of requests in each state that is not the end, and the age of the oldest, seconds."""
    return {state: (int(number), float(age_s)) for state, number, age_s in connection.execute(_COUNTS)}
