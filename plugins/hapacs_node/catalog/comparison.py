"""Reads the images of a site in ranges of SOP Instance UIDs, for the comparison of two sites.

A statement covers one range, in a transaction of its own that writes nothing, so that none lasts long. The index
`instance_sop` gives the images in order; databases of sites have the locale C.UTF-8, in which UIDs are ordered by their
characters, as Python orders them.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from hapacs_node.catalog.database import Connection
from hapacs_node.catalog.replication import LANE
from hapacs_node.probe.names import CALLERS, PATIENT


class Bounds(NamedTuple):
    """Where the next ranges of a site begin.

    Attributes
    ----------
    bounds : tuple of str
        SOP Instance UIDs in order, each the first one of a range.
    end : str or None
        The first one after these ranges; None when the site has none.
    """

    bounds: tuple[str, ...]
    end: str | None


class Range(NamedTuple):
    """What a site has in one range.

    Attributes
    ----------
    images : int
        Their number.
    digest : str
        SHA-256 over all of them, hexadecimal; empty without one.
    """

    images: int
    digest: str


class Image(NamedTuple):
    """One image of a site."""

    study: str
    sop: str
    digest: str
    size: int


class Place(NamedTuple):
    """Where the archive of a site has an image.

    Attributes
    ----------
    sop : str
        SOP Instance UID.
    store, key : str
        As in `StoredObject`.
    first_at : datetime
        When the first image was stored that has this archive object, also one that is removed by now: equal bytes are
        kept once. UTC.
    """

    sop: str
    store: str
    key: str
    first_at: datetime


class Outlook(NamedTuple):
    """What this site knows of an image that the second site lacks or has with other bytes.

    Attributes
    ----------
    waiting : bool
        Its copy is under way.
    left_out : bool
        It was stored before the copies began, and is not planned.
    state, reason : str
        Of its task in the outbox; empty without one.
    """

    waiting: bool
    left_out: bool
    state: str
    reason: str


# Images of probes are left out, also their copies. What is not in the index was not acknowledged.
_OF_SITE = """
from hapacs.instance i
join hapacs.object o on o.uuid = i.uuid
where o.tombstoned_at is null and coalesce(o.caller, '') <> all(%(probe)s)
and i.study not in (select s.uid from hapacs.study s where s.patient_id = %(patient)s)
and exists (select from attachedfiles f where f.uuid = o.uuid::text and f.filetype = 1)
and (%(study)s::text is null or i.study = %(study)s)
"""
_WITHIN = "and i.sop >= %(start)s and (%(end)s::text is null or i.sop < %(end)s)"

_BOUNDS = """
select sop from (
    select i.sop, row_number() over (order by i.sop) - 1 as n from hapacs.instance i
    where i.sop >= %(start)s and (%(study)s::text is null or i.study = %(study)s)
    order by i.sop limit %(limit)s
) as numbered where n > 0 and n %% %(step)s = 0 order by sop
"""

# The digests of images are sorted as bytes, which does not depend on a locale.
_RANGES = f"""
select width_bucket(sop, %(bounds)s::text[]), count(*),
    encode(sha256(string_agg(image, ''::bytea order by image)), 'hex')
from (
    select i.sop, sha256(convert_to(concat_ws(E'\\n', i.study, i.sop, o.size, ''), 'UTF8') || o.digest) as image
    {_OF_SITE} {_WITHIN}
) as images group by 1
"""  # noqa: S608 - constants

_COLUMNS = "i.study, i.sop, encode(o.digest, 'hex'), o.size"

_IMAGES = f"select {_COLUMNS} {_OF_SITE} {_WITHIN} order by i.sop limit %(limit)s"

_NAMED = f"select {_COLUMNS} {_OF_SITE} and i.sop = any(%(sops)s)"

_PLACES = f"""
select i.sop, o.store, o.key, (select min(s.stored_at) from hapacs.object s where s.key collate "C" = o.key)
{_OF_SITE} and i.sop = any(%(sops)s)
"""  # noqa: S608 - constants

# An image that has no task has its event, or is of the past and not planned yet.
_OUTLOOK = """
select i.study, i.sop,
    coalesce(t.state in ('gathering', 'waiting', 'held', 'in flight'), false)
        or (t.state is null and exists (select from hapacs.event e where e.uuid = i.uuid)),
    coalesce(t.state is null and o.stored_at < r.since and not r.past_ended
        and (r.past_at is null or (o.stored_at, o.uuid) < (r.past_at, r.past_uuid)), false),
    coalesce(t.state, ''), coalesce(t.reason, '')
from hapacs.instance i
join hapacs.object o on o.uuid = i.uuid
left join hapacs.replication r on r.destination = %(destination)s
left join hapacs.task t on t.uuid = i.uuid and t.kind = %(kind)s and t.destination = %(destination)s
where o.tombstoned_at is null and i.sop = any(%(sops)s)
"""

_DELETED = """
select distinct r.study, r.sop from hapacs.removal r
where r.study = any(%(studies)s) and r.sop = any(%(sops)s) and r.reason in ('removed', 'unknown')
"""


def bounds(connection: Connection, start: str, study: str | None, step: int, ranges: int) -> Bounds:
    """Return where the next ranges begin.

    Parameters
    ----------
    start : str
        A SOP Instance UID; the first range begins there.
    study : str or None
        Only images of this study.
    step : int
        Images of a range.
    ranges : int
        Most ranges.
    """
    names = {"start": start, "study": study, "step": step, "limit": step * ranges + 1}
    found = [str(sop) for (sop,) in _read(connection, _BOUNDS, names)]
    end = found[-1] if len(found) == ranges else None
    # Several images may have one UID: they are in one range.
    return Bounds(tuple(sorted({sop for sop in found if start < sop and sop != end})), end)


def ranges(connection: Connection, bounds: Sequence[str], end: str | None, study: str | None) -> list[Range]:
    """Return what the site has in ranges that follow each other.

    Parameters
    ----------
    bounds : sequence of str
        Where each range begins, in order.
    end : str or None
        The first SOP Instance UID after the last range; None for no end.
    study : str or None
        Only images of this study.
    """
    names = {**_names(study), "bounds": list(bounds), "start": bounds[0], "end": end}
    rows = _read(connection, _RANGES, names)
    found = {number: Range(images, digest) for number, images, digest in rows}
    return [found.get(number, Range(0, "")) for number in range(1, len(bounds) + 1)]


def images(connection: Connection, start: str, end: str | None, study: str | None, limit: int) -> list[Image]:
    """Return the images of a range, at most `limit`."""
    names = {**_names(study), "start": start, "end": end, "limit": limit}
    return [Image(*row) for row in _read(connection, _IMAGES, names)]


def named(connection: Connection, sops: Sequence[str], study: str | None) -> list[Image]:
    """Return the images with some SOP Instance UIDs."""
    names = {**_names(study), "sops": list(sops)}
    return [Image(*row) for row in _read(connection, _NAMED, names)]


def places(connection: Connection, sops: Sequence[str], study: str | None) -> list[Place]:
    """Return where the archive has the images with some SOP Instance UIDs."""
    return [Place(*row) for row in _read(connection, _PLACES, {**_names(study), "sops": list(sops)})]


def outlook(connection: Connection, sops: Sequence[str]) -> dict[tuple[str, str], Outlook]:
    """Return by study and SOP Instance UID what is known of the copies of images of this site."""
    names = {"sops": list(sops), "destination": LANE.destination, "kind": LANE.kind}
    found: dict[tuple[str, str], Outlook] = {}
    for study, sop, waiting, left_out, state, reason in _read(connection, _OUTLOOK, names):
        one = Outlook(waiting, left_out, state, reason)
        # Of several images with these UIDs, one that is under way counts.
        known = found.get((study, sop))
        if known is None or not known.waiting:
            found[study, sop] = one
    return found


def deleted(connection: Connection, studies: Sequence[str], sops: Sequence[str]) -> set[tuple[str, str]]:
    """Return study and SOP Instance UID of those images that were deleted at this site."""
    names = {"studies": list(studies), "sops": list(sops)}
    return {(study, sop) for study, sop in _read(connection, _DELETED, names)}


def _names(study: str | None) -> dict[str, Any]:
    return {"probe": sorted(CALLERS), "patient": PATIENT, "study": study}


def _read(connection: Connection, query: str, names: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    with connection.transaction():
        connection.execute("set transaction read only")
        return connection.execute(query, names).fetchall()
