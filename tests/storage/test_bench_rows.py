"""The rows that a benchmark adds and removes, in a real PostgreSQL with Orthanc's tables."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from hapacs.bench.rows import Rows
from hapacs.load.images import Image, Study
from hapacs_node.catalog import schema
from hapacs_node.catalog.database import Database
from hapacs_node.metrics import Metrics
from hapacs_node.settings import Settings
from tests.storage.servers import Postgres

NAME = "rows"
PATTERN = Study("1.2.1", "1.2.2", "PATTERN", (Image("1.2.3", "1.2.1", "1.2.2", "PATTERN", b""),))

# orthanc-postgresql 5.0, without the triggers, which are disabled while rows are added.
INDEX = """
create table resources (internalid bigserial primary key, resourcetype int not null, publicid varchar(64) not null,
    parentid bigint references resources);
create table maindicomtags (id bigint, taggroup int, tagelement int, value text,
    primary key (id, taggroup, tagelement));
create table dicomidentifiers (id bigint, taggroup int, tagelement int, value text,
    primary key (id, taggroup, tagelement));
create table metadata (id bigint, type int, value text, revision int, primary key (id, type));
create table attachedfiles (id bigint, filetype int, uuid varchar(64) not null, compressedsize bigint,
    uncompressedsize bigint, compressiontype int, uncompressedhash varchar(40), compressedhash varchar(40),
    revision int, primary key (id, filetype));
create table changes (seq bigserial primary key, changetype int, internalid bigint, resourcetype int, date varchar(64));
create table patientrecyclingorder (seq bigserial primary key, patientid bigint);
create table globalintegers (key int primary key, value bigint);
insert into globalintegers values (0, 130), (1, 130), (2, 1), (3, 1), (4, 1), (5, 1), (6, 4);
insert into resources (resourcetype, publicid, parentid) values (0, 'p', null), (1, 't', 1), (2, 's', 2), (3, 'i', 3);
insert into maindicomtags values (1, 16, 32, 'PATTERN'), (2, 32, 13, '1.2.1'), (2, 16, 32, 'PATTERN'),
    (3, 32, 14, '1.2.2'), (3, 8, 96, 'CT'), (4, 8, 24, '1.2.3'), (4, 32, 19, '1');
insert into dicomidentifiers values (1, 16, 32, 'PATTERN'), (2, 32, 13, '1.2.1'), (2, 16, 32, 'PATTERN'),
    (3, 32, 14, '1.2.2'), (4, 8, 24, '1.2.3');
insert into metadata values (1, 7, 'now', 0), (4, 2, 'now', 0), (4, 9, '1.2.840.10008.1.2.1', 0);
insert into changes (changetype, internalid, resourcetype, date)
    values (2, 4, 3, 'now'), (4, 3, 2, 'now'), (5, 2, 1, 'now'), (3, 1, 0, 'now');
insert into patientrecyclingorder (patientid) values (1);
insert into attachedfiles values (4, 1, '{dicom}', 100, 100, 1, 'h', 'h', 0),
    (4, 3, '{derived}', 30, 30, 1, 'h', 'h', 0);
"""
CATALOGUED = """
insert into hapacs.object (uuid, digest, size, type, store, key, "offset", length, node)
    values ('{dicom}', sha256('x'), 100, 1, 'cas', 'sha256/aa/bb/aabb', 0, 100, 'pacs1');
insert into hapacs.outbox (uuid, kind) values ('{dicom}', 'route'), ('{dicom}', 'replicate');
"""
TABLES = (
    "resources", "maindicomtags", "dicomidentifiers", "metadata", "attachedfiles", "changes", "patientrecyclingorder",
    "globalintegers", "hapacs.object", "hapacs.outbox",
)  # fmt: skip


class Server:
    """The only node of a site, reached without SSH."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection

    def rows(self, sql: str, _timeout_s: float = 60) -> list[str]:
        cursor = self.connection.execute(sql)
        found: list[str] = []
        while True:
            if cursor.description is not None:
                found = ["|".join(_shown(value) for value in row) for row in cursor]
            if not cursor.nextset():
                return found

    def content(self) -> dict[str, list[Any]]:
        return {table: sorted(map(str, self.connection.execute(f"table {table}"))) for table in TABLES}


def _shown(value: object) -> str:
    return {True: "t", False: "f"}[value] if isinstance(value, bool) else str(value)


@pytest.fixture
def server(postgres: Postgres, configure: Callable[..., Settings]) -> Iterator[Server]:
    with postgres.connect() as connection:
        connection.execute(f"drop database if exists {NAME}")
        connection.execute(f"create database {NAME}")
    settings = configure(database={"name": NAME}).database
    with Database(settings, Metrics()) as database:
        schema.migrate(database)
    names = {"dicom": str(uuid4()), "derived": str(uuid4())}
    with postgres.connect(NAME) as connection:
        connection.execute(INDEX.format(**names))
        connection.execute(CATALOGUED.format(**names))
        yield Server(connection)


@pytest.fixture
def rows(server: Server) -> Rows:
    return Rows(server)  # type: ignore[arg-type]


def test_every_copy_has_all_rows_of_the_pattern(server: Server, rows: Rows) -> None:
    before = {table: len(content) for table, content in server.content().items()}
    rows.prepare(PATTERN)
    rows.add_block(0, 2, "1.9", instances=3)
    more = {table: len(content) - before[table] for table, content in server.content().items()}
    assert more == {
        "resources": 2 * 3 + 6,
        "maindicomtags": 2 * 5 + 6 * 2,
        "dicomidentifiers": 2 * 4 + 6,
        "metadata": 2 * 1 + 6 * 2,
        "attachedfiles": 6 * 2,
        "changes": 2 * 3 + 6,
        "patientrecyclingorder": 2,
        "globalintegers": 0,
        "hapacs.object": 6,
        "hapacs.outbox": 6 * 2,
    }
    assert rows.count() == 7


def test_copies_are_named_as_orthanc_names_them(server: Server, rows: Rows) -> None:
    rows.prepare(PATTERN)
    rows.add_block(4, 1, "1.9", instances=1)
    patient, study, series, instance = "HAPACS-BENCH-ROW-4", "1.9.1.4", "1.9.2.4", "1.9.3.4.1"
    named = [patient, study, series, instance]
    expected = []
    for level in range(4):
        digest = hashlib.sha1("|".join(named[: level + 1]).encode(), usedforsecurity=False).hexdigest()
        expected.append("-".join(digest[start : start + 8] for start in range(0, 40, 8)))
    made = server.rows("select publicid from resources where internalid > 4 order by resourcetype")
    assert made == expected
    tags = "select value from dicomidentifiers where id > 4 order by id, taggroup, tagelement"
    assert server.rows(tags) == [patient, patient, study, series, instance]
    assert server.rows("select value from maindicomtags where id > 4 and taggroup = 8 and tagelement = 96") == ["CT"]


def test_counters_and_references_are_right(server: Server, rows: Rows) -> None:
    rows.prepare(PATTERN)
    rows.add_block(0, 1, "1.9", instances=4)
    counters = dict(row.split("|") for row in server.rows("select key, value from globalintegers"))
    assert counters == {"0": "650", "1": "650", "2": "2", "3": "2", "4": "2", "5": "5", "6": "11"}
    orphans = "select count(*) from attachedfiles f left join resources r on r.internalid = f.id where r is null"
    assert server.rows(orphans) == ["0"]
    unarchived = """select count(*) from attachedfiles f left join hapacs.object o on o.uuid = f.uuid::uuid
                    where f.filetype = 1 and o is null"""
    assert server.rows(unarchived) == ["0"]
    assert server.rows("select count(distinct digest) = count(*) from hapacs.object") == ["t"]


def test_removing_keeps_all_other_rows(server: Server, rows: Rows) -> None:
    before = server.content()
    rows.prepare(PATTERN)
    for block in range(3):
        rows.add_block(block * 2, 2, "1.9", instances=2)
    assert rows.blocks() == 3
    assert [rows.remove_block() for _ in range(3)] == [2, 1, 0]
    rows.forget()
    after = server.content()
    # The last number of the changes only ever grows.
    assert after.pop("globalintegers")[:-1] == before.pop("globalintegers")[:-1]
    assert after == before
    assert rows.blocks() == 0


def test_an_interrupted_block_leaves_no_rows(server: Server, rows: Rows) -> None:
    rows.prepare(PATTERN)
    server.connection.execute("alter table hapacs.outbox add constraint few check (id < 5)")
    before = server.content()
    with pytest.raises(psycopg.errors.CheckViolation):
        rows.add_block(0, 1, "1.9", instances=3)
    server.connection.rollback()
    assert server.content() == before
    assert rows.blocks() == 0
