"""Finds the instances of a study, a series or an instance UID in Orthanc's index, with the places of their bytes."""

from dataclasses import dataclass

from hapacs_node.catalog import corrections
from hapacs_node.catalog.database import Connection
from hapacs_node.catalog.index import UNCOMPRESSED
from hapacs_node.catalog.objects import COLUMNS, StoredObject, is_newer
from hapacs_node.correction.patient import Move
from hapacs_node.errors import CatalogError


@dataclass(frozen=True)
class Named:
    """UIDs of a study, series or instance to retrieve.

    Attributes
    ----------
    study : str
        Study Instance UID.
    series, instance : str or None
        Series and SOP Instance UID; None for a whole study or series.
    """

    study: str
    series: str | None = None
    instance: str | None = None


@dataclass(frozen=True)
class Instance:
    """One DICOM file.

    Attributes
    ----------
    object : StoredObject
        Its bytes.
    transfer_syntax : str
        Its transfer syntax UID; empty when the index has none.
    move : Move or None
        The patient with which it is given; None for that of its bytes.
    """

    object: StoredObject
    transfer_syntax: str
    move: Move | None = None


# Orthanc's levels are 1 for a study, 2 for a series and 3 for an instance; its metadata 9 is the transfer syntax. A
# file without a row in the catalog stays in the result, so that `instances` can raise instead of omitting an image.
_RETRIEVE = f"""
select {corrections.hidden("%(study)s", "files.series_uid")}, {corrections.moved("%(study)s")},
       {COLUMNS}, coalesce(files.syntax, ''), files.compression, coalesce(files.sop_uid, files.uuid::text)
from (
    select file.uuid::uuid as uuid, series.internalid as series, instance.internalid as instance,
           file.compressiontype as compression, syntax.value as syntax, sop.value as sop_uid,
           (select i.value from dicomidentifiers i
            where i.id = series.internalid and i.taggroup = 32 and i.tagelement = 14) as series_uid
    from dicomidentifiers named
    join resources study on study.internalid = named.id and study.resourcetype = 1
    join resources series on series.parentid = study.internalid
    join resources instance on instance.parentid = series.internalid
    join attachedfiles file on file.id = instance.internalid and file.filetype = 1
    left join dicomidentifiers sop on sop.id = instance.internalid and sop.taggroup = 8 and sop.tagelement = 24
    left join metadata syntax on syntax.id = instance.internalid and syntax.type = 9
    where named.taggroup = 32 and named.tagelement = 13 and named.value = %(study)s
    and (%(series)s::text is null or exists (
        select from dicomidentifiers i
        where i.id = series.internalid and i.taggroup = 32 and i.tagelement = 14 and i.value = %(series)s))
    and (%(instance)s::text is null or exists (
        select from dicomidentifiers i
        where i.id = instance.internalid and i.taggroup = 8 and i.tagelement = 24 and i.value = %(instance)s))
) as files left join hapacs.object using (uuid)
order by files.series, files.instance
"""  # noqa: S608 - a constant


def instances(connection: Connection, named: Named) -> list[Instance]:
    """List the instances by series, in the order in which they were stored; those of hidden series are left out.

    An image that was stored under two Patient IDs is there once, as it was stored last.

    Raises
    ------
    CatalogError
        When one of them can't be read, because part of a study would look like all of it.
    """
    parameters = {"study": named.study, "series": named.series, "instance": named.instance}
    found: dict[str, Instance] = {}
    for hidden, moved, *columns, syntax, compression, sop in connection.execute(_RETRIEVE, parameters):
        if hidden:
            continue
        row = StoredObject(*columns)
        if not row.digest:
            raise CatalogError(f"attachment {row.uuid} is in the index, but not in the catalog")
        if compression != UNCOMPRESSED:
            raise CatalogError(f"attachment {row.uuid} was compressed by Orthanc: only Orthanc can read it")
        kept = found.get(sop)
        if kept is None or is_newer(row, kept.object):
            found[sop] = Instance(row, syntax, Move.of(moved))
    return list(found.values())
