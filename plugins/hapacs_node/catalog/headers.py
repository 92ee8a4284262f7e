"""Writes the query tables `hapacs.study`, `.study_name`, `.series`, `.instance` and `.document`.

A study has the attributes of the image that was described last, so that a correction that is sent again is found.
"""

from collections.abc import Sequence
from uuid import UUID

from psycopg.types.json import Jsonb

from hapacs_node.catalog.database import Connection
from hapacs_node.query.header import Header

# Rows that would not change are not written: most images of a study say the same about it.
WRITE = """
studies as (
    select distinct on (study) * from described order by study, uuid
), changed as (
    insert into hapacs.study as s (uid, patient_id, accession, date, time, shown, found)
    select study, patient_id, accession, date, time, study_shown, study_found from studies g
    where not exists (select from hapacs.study s where s.uid = g.study and s.shown = g.study_shown)
    on conflict (uid) do update set patient_id = excluded.patient_id, accession = excluded.accession,
        date = excluded.date, time = excluded.time, shown = excluded.shown, found = excluded.found
    returning uid
), renamed as (
    delete from hapacs.study_name n using studies g where n.study = g.study and not g.names ? n.name
), named as (
    insert into hapacs.study_name (study, name)
    select study, name from studies, jsonb_array_elements_text(names) as name
    where study in (select uid from changed) on conflict do nothing
), series as (
    insert into hapacs.series (study, uid, modality, shown, found)
    select distinct on (study, series) study, series, modality, series_shown, series_found from described g
    where not exists (
        select from hapacs.series s where s.study = g.study and s.uid = g.series and s.shown = g.series_shown)
    order by study, series, uuid
    on conflict (study, uid) do update set modality = excluded.modality, shown = excluded.shown, found = excluded.found
), instances as (
    insert into hapacs.instance (uuid, study, series, sop, sop_class, number, described_as, shown, found)
    select uuid, study, series, sop, sop_class, number, described_as, instance_shown, instance_found from described
    on conflict (uuid) do update set study = excluded.study, series = excluded.series, sop = excluded.sop,
        sop_class = excluded.sop_class, number = excluded.number,
        described_as = excluded.described_as, shown = excluded.shown, found = excluded.found
), documents as (
    insert into hapacs.document (uuid, content)
    select uuid, decode(document, 'base64') from described where document is not null
    on conflict (uuid) do update set content = excluded.content
), without_document as (
    delete from hapacs.document where uuid in (select uuid from described where document is null)
)
"""
"""Common table expressions that write the rows of one named `described`, whose columns are `ROWS`."""

ROWS = """
jsonb_to_recordset(%(headers)s) as g (
    uuid uuid, described_as text, document text, study text, series text, sop text, sop_class text, number int,
    patient_id text, accession text, date text, time text, modality text, names jsonb, study_shown jsonb,
    study_found jsonb, series_shown jsonb, series_found jsonb, instance_shown jsonb, instance_found jsonb)
"""
"""The parameter `headers` as rows."""

# An image may have been removed since it was read. Its lock makes a removal at the same time wait.
_DESCRIBE = f"""
with described as (
    select g.* from {ROWS} join (
        select uuid from hapacs.object where uuid = any(%(uuids)s) and tombstoned_at is null for share
    ) as present using (uuid)
), {WRITE}
select count(*) from described
"""  # noqa: S608 - constants

REMOVE = """
    delete from hapacs.instance where uuid in (select uuid from removed)
), undocumented as (
    delete from hapacs.document where uuid in (select uuid from removed)
"""
"""Removes the rows of an image that is tombstoned; the inside of a common table expression."""

_DOCUMENTS = """
select d.uuid, d.content from hapacs.document d join hapacs.instance i using (uuid)
where d.uuid = any(%(uuids)s) and i.described_as = %(described_as)s
"""


def parameter(headers: Sequence[tuple[UUID, Header]]) -> Jsonb:
    """Return the parameter `headers`."""
    return Jsonb([{"uuid": str(uuid), **header.row()} for uuid, header in headers])


def describe(connection: Connection, headers: Sequence[tuple[UUID, Header]]) -> int:
    """Write what was read again of images; return how many of them are still stored."""
    parameters = {"headers": parameter(headers), "uuids": [uuid for uuid, _ in headers]}
    found = connection.execute(_DESCRIBE, parameters).fetchone()
    return 0 if found is None else int(found[0])


def documents(connection: Connection, uuids: Sequence[UUID], described_as: str) -> dict[UUID, bytes]:
    """Return the metadata of images, as far as it is kept and was read as it is read now."""
    found = connection.execute(_DOCUMENTS, {"uuids": list(uuids), "described_as": described_as})
    return {uuid: bytes(content) for uuid, content in found}
