"""The rows that a benchmark adds and removes, in a real PostgreSQL with Orthanc's tables."""

from __future__ import annotations

import hashlib

import psycopg
import pytest

from hapacs.bench.rows import Rows
from hapacs.load.images import Image, Study
from tests.storage.index import Server

PATTERN = Study("1.2.1", "1.2.2", "PATTERN", (Image("1.2.3", "1.2.1", "1.2.2", "PATTERN", b""),))


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
    server.connection.execute("alter table hapacs.object add constraint few check (size < 100) not valid")
    before = server.content()
    with pytest.raises(psycopg.errors.CheckViolation):
        rows.add_block(0, 1, "1.9", instances=3)
    server.connection.rollback()
    assert server.content() == before
    assert rows.blocks() == 0
