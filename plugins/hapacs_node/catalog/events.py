"""Table `hapacs.event`: stored images that the planner has not compared with the rules yet."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from hapacs_node.catalog.database import Connection
from hapacs_node.catalog.index import DICOM
from hapacs_node.probe.names import CALLERS, CANARY_CALLER
from hapacs_node.replication.names import CALLER, VERIFIED

UNROUTED = [*sorted(CALLERS), CALLER]
"""Callers whose images no rule sees: the probe, and the first site at its second one."""

CLAIMABLE = "due_at <= now() and (node = %(node)s or due_at <= now() - interval '5 seconds')"
"""Which events a node may claim: others leave one for a few seconds to the node that has the image on its DAS."""

# The claim is a due time in the future: after a planner's death the next one takes the event over.
_CLAIM = f"""
with chosen as (
    select uuid from hapacs.event
    where {CLAIMABLE}
    order by due_at
    limit %(limit)s
    for update skip locked
)
update hapacs.event e set due_at = clock_timestamp() + %(lease_s)s * interval '1 second', attempts = e.attempts + 1
from chosen
where e.uuid = chosen.uuid
returning e.uuid, clock_timestamp() - e.created_at
"""  # noqa: S608 - a constant

_POSTPONE = """
update hapacs.event set due_at = clock_timestamp() + %(pause_s)s * interval '1 second' where uuid = any(%(uuids)s)
"""

# Orthanc's resource types are 1 for a study, 2 for a series and 3 for an instance; its metadata 3 and 12 are the
# calling and the called title. `offset 0` keeps the order of the joins, from an image to its names: PostgreSQL believes
# that few rows have one tag, and would begin with all series of the site.
_IMAGES = """
select o.uuid, named.study, named.series, named.sop, o.size, o.node, o.stored_at, o.caller, named.calling, named.called,
    named.trial
from hapacs.object o
join attachedfiles file on file.uuid = o.uuid::text and file.filetype = 1
cross join lateral (
    select study.value as study, series.value as series, sop.value as sop, calling.value as calling,
        called.value as called, coalesce(starts_with(patient.value, %(trial)s), false) as trial
    from resources instance
    join resources parent on parent.internalid = instance.parentid
    join dicomidentifiers sop on sop.id = instance.internalid and sop.taggroup = 8 and sop.tagelement = 24
    join dicomidentifiers series on series.id = parent.internalid and series.taggroup = 32 and series.tagelement = 14
    join dicomidentifiers study on study.id = parent.parentid and study.taggroup = 32 and study.tagelement = 13
    left join resources above on above.internalid = parent.parentid
    left join dicomidentifiers patient on patient.id = above.parentid and patient.taggroup = 16
        and patient.tagelement = 32
    left join metadata calling on calling.id = instance.internalid and calling.type = 3
    left join metadata called on called.id = instance.internalid and called.type = 12
    where instance.internalid = file.id and instance.resourcetype = 3
    offset 0
) named
where o.uuid = any(%(uuids)s) and o.tombstoned_at is null
"""

_PAST = """
select uuid, stored_at from hapacs.object
where type = %(dicom)s and tombstoned_at is null and stored_at >= %(oldest)s and stored_at <= %(stored_at)s
and coalesce(caller, '') <> all(%(unrouted)s) and (stored_at, uuid) < (%(stored_at)s, %(uuid)s)
order by stored_at desc, uuid desc
limit %(limit)s
"""


@dataclass(frozen=True)
class Past:
    """An image that was stored, and the place after it in the order of time.

    Attributes
    ----------
    uuid : UUID
        Its attachment.
    stored_at : datetime
        UTC.
    """

    uuid: UUID
    stored_at: datetime


@dataclass(frozen=True)
class Event:
    """An image to plan.

    Attributes
    ----------
    uuid : UUID
        Its attachment.
    age : timedelta
        Time since it was stored.
    """

    uuid: UUID
    age: timedelta


@dataclass(frozen=True)
class Image:
    """An image in the index.

    Attributes
    ----------
    uuid : UUID
        Its attachment.
    study, series, sop : str
        Study, series and SOP Instance UID.
    size : int
        Bytes.
    node : str
        The node that stored it.
    stored_at : datetime
        UTC.
    caller : str or None
        Who stored it, as in `StoredObject`.
    calling, called : str or None
        AE titles of the association.
    is_trial : bool
        Whether `hapacs verify` sent it. It sends the same files to each site, and removes them.
    """

    uuid: UUID
    study: str
    series: str
    sop: str
    size: int
    node: str
    stored_at: datetime
    caller: str | None
    calling: str | None
    called: str | None
    is_trial: bool = False

    @property
    def is_canary(self) -> bool:
        """Whether the probe stored it to be copied; rules do not see it."""
        return self.caller == CANARY_CALLER


def claim(connection: Connection, node: str, limit: int, lease_s: float) -> list[Event]:
    """Claim events, the oldest first; those of this node's images before those of others."""
    parameters = {"node": node, "limit": limit, "lease_s": lease_s}
    return [Event(*row) for row in connection.execute(_CLAIM, parameters)]


def postpone(connection: Connection, uuids: Sequence[UUID], pause_s: float) -> None:
    """Let events be claimed again after a pause."""
    connection.execute(_POSTPONE, {"uuids": list(uuids), "pause_s": pause_s})


def images(connection: Connection, uuids: Sequence[UUID]) -> list[Image]:
    """Return those of the images that are in the index and were not removed."""
    return [Image(*row) for row in connection.execute(_IMAGES, {"uuids": list(uuids), "trial": VERIFIED})]


def newest(connection: Connection) -> Past:
    """Return the place before the image that was stored last."""
    row = connection.execute("select clock_timestamp()").fetchone()
    assert row is not None  # noqa: S101 - a query without a table has one row
    return Past(UUID(int=(1 << 128) - 1), row[0])


def past(connection: Connection, oldest: datetime, before: Past, limit: int, *, copies: bool = False) -> list[Past]:
    """Return images that were stored before a place and not before a time, the newest first.

    Parameters
    ----------
    connection : Connection
        To the leader.
    oldest : datetime
        No image from before.
    before : Past
        The place.
    limit : int
        Most images.
    copies : bool
        Whether copies of the other site are among them.
    """
    parameters = {
        "dicom": DICOM,
        "unrouted": sorted(CALLERS) if copies else UNROUTED,
        "oldest": oldest,
        "uuid": before.uuid,
        "stored_at": before.stored_at,
        "limit": limit,
    }
    return [Past(*row) for row in connection.execute(_PAST, parameters)]
