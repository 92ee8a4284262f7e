"""Table `hapacs.site`: whether a site leads, its term, and what the other site of the deployment said last.

Of two sites the one with the higher term leads. A primary site that hears of a higher one is fenced: it stores no image
of a caller until it leads again. Copies of the other site are stored at any time. A site without another has no row.
"""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from hapacs_node.catalog.database import Connection
from hapacs_node.replication.names import CALLER

Role = Literal["primary", "dr"]
State = Literal["leads", "follows", "fenced"]

PERIOD_S = 5.0
"""How often the other site is asked."""
# A site that was off for longer asks the other one before it stores: that one may have been promoted meanwhile.
_LONG_OFF = "interval '10 minutes'"

FENCED = f"""
select case when state = 'fenced' then 'this site is fenced: ' || reason
    else 'this site was off, and has not asked the other one yet whether that leads now' end as why
from hapacs.site
where state = 'fenced'
or (role = 'primary' and state = 'leads' and asked_at < pg_postmaster_start_time() and asked_at < now() - {_LONG_OFF})
"""  # noqa: S608 - a constant
"""Why images of callers are not stored; no row when they are."""
OPEN = f"(not exists ({FENCED}))"
"""Whether images of callers are stored, for the statement that stores them."""

_BEGIN = """
insert into hapacs.site (role, state, changed_by, reason)
values (%(role)s, case when %(role)s = 'primary' then 'leads' else 'follows' end, %(by)s, 'copies were switched on')
on conflict do nothing
"""
_END = "delete from hapacs.site where state <> 'fenced'"

_COLUMNS = (
    "role, state, term, changed_at, changed_by, reason, asked_at, heard_at, other, watched_at, "
    "clock_timestamp() as as_of"
)
_FIND = f"select {_COLUMNS} from hapacs.site"  # noqa: S608 - a constant

_CLAIM = """
update hapacs.site set due_at = clock_timestamp() + %(period_s)s * interval '1 second'
where due_at <= clock_timestamp() returning true
"""

_ASKED = "update hapacs.site set asked_at = clock_timestamp()"
_WATCHED = "update hapacs.site set watched_at = clock_timestamp()"

# Messages of several nodes may pass each other: an older one changes nothing.
_HEAR = """
update hapacs.site set heard_at = clock_timestamp(), asked_at = clock_timestamp(), other = %(other)s::jsonb,
    state = case when not gives_way then state when role = 'primary' then 'fenced' else 'follows' end,
    changed_at = case when gives_way then clock_timestamp() else changed_at end,
    changed_by = case when gives_way then 'the other site' else changed_by end,
    reason = case when gives_way then format('the other site leads with term %%s', %(term)s) else reason end
from (
    select single, state = 'leads' and %(leads)s and term < %(term)s as gives_way,
        coalesce((other ->> 'as_of')::timestamptz, '-infinity') > %(as_of)s::timestamptz as late
    from hapacs.site for update
) as before
where before.single = hapacs.site.single and not before.late
returning gives_way
"""

_SET = """
update hapacs.site set state = %(state)s, term = %(term)s, changed_at = clock_timestamp(), changed_by = %(by)s,
    reason = %(reason)s
where term = %(known)s
"""


@dataclass(frozen=True)
class Standing:
    """What a site is to the other one.

    Attributes
    ----------
    role : {'primary', 'dr'}
        By the settings.
    state : {'leads', 'follows', 'fenced'}
        A site that follows stores what it is sent too, and the other site gets copies; one that is fenced stores copies
        only.
    term : int
        Of two sites the one with the higher term leads.
    changed_at, changed_by, reason
        Of the last change of the state.
    asked_at : datetime or None
        When the other site was asked last, with or without an answer.
    heard_at : datetime or None
        When the other site said something last.
    other : dict or None
        What it said: `hapacs_node.replication.exchange.Statement`.
    watched_at : datetime
        When the Watchdog of its monitoring came last, or was first expected.
    as_of : datetime
        When this was read.
    """

    role: Role
    state: State
    term: int
    changed_at: datetime
    changed_by: str
    reason: str
    asked_at: datetime | None
    heard_at: datetime | None
    other: dict[str, Any] | None
    watched_at: datetime
    as_of: datetime


def switch(connection: Connection, role: Role | None, by: str) -> None:
    """Note that this site has another one, and its role; None for a site without. A fence stays, and what is noted."""
    if role is None:
        connection.execute(_END)
    else:
        connection.execute(_BEGIN, {"role": role, "by": by})


def find(connection: Connection) -> Standing | None:
    """Return what this site is to the other one; None without another one."""
    row = connection.execute(_FIND).fetchone()
    return None if row is None else Standing(*row)


def fenced(connection: Connection) -> str | None:
    """Return why images of callers are not stored here; None when they are."""
    row = connection.execute(FENCED).fetchone()
    return None if row is None else str(row[0])


def through(caller: str | None) -> bool:
    """Return whether a fenced site stores an image of a caller: copies, and what the nodes make again themselves."""
    return caller in {None, CALLER}


def claim(connection: Connection) -> bool:
    """Return whether this node is to ask the other site now. One of all nodes does so in each period."""
    return connection.execute(_CLAIM, {"period_s": PERIOD_S}).fetchone() is not None


def asked(connection: Connection) -> None:
    """Note that the other site was asked, and did not answer."""
    connection.execute(_ASKED)


def watched(connection: Connection) -> bool:
    """Note that the Watchdog of the other site came; return whether there is another site."""
    return connection.execute(_WATCHED).rowcount > 0


def hear(connection: Connection, said: dict[str, Any]) -> bool:
    """Note what the other site said; return whether this one gave way to its higher term.

    Parameters
    ----------
    connection : Connection
        To the leader.
    said : dict
        A `hapacs_node.replication.exchange.Statement`, fit for JSON.
    """
    parameters = {
        "other": json.dumps(said),
        "term": said["term"],
        "leads": said["state"] == "leads",
        "as_of": said["as_of"],
    }
    row = connection.execute(_HEAR, parameters).fetchone()
    return row is not None and bool(row[0])


@dataclass(frozen=True)
class Change:
    """A new state.

    Attributes
    ----------
    state, term
        As in `Standing`.
    known : int
        The term as it was read before.
    by, reason : str
        For the record.
    """

    state: State
    term: int
    known: int
    by: str
    reason: str


def change(connection: Connection, wanted: Change) -> bool:
    """Change state and term; return whether they were changed: the term must be the known one still."""
    given = asdict(wanted)
    return connection.execute(_SET, given).rowcount > 0
