"""Lists images whose rows in the query tables are missing, or were read in another way than this program reads."""

from collections.abc import Sequence
from uuid import UUID

from hapacs_node.catalog.database import Connection
from hapacs_node.catalog.objects import COLUMNS, StoredObject
from hapacs_node.query import header
from hapacs_node.query.header import Header

_MISSING_AT_A_TIME, _OUTDATED_AT_A_TIME = 1000, 200
# A statement that finds nothing must end in time too.
_NUMBERS_AT_A_TIME = 50_000
START = UUID(int=0)
"""Less than every attachment's UUID but itself."""

_OUTDATED = f"""
select {COLUMNS} from hapacs.object where uuid in (
    select uuid from hapacs.instance where described_as <> %(described_as)s and uuid > %(after)s
    order by uuid limit {_OUTDATED_AT_A_TIME}
) order by uuid
"""  # noqa: S608 - constants

_COUNT = "select count(*) from hapacs.instance where described_as <> %(described_as)s"

# Orthanc's text is UTF-8.
_VALUES = """
select jsonb_object_agg(upper(lpad(to_hex(t.taggroup), 4, '0') || lpad(to_hex(t.tagelement), 4, '0')), t.value)
from maindicomtags t where t.id in ({ids}) and t.value <> ''
"""

_MISSING = f"""
select f.id, f.uuid::uuid, study_uid.value, series_uid.value, sop.value, class.value,
    ({_VALUES.format(ids="study.internalid, series.internalid, instance.internalid")})
from attachedfiles f
join resources instance on instance.internalid = f.id and instance.resourcetype = 3
join resources series on series.internalid = instance.parentid
join resources study on study.internalid = series.parentid
join dicomidentifiers sop on sop.id = instance.internalid and sop.taggroup = 8 and sop.tagelement = 24
join dicomidentifiers series_uid
    on series_uid.id = series.internalid and series_uid.taggroup = 32 and series_uid.tagelement = 14
join dicomidentifiers study_uid
    on study_uid.id = study.internalid and study_uid.taggroup = 32 and study_uid.tagelement = 13
left join metadata class on class.id = instance.internalid and class.type = 10
where f.filetype = 1 and f.id > %(after)s and f.id <= %(until)s
and not exists (select from hapacs.instance i where i.uuid = f.uuid::uuid)
order by f.id limit {_MISSING_AT_A_TIME}
"""  # noqa: S608 - constants

_EXISTS = "select to_regclass('maindicomtags') is not null"

_LAST = "select coalesce(max(internalid), 0) from resources"


def missing(connection: Connection, after: int) -> tuple[int, Sequence[tuple[UUID, Header]], bool]:
    """Describe images that have no row by what Orthanc's index has.

    Parameters
    ----------
    connection : Connection
        To the leader.
    after : int
        Only images whose number in the index is larger.

    Returns
    -------
    tuple
        Number to go on after, some images, whether there may be more; none before Orthanc has created its tables.
    """
    exists = connection.execute(_EXISTS).fetchone()
    if exists is None or not exists[0]:
        return after, [], False
    row = connection.execute(_LAST).fetchone()
    last = max(after, 0 if row is None else int(row[0]))
    until = min(after + _NUMBERS_AT_A_TIME, last)
    found = []
    for number, uuid, study, series, sop, sop_class, tags in connection.execute(
        _MISSING, {"after": after, "until": until}
    ):
        known = {**(tags or {}), **({"00080016": sop_class} if sop_class else {})}
        found.append((uuid, header.of_index(study, series, sop, known)))
        after = number
    # A full answer may have left some out.
    after = after if len(found) == _MISSING_AT_A_TIME else until
    return after, found, after < last


def outdated(connection: Connection, described_as: str, after: UUID) -> list[StoredObject]:
    """List some images that were described in another way, by UUID after the given one."""
    found = connection.execute(_OUTDATED, {"described_as": described_as, "after": after})
    return [StoredObject(*row) for row in found]


def count(connection: Connection, described_as: str) -> int:
    """Count the images that were described in another way."""
    found = connection.execute(_COUNT, {"described_as": described_as}).fetchone()
    return 0 if found is None else int(found[0])
