"""Finds what a C-MOVE or C-GET names in Orthanc's index: any studies, series or instances, with the places of bytes."""

from collections.abc import Sequence
from dataclasses import dataclass

from hapacs_node.catalog import corrections
from hapacs_node.catalog.database import Connection
from hapacs_node.catalog.index import UNCOMPRESSED
from hapacs_node.catalog.objects import COLUMNS, StoredObject, is_newer
from hapacs_node.correction.patient import Move


@dataclass(frozen=True)
class Selection:
    """UIDs that instances must have. An empty tuple leaves a level open; one level at least has UIDs.

    Attributes
    ----------
    studies, series, instances : tuple of str
        UIDs.
    """

    studies: tuple[str, ...] = ()
    series: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()


@dataclass(frozen=True)
class Selected:
    """One instance.

    Attributes
    ----------
    study, series, sop : str
        Its UIDs.
    sop_class, transfer_syntax : str
        UIDs; empty when the index has none.
    object : StoredObject or None
        Its bytes; None when they can't be read without Orthanc.
    move : Move or None
        The patient with which it is given; None for that of its bytes.
    """

    study: str
    series: str
    sop: str
    sop_class: str
    transfer_syntax: str
    object: StoredObject | None
    move: Move | None = None


# Orthanc's metadata 9 is the transfer syntax and 10 the SOP class.
_SELECT = f"""
select {corrections.hidden("named.study_uid", "named.series_uid")}, {corrections.moved("named.study_uid")},
       named.study_uid, named.series_uid, named.sop_uid, named.class, named.syntax, named.compression, {COLUMNS}
from (
    select found.*, coalesce(sop_class.value, described.sop_class, '') as class, coalesce(syntax.value, '') as syntax
    from (
        select study_uid.value as study_uid, series_uid.value as series_uid, sop_uid.value as sop_uid,
               series.internalid as place, instance.internalid as instance, file.uuid::uuid as uuid,
               file.compressiontype as compression
        from {{tables}}
        join attachedfiles file on file.id = instance.internalid and file.filetype = 1
        where {{conditions}}
        offset 0
    ) as found
    left join metadata syntax on syntax.id = found.instance and syntax.type = 9
    left join metadata sop_class on sop_class.id = found.instance and sop_class.type = 10
    left join hapacs.instance described on described.uuid = found.uuid
) as named
left join hapacs.object using (uuid)
order by named.place, named.instance
"""  # noqa: S608 - constants
_STUDY = "dicomidentifiers study_uid", "study_uid.id = study.internalid", (32, 13)
_SERIES = "dicomidentifiers series_uid", "series_uid.id = series.internalid", (32, 14)
_INSTANCE = "dicomidentifiers sop_uid", "sop_uid.id = instance.internalid", (8, 24)


def _uid(level: tuple[str, str, tuple[int, int]]) -> str:
    table, joined, (group, element) = level
    name = table.split()[1]
    return f"join {table} on {joined} and {name}.taggroup = {group} and {name}.tagelement = {element}"


# From the lowest level that is named downwards, which PostgreSQL keeps: there are more tables than it sorts itself.
_TABLES = {
    "studies": f"resources study {_uid(_STUDY)} join resources series on series.parentid = study.internalid "
    f"{_uid(_SERIES)} join resources instance on instance.parentid = series.internalid {_uid(_INSTANCE)}",
    "series": f"resources series {_uid(_SERIES)} join resources study on study.internalid = series.parentid "
    f"{_uid(_STUDY)} join resources instance on instance.parentid = series.internalid {_uid(_INSTANCE)}",
    "instances": f"resources instance {_uid(_INSTANCE)} join resources series on series.internalid = instance.parentid "
    f"{_uid(_SERIES)} join resources study on study.internalid = series.parentid {_uid(_STUDY)}",
}
_CONDITIONS = {
    "studies": "study.resourcetype = 1 and study_uid.value = any(%(studies)s)",
    "series": "series.resourcetype = 2 and series_uid.value = any(%(series)s)",
    "instances": "instance.resourcetype = 3 and sop_uid.value = any(%(instances)s)",
}


def select(connection: Connection, wanted: Selection) -> list[Selected]:
    """List the instances by series, in the order in which they were stored; those of hidden series are left out.

    An image that was stored under two Patient IDs is there once, as it was stored last.
    """
    named: dict[str, Sequence[str]] = {
        level: list(getattr(wanted, level)) for level in _CONDITIONS if getattr(wanted, level)
    }
    start = next(level for level in ("studies", "series", "instances") if level in named)
    query = _SELECT.format(tables=_TABLES[start], conditions=" and ".join(_CONDITIONS[level] for level in named))
    found: dict[tuple[str, str, str], Selected] = {}
    for hidden, moved, study, series, sop, sop_class, syntax, compression, *columns in connection.execute(query, named):
        if hidden:
            continue
        row = StoredObject(*columns)
        readable = bool(row.digest) and compression == UNCOMPRESSED
        known = found.get((study, series, sop))
        if known is None or known.object is None or is_newer(row, known.object):
            stored = row if readable else None
            found[study, series, sop] = Selected(study, series, sop, sop_class, syntax, stored, Move.of(moved))
    return list(found.values())
