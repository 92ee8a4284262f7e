"""Rows of a large archive, made directly in the database: copies of the rows of one stored instance.

A stored instance is the pattern. Each copy is a resource with its own names and every row that the pattern has: tags,
identifiers, metadata, attachments, changes and catalog row. So the rows are correct for the version of
Orthanc that wrote the pattern. The copies have no image files.

A separate schema records the rows before they are made, so that rows of an interrupted run are found and removed.
"""

from __future__ import annotations

from dataclasses import dataclass

from hapacs.dicom import marks
from hapacs.load.images import Study
from hapacs.site.database import Database, literal

INSTANCES_PER_STUDY = 200
STUDIES_PER_BLOCK = 50
_TIMEOUT_S = 300
# PatientID; Study, Series and SOP Instance UID: the tags that name a resource, as (group << 16) + element.
_NAMES = {"patient": 0x00100020, "study": 0x0020000D, "series": 0x0020000E, "instance": 0x00080018}
_TABLES = ("maindicomtags", "dicomidentifiers", "metadata", "attachedfiles", "changes", "resources")

_PREPARE = """
create schema hapacs_bench;
create extension if not exists pgcrypto with schema hapacs_bench;
create table hapacs_bench.block (first bigint not null, last bigint not null);
create table hapacs_bench.pattern as
    select i.internalid as instance, s.internalid as series, t.internalid as study, p.internalid as patient
    from dicomidentifiers d
    join resources i on i.internalid = d.id
    join resources s on s.internalid = i.parentid
    join resources t on t.internalid = s.parentid
    join resources p on p.internalid = t.parentid
    where d.taggroup = 8 and d.tagelement = 24 and d.value = {sop_instance};
"""

# One transaction without triggers, which would update Orthanc's counters once for each row. The lock prevents other new
# resources meanwhile, so that the identifiers of a block are contiguous. The commit waits until the standbys have
# applied it: the leader keeps WAL for a lagging standby only up to a limit.
_BLOCK = """
begin;
set local session_replication_role = replica;
set local synchronous_commit = remote_apply;
lock table resources in share row exclusive mode;
create temporary table made on commit drop as
with study as (
    select n, {prefix} || n as patient_id, {root} || '.1.' || n as uid, {root} || '.2.' || n as series_uid
    from generate_series({first}, {last}) as n
), named as (
    select 0 as level, p.patient as pattern, patient_id as name, patient_id as key, null as parent
    from study, hapacs_bench.pattern p
    union all
    select 1, p.study, uid, concat_ws('|', patient_id, uid), patient_id from study, hapacs_bench.pattern p
    union all
    select 2, p.series, series_uid, concat_ws('|', patient_id, uid, series_uid), concat_ws('|', patient_id, uid)
    from study, hapacs_bench.pattern p
    union all
    select 3, p.instance, {root} || '.3.' || n || '.' || i,
           concat_ws('|', patient_id, uid, series_uid, {root} || '.3.' || n || '.' || i),
           concat_ws('|', patient_id, uid, series_uid)
    from study, hapacs_bench.pattern p, generate_series(1, {instances}) as i
)
select nextval('resources_internalid_seq') as id, level, pattern, name, key, parent,
       split_part(key, '|', 1) as patient,
       regexp_replace(encode(hapacs_bench.digest(key, 'sha1'), 'hex'),
                      '^(.{{8}})(.{{8}})(.{{8}})(.{{8}})(.{{8}})$', '\\1-\\2-\\3-\\4-\\5') as publicid
from named order by level, key;
create index on made (key);
analyze made;
insert into hapacs_bench.block select min(id), max(id) from made;
insert into resources (internalid, resourcetype, publicid, parentid)
    select m.id, m.level, m.publicid, p.id from made m left join made p on p.key = m.parent;
insert into maindicomtags (id, taggroup, tagelement, value)
    select m.id, t.taggroup, t.tagelement, {value} from made m join maindicomtags t on t.id = m.pattern;
insert into dicomidentifiers (id, taggroup, tagelement, value)
    select m.id, t.taggroup, t.tagelement, {value} from made m join dicomidentifiers t on t.id = m.pattern;
insert into metadata (id, type, value, revision)
    select m.id, t.type, t.value, t.revision from made m join metadata t on t.id = m.pattern;
insert into changes (changetype, internalid, resourcetype, date)
    select t.changetype, m.id, t.resourcetype, t.date from made m join changes t on t.internalid = m.pattern
    order by m.id, t.seq;
insert into patientrecyclingorder (patientid) select id from made where level = 0;
create temporary table attached on commit drop as
    select m.id, t.filetype, gen_random_uuid() as uuid, t.uuid as pattern, t.compressedsize, t.uncompressedsize,
           t.compressiontype, md5(m.key || t.filetype) as hash, t.revision
    from made m join attachedfiles t on t.id = m.pattern;
insert into attachedfiles
    (id, filetype, uuid, compressedsize, uncompressedsize, compressiontype, uncompressedhash, compressedhash, revision)
    select id, filetype, uuid::text, compressedsize, uncompressedsize, compressiontype, hash, hash, revision
    from attached;
create temporary table archived on commit drop as
    select a.uuid, o.uuid as pattern, sha256(a.uuid::text::bytea) as digest, o.size, o.type, o.store, o.length, o.node
    from attached a join hapacs.object o on o.uuid = a.pattern::uuid;
insert into hapacs.object (uuid, digest, size, type, store, key, "offset", length, node)
    select uuid, digest, size, type, store,
           format('sha256/%s/%s/%s', left(encode(digest, 'hex'), 2), substr(encode(digest, 'hex'), 3, 2),
                  encode(digest, 'hex')),
           0, length, node
    from archived;
{counters}
commit;
"""

# Orthanc's counters for the block in `attached` and `made`: stored and uncompressed bytes, resources by level.
_COUNTERS = """
update globalintegers g set value = g.value {sign} more.value
from (select 0 as key, coalesce(sum(compressedsize), 0) as value from attached
      union all select 1, coalesce(sum(uncompressedsize), 0) from attached
      union all select level + 2, count(*) from made group by level) more
where g.key = more.key;
"""
_LAST_CHANGE = "update globalintegers set value = (select max(seq) from changes) where key = 6;"

_REMOVE = """
begin;
set local session_replication_role = replica;
set local synchronous_commit = remote_apply;
create temporary table block on commit drop as select * from hapacs_bench.block order by first limit 1;
create temporary table made on commit drop as
    select r.internalid as id, r.resourcetype as level from resources r, block b
    where r.internalid between b.first and b.last;
create temporary table attached on commit drop as
    select a.uuid, a.compressedsize, a.uncompressedsize from attachedfiles a, block b
    where a.id between b.first and b.last;
delete from hapacs.object o using attached a where o.uuid = a.uuid::uuid;
{deletes}
delete from patientrecyclingorder p using block b where p.patientid between b.first and b.last;
{counters}
delete from hapacs_bench.block o using block b where o.first = b.first;
commit;
select count(*) from hapacs_bench.block;
"""


@dataclass(frozen=True)
class Rows:
    """The made rows of one site's database."""

    database: Database

    def prepare(self, pattern: Study) -> None:
        """Record which stored study, of one instance, is the pattern."""
        self.database.rows(_PREPARE.format(sop_instance=literal(pattern.images[0].sop_instance)))

    def count(self) -> int:
        """Return the number of all catalog rows."""
        return int(self.database.rows("select count(*) from hapacs.object")[0])

    def add_block(self, first: int, studies: int, root: str, instances: int = INSTANCES_PER_STUDY) -> None:
        """Make the rows of some studies.

        Parameters
        ----------
        first
            The number of the first study; numbers are part of the names.
        root
            The UID below which all others are.
        """
        tag = "(t.taggroup << 16) + t.tagelement"
        value = (
            f"case when {tag} = {_NAMES['patient']} then m.patient "
            f"when {tag} = (array[{', '.join(map(str, _NAMES.values()))}])[m.level + 1] then m.name else t.value end"
        )
        self.database.rows(
            _BLOCK.format(
                prefix=literal(f"{marks.BENCH}ROW-"),
                root=literal(root),
                first=first,
                last=first + studies - 1,
                instances=instances,
                value=value,
                counters=_COUNTERS.format(sign="+") + _LAST_CHANGE,
            ),
            _TIMEOUT_S,
        )

    def settle(self) -> None:
        """Vacuum, analyze and checkpoint now; the server would do it by itself later."""
        self.database.rows("vacuum analyze; checkpoint;", 2 * _TIMEOUT_S)

    def blocks(self) -> int:
        """Return the number of blocks that were made and not removed; 0 without the schema."""
        if self.database.rows("select to_regclass('hapacs_bench.block') is not null") == ["f"]:
            return 0
        return int(self.database.rows("select count(*) from hapacs_bench.block")[0])

    def remove_block(self) -> int:
        """Remove one block, and return the number of blocks that are left."""
        columns = {"changes": "internalid", "resources": "internalid"}
        deletes = "\n".join(
            f"delete from {table} t using block b where t.{columns.get(table, 'id')} between b.first and b.last;"  # noqa: S608 - our own names
            for table in _TABLES
        )
        sql = _REMOVE.format(deletes=deletes, counters=_COUNTERS.format(sign="-"))
        return int(self.database.rows(sql, _TIMEOUT_S)[-1])

    def forget(self) -> None:
        """Remove the schema."""
        self.database.rows("drop schema if exists hapacs_bench cascade")
