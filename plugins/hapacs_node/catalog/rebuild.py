"""Rows of table `hapacs.object` while index and catalog are rebuilt from the archive.

Before Orthanc stores an image again, a row names the place that its bytes already have: so they are not archived a
second time, and no event sends the image to other systems again. The row goes when the image is stored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID, uuid5

from hapacs_node.catalog.database import Connection
from hapacs_node.catalog.index import DICOM
from hapacs_node.record.identity import Identity

State = Literal["present", "removed"]
"""``present``: the index has it; ``removed``: the index had it since, and it was deleted or replaced."""

MARK = "rebuild --from-archive"
"""The node that a row of this module names as the one that removed it. No node's name has a space."""

_SPACE = UUID("6c1f0a5e-6d0b-5a5e-9d5e-0c1c5a0f7e11")


@dataclass(frozen=True, slots=True)
class Place:
    """The place of an image's bytes in the archive."""

    digest: str
    key: str
    offset: int
    length: int

    @property
    def uuid(self) -> UUID:
        """The name of its row, the same in every run."""
        return uuid5(_SPACE, f"{self.key}:{self.offset}")


_STATES = f"""
select encode(o.digest, 'hex'),
       bool_or(o.tombstoned_at is null and file.uuid is not null),
       bool_or(o.tombstoned_at is not null and removal.reason <> 'refused')
from hapacs.object o
left join attachedfiles file on file.uuid = o.uuid::text
left join hapacs.removal removal on removal.uuid = o.uuid
where o.digest = any(%(digests)s) and o.type = {DICOM}
group by o.digest
"""  # noqa: S608 - constants

# No type of a DICOM file: these rows are no images that somebody removed.
_REGISTER = """
insert into hapacs.object (uuid, digest, size, type, store, key, "offset", length, node, tombstoned_at, tombstoned_by)
select uuid, digest, length, 0, 'cas', key, "offset", length, %(node)s, now(), %(mark)s
from unnest(%(uuids)s::uuid[], %(digests)s::bytea[], %(keys)s::text[], %(offsets)s::bigint[], %(lengths)s::bigint[])
    as g (uuid, digest, key, "offset", length)
on conflict (uuid) do nothing
"""

# A row that a scrub has found damaged meanwhile stays: its finding refers to it.
_FORGET = """
delete from hapacs.object o where uuid = any(%(uuids)s::uuid[]) and tombstoned_by = %(mark)s
and not exists (select from hapacs.damage where damage.uuid = o.uuid)
"""

_KEEP = f"""
with kept as (
    insert into hapacs.object (
        uuid, digest, size, type, store, key, "offset", length, node, tombstoned_at, tombstoned_by)
    values (%(uuid)s, %(digest)s, %(length)s, {DICOM}, 'cas', %(key)s, %(offset)s, %(length)s,
        %(node)s, now(), %(node)s)
    on conflict (uuid) do update set type = excluded.type, tombstoned_by = excluded.tombstoned_by
    where object.tombstoned_by = %(mark)s
    returning uuid
)
insert into hapacs.removal (uuid, reason, study, series, sop)
select uuid, 'replaced', %(study)s, %(series)s, %(sop)s from kept
on conflict (uuid) do nothing
"""  # noqa: S608


def states(connection: Connection, digests: Sequence[str]) -> Mapping[str, State]:
    """Return what index and catalog know of images, by their digests; unknown ones are left out."""
    found: dict[str, State] = {}
    for digest, present, removed in connection.execute(_STATES, {"digests": [bytes.fromhex(one) for one in digests]}):
        if present or removed:
            found[digest] = "present" if present else "removed"
    return found


def register(connection: Connection, places: Sequence[Place], node: str) -> None:
    """Write rows for the places of images that are about to be stored. It can be repeated."""
    connection.execute(
        _REGISTER,
        {
            "uuids": [place.uuid for place in places],
            "digests": [bytes.fromhex(place.digest) for place in places],
            "keys": [place.key for place in places],
            "offsets": [place.offset for place in places],
            "lengths": [place.length for place in places],
            "node": node,
            "mark": MARK,
        },
    )


def forget(connection: Connection, places: Sequence[Place]) -> None:
    """Remove the rows of `register`."""
    connection.execute(_FORGET, {"uuids": [place.uuid for place in places], "mark": MARK})


def keep(connection: Connection, place: Place, about: Identity, node: str) -> None:
    """Record an image as replaced: the index has other bytes with its UIDs, which were archived later."""
    uids = {"study": about.study, "series": about.series, "sop": about.sop}
    row = {"digest": bytes.fromhex(place.digest), "key": place.key, "offset": place.offset, "length": place.length}
    connection.execute(_KEEP, {"uuid": place.uuid, **row, **uids, "node": node, "mark": MARK})


def ready(connection: Connection) -> bool:
    """Return whether Orthanc and the migrations have created their tables."""
    found = connection.execute(
        "select to_regclass('attachedfiles') is not null and to_regclass('hapacs.damage') is not null"
    ).fetchone()
    return found is not None and bool(found[0])
