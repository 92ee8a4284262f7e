"""Canaries: images of the probe that are copied to the other site each minute as any image is.

They prove that copies work, apart from the query for RPO, which leaves them out.
"""

from dataclasses import dataclass
from datetime import datetime

from hapacs_node.catalog.database import Connection
from hapacs_node.catalog.tasks import REPLICATE
from hapacs_node.probe.names import PATIENT
from hapacs_node.replication.names import CANARY_RULE, DESTINATION

IN_TIME_S = 60.0
"""A canary that is not confirmed after this time is late: the next one comes."""

_CANARIES = f"kind = '{REPLICATE}' and rule = '{CANARY_RULE}' and destination = %(destination)s"

# The catalog has the row of an image some milliseconds before its sender has the acknowledgement.
_FIND = f"""
select r.canary_since, last.ended_at,
    extract(epoch from now() - coalesce(last.ended_at, r.canary_since))::float8,
    extract(epoch from last.ended_at - last.stored_at)::float8, hour.canaries, hour.late
from hapacs.replication r
left join lateral (
    select stored_at, ended_at from hapacs.task where {_CANARIES} and state = 'confirmed'
    order by stored_at desc limit 1
) as last on true
cross join lateral (
    select count(*) as canaries, count(*) filter (
        where coalesce(ended_at, now()) > stored_at + %(in_time_s)s * interval '1 second'
        or state in ('dropped', 'dead')) as late
    from hapacs.task where {_CANARIES} and stored_at > now() - interval '1 hour'
) as hour
where r.destination = %(destination)s and r.canary_since is not null
"""  # noqa: S608 - constants

_STUDIES = "select uid from hapacs.study where patient_id = %(patient)s order by uid"

# The one that was confirmed last stays: it says since when none is.
_FORGET = f"""
delete from hapacs.task where study = %(study)s and {_CANARIES} and state <> 'in flight'
and uuid in (
    select r.uuid from hapacs.removal r join hapacs.object o using (uuid)
    where r.study = %(study)s and r.reason = 'resent'
    and o.tombstoned_at < clock_timestamp() - %(kept_s)s * interval '1 second')
and id is distinct from (
    select id from hapacs.task where {_CANARIES} and state = 'confirmed' order by stored_at desc limit 1)
"""  # noqa: S608 - constants


@dataclass(frozen=True)
class Canary:
    """What the canaries say about the copies.

    Attributes
    ----------
    since : datetime
        When the first one was to come.
    confirmed_at : datetime or None
        When the last one was confirmed that was confirmed at all; None before the first.
    age_s : float
        Time since then; before the first one, since `since`.
    seconds : float or None
        Its time from the acknowledgement to the confirmation.
    canaries, late : int
        Those that were stored within an hour, and how many of them were not confirmed within `IN_TIME_S`.
    """

    since: datetime
    confirmed_at: datetime | None
    age_s: float
    seconds: float | None
    canaries: int
    late: int


def find(connection: Connection) -> Canary | None:
    """Return what the canaries say; None when none are copied."""
    row = connection.execute(_FIND, {"destination": DESTINATION, "in_time_s": IN_TIME_S}).fetchone()
    return None if row is None else Canary(*row)


def studies(connection: Connection) -> list[str]:
    """Return Study Instance UIDs of the probes of this site, and of the other one if their images are copied here."""
    return [uid for (uid,) in connection.execute(_STUDIES, {"patient": PATIENT})]


def forget(connection: Connection, study: str, kept_s: float) -> int:
    """Delete the tasks of canaries of a study whose image was stored again since; return their number.

    Parameters
    ----------
    connection : Connection
        To the leader.
    study : str
        Study Instance UID.
    kept_s : float
        A task stays for so long after that.
    """
    return connection.execute(_FORGET, {"study": study, "kept_s": kept_s, "destination": DESTINATION}).rowcount
