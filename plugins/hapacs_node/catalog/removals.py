"""Table `hapacs.removal`: why and for whom DICOM files were removed, and the studies that they belong to."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from hapacs_node.catalog import headers, tombstones
from hapacs_node.catalog.database import Connection
from hapacs_node.catalog.index import DICOM
from hapacs_node.catalog.objects import COLUMNS, StoredObject

Reason = Literal["removed", "replaced", "resent", "refused", "unknown"]
"""``removed`` on request; ``replaced`` by other bytes with the same UIDs; ``resent`` with equal bytes; ``refused`` by
the index, so that its sender keeps it; ``unknown`` when it was tombstoned before this table existed."""


@dataclass(frozen=True)
class Removal:
    """Why a DICOM file was removed.

    Attributes
    ----------
    reason : str
        See `Reason`.
    caller : str or None
        Who removed it: ``title:...`` or ``user:...``.
    study, series, sop : str or None
        Its UIDs; None when its bytes could not be read.
    """

    reason: Reason
    caller: str | None = None
    study: str | None = None
    series: str | None = None
    sop: str | None = None


@dataclass(frozen=True)
class DeletedStudy:
    """A study of which images were removed on request.

    Attributes
    ----------
    study : str
        Study Instance UID.
    images, missing : int
        Removed images, and those of them that are not in the index now.
    first_at, last_at : datetime
        Times of the first and the last removal, UTC.
    callers, nodes : tuple of str
        Who removed them, and on which nodes.
    """

    study: str
    images: int
    missing: int
    first_at: datetime
    last_at: datetime
    callers: tuple[str, ...]
    nodes: tuple[str, ...]


_TOMBSTONE = f"""
with removed as (
    update hapacs.object
    set tombstoned_at = coalesce(tombstoned_at, clock_timestamp()), tombstoned_by = coalesce(tombstoned_by, %(node)s)
    where uuid = %(uuid)s
    returning *
), noted as (
    insert into hapacs.removal (uuid, reason, caller, study, series, sop)
    select uuid, %(reason)s, %(caller)s, %(study)s, %(series)s, %(sop)s from removed where type = {DICOM}
    on conflict (uuid) do nothing
), unlisted as (
    {headers.REMOVE}
), told as (
    {tombstones.ADD}
)
select {COLUMNS} from removed
"""  # noqa: S608 - constants

# Also those that an older program tombstoned, which knew no table of removals.
_WITHOUT_STUDY = f"""
select {COLUMNS} from hapacs.object
where tombstoned_at is not null and type = {DICOM}
and not exists (select from hapacs.removal r where r.uuid = object.uuid and r.study is not null)
order by tombstoned_at desc
limit %(limit)s
"""  # noqa: S608

# Tombstones that another row of the same bytes makes superfluous. A row that a task, an event or a damage names stays.
_CHOOSE_RESENT = """
select removal.uuid from hapacs.removal join hapacs.object using (uuid)
where removal.study = %(study)s and removal.reason = 'resent'
and object.tombstoned_at < clock_timestamp() - %(kept_s)s * interval '1 second'
and exists (select from hapacs.object live where live.digest = object.digest and live.key = object.key
    and live.tombstoned_at is null)
and not exists (select from hapacs.event where event.uuid = removal.uuid)
and not exists (select from hapacs.task where task.uuid = removal.uuid)
and not exists (select from hapacs.damage where damage.uuid = removal.uuid)
limit %(limit)s
"""

_IDENTIFY = """
insert into hapacs.removal (uuid, reason, study, series, sop)
values (%(uuid)s, 'unknown', %(study)s, %(series)s, %(sop)s)
on conflict (uuid) do update set study = excluded.study, series = excluded.series, sop = excluded.sop
"""

_OF_STUDY = f"""
select distinct on (removal.series, removal.sop) {COLUMNS}, removal.series, removal.sop
from (
    select uuid, series, sop from hapacs.removal where study = %(study)s and reason <> 'refused'
) removal join hapacs.object using (uuid)
order by removal.series, removal.sop, object.tombstoned_at desc, object.stored_at desc
"""  # noqa: S608

_DELETED = """
with removed as (
    select removal.*, object.tombstoned_at, object.tombstoned_by, not exists (
        select from dicomidentifiers i where i.taggroup = 8 and i.tagelement = 24 and i.value = removal.sop
    ) as missing
    from hapacs.object join hapacs.removal using (uuid)
    where object.tombstoned_at >= coalesce(%(since)s::timestamptz, '-infinity') and removal.study <> ''
)
select study, count(distinct sop), count(distinct sop) filter (where missing), min(tombstoned_at), max(tombstoned_at),
       array_agg(distinct coalesce(caller, 'unknown')), array_agg(distinct tombstoned_by)
from removed
where reason = 'removed' or (reason = 'unknown' and missing)
group by study
order by max(tombstoned_at) desc
limit %(limit)s
"""

_STORED = """
select series.value, sop.value, encode(o.digest, 'hex')
from dicomidentifiers study
join resources s on s.parentid = study.id
join dicomidentifiers series on series.id = s.internalid and series.taggroup = 32 and series.tagelement = 14
join resources i on i.parentid = s.internalid
join dicomidentifiers sop on sop.id = i.internalid and sop.taggroup = 8 and sop.tagelement = 24
join attachedfiles file on file.id = i.internalid and file.filetype = 1
left join hapacs.object o on o.uuid = file.uuid::uuid
where study.taggroup = 32 and study.tagelement = 13 and study.value = %(study)s
"""

_INHERIT = """
update hapacs.object o set caller = %(caller)s
from attachedfiles file
where o.digest = %(digest)s and file.uuid = o.uuid::text and o.tombstoned_at is null
"""

# Only what the index has.
_REVIVE = """
with revived as (
    update hapacs.object o set tombstoned_at = null, tombstoned_by = null
    where uuid = %(uuid)s and tombstoned_at is not null
    and exists (select from attachedfiles where attachedfiles.uuid = o.uuid::text)
    returning uuid
), forgotten as (
    delete from hapacs.removal where uuid in (select uuid from revived)
)
select uuid from revived
"""


def tombstone(connection: Connection, uuid: UUID, node: str, removal: Removal) -> StoredObject | None:
    """Mark an attachment as removed, with the reason if it is a DICOM file. The first removal counts; its bytes remain.

    Returns
    -------
    StoredObject or None
        The attachment; None when the catalog doesn't know it.
    """
    parameters = {"uuid": uuid, "node": node, "reason": removal.reason, "caller": removal.caller}
    uids = {"study": removal.study, "series": removal.series, "sop": removal.sop}
    found = connection.execute(_TOMBSTONE, parameters | uids).fetchone()
    return None if found is None else StoredObject(*found)


def without_study(connection: Connection, limit: int) -> list[StoredObject]:
    """List removed DICOM files whose study is not known, the last removal first."""
    return [StoredObject(*row) for row in connection.execute(_WITHOUT_STUDY, {"limit": limit})]


def identify(connection: Connection, uuid: UUID, study: str, series: str, sop: str) -> None:
    """Record the UIDs of a removed DICOM file; empty ones when it has none."""
    connection.execute(_IDENTIFY, {"uuid": uuid, "study": study, "series": series, "sop": sop})


def of_study(connection: Connection, study: str) -> dict[tuple[str, str], StoredObject]:
    """Return the removed images of a study by series and SOP Instance UID; of several versions the last removed one."""
    return {(series, sop): StoredObject(*row) for *row, series, sop in connection.execute(_OF_STUDY, {"study": study})}


def stored(connection: Connection, study: str) -> dict[tuple[str, str], str | None]:
    """Return the digests of the images of a study in the index by series and SOP Instance UID."""
    found = connection.execute(_STORED, {"study": study})
    return {(series, sop): digest for series, sop, digest in found}


def deleted(connection: Connection, since: datetime | None, limit: int) -> Sequence[DeletedStudy]:
    """List the studies of which images were removed on request, the last removal first."""
    found = connection.execute(_DELETED, {"since": since, "limit": limit})
    return [
        DeletedStudy(study, images, missing, first_at, last_at, tuple(callers), tuple(nodes))
        for study, images, missing, first_at, last_at, callers, nodes in found
    ]


def inherit(connection: Connection, digest: str, caller: str | None) -> None:
    """Record who stored an image first, for one that was restored."""
    connection.execute(_INHERIT, {"digest": bytes.fromhex(digest), "caller": caller})


def revive(connection: Connection, uuid: UUID) -> bool:
    """Take the tombstone from an attachment that the index has; return whether there was one.

    Its rows for searches have to be written again.
    """
    return connection.execute(_REVIVE, {"uuid": uuid}).fetchone() is not None


def forget_resent(connection: Connection, study: str, kept_s: float, limit: int) -> int:
    """Delete rows of images of one study that were stored again with equal bytes; return how many.

    The archive keeps the bytes, and a row that is in use names them. Only for images that hapacs makes itself and
    stores again and again: of all others every row is kept.

    Parameters
    ----------
    connection : Connection
        Within a transaction.
    study : str
        Study Instance UID.
    kept_s : float
        A row stays for so long after its image was replaced.
    limit : int
        The most to delete.
    """
    named = {"study": study, "kept_s": kept_s, "limit": limit}
    uuids = [row[0] for row in connection.execute(_CHOOSE_RESENT, named)]
    if uuids:
        connection.execute("delete from hapacs.removal where uuid = any(%(uuids)s)", {"uuids": uuids})
        connection.execute("delete from hapacs.object where uuid = any(%(uuids)s)", {"uuids": uuids})
    return len(uuids)
