"""Tasks of kind ``tombstone``: what was deleted at this site, and is to be deleted at the other one too.

Such a task is written with the tombstone itself (`hapacs_node.catalog.removals`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hapacs_node.catalog.database import Connection
from hapacs_node.catalog.tasks import REPLICATE, TOMBSTONE, Lane
from hapacs_node.replication.names import CALLER, DESTINATION

LANE = Lane(TOMBSTONE, DESTINATION)
RULE = "removed"
"""What such tasks have in place of a rule."""

# What the other site can't have is not told: an image without a task for its copy, once all of the past have one. What
# the other site deleted is deleted there. A second deletion of an image that was taken back is told again.
ADD = f"""
insert into hapacs.task
    (kind, destination, uuid, study, series, sop, sop_class, transfer_syntax, size, node, rule, priority, stored_at)
select '{TOMBSTONE}', r.destination, removed.uuid, %(study)s, %(series)s, %(sop)s, '', '', removed.size, removed.node,
    '{RULE}', 1, removed.stored_at
from removed cross join hapacs.replication r
where %(reason)s = 'removed' and %(caller)s::text is distinct from '{CALLER}'
and %(study)s::text is not null and %(series)s::text is not null and %(sop)s::text is not null
and (removed.caller = '{CALLER}' or not r.past_ended or exists (
    select from hapacs.task t
    where t.uuid = removed.uuid and t.kind = '{REPLICATE}' and t.destination = r.destination))
on conflict (uuid, kind, destination) do update
set state = 'waiting', due_at = clock_timestamp(), ended_at = null, attempts = 0, reason = ''
where hapacs.task.state in ('confirmed', 'dropped', 'dead')
"""  # noqa: S608 - constants
"""Adds the task for an image of a query `removed`; the inside of a common table expression."""

_OUTLOOK = f"""
select t.id, encode(o.digest, 'hex'),
    o.tombstoned_at is null or exists (
        select from hapacs.instance i join hapacs.object live on live.uuid = i.uuid
        where i.sop = t.sop and i.study = t.study and live.tombstoned_at is null),
    exists (
        select from hapacs.task r where r.uuid = t.uuid and r.kind = '{REPLICATE}'
        and r.state in ('gathering', 'waiting', 'held', 'in flight'))
from hapacs.task t join hapacs.object o on o.uuid = t.uuid
where t.id = any(%(ids)s)
"""  # noqa: S608 - a constant

_INDEXED = """
select resource.publicid, coalesce(encode(o.digest, 'hex'), '')
from dicomidentifiers sop
join resources resource on resource.internalid = sop.id and resource.resourcetype = 3
join resources parent on parent.internalid = resource.parentid
join dicomidentifiers series on series.id = parent.internalid and series.taggroup = 32 and series.tagelement = 14
join dicomidentifiers study on study.id = parent.parentid and study.taggroup = 32 and study.tagelement = 13
join attachedfiles file on file.id = resource.internalid and file.filetype = 1
left join hapacs.object o on o.uuid::text = file.uuid
where sop.taggroup = 8 and sop.tagelement = 24 and sop.value = %(sop)s
and series.value = %(series)s and study.value = %(study)s
"""


@dataclass(frozen=True)
class Outlook:
    """Whether a deletion is still to be told.

    Attributes
    ----------
    digest : str
        SHA-256 of what was deleted.
    is_back : bool
        Whether an image with these UIDs is stored here again.
    copies : bool
        Whether its copy may be on its way to the other site still.
    """

    digest: str
    is_back: bool
    copies: bool


@dataclass(frozen=True)
class Indexed:
    """An image in the index.

    Attributes
    ----------
    resource : str
        Orthanc's name of the instance.
    digest : str
        SHA-256 of its bytes.
    """

    resource: str
    digest: str


def outlook(connection: Connection, ids: Sequence[int]) -> dict[int, Outlook]:
    """Return by the numbers of tasks whether their deletions are still to be told."""
    return {id_: Outlook(*rest) for id_, *rest in connection.execute(_OUTLOOK, {"ids": list(ids)})}


def indexed(connection: Connection, study: str, series: str, sop: str) -> list[Indexed]:
    """Return the images that the index has under some UIDs; several when they are of several patients."""
    found = connection.execute(_INDEXED, {"study": study, "series": series, "sop": sop})
    return [Indexed(*row) for row in found]
