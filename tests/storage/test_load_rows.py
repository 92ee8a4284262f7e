"""What the check of a load reads of index and catalog, in a real PostgreSQL with Orthanc's tables."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from hapacs.load import archive
from hapacs.load.archive import SiteArchive
from hapacs.load.evidence import Row, Rows
from hapacs.load.ledger import Entry, Series
from hapacs.site.access import Site
from hapacs.site.database import Database
from tests.storage.index import Server

# The digest and the identifier of the one instance of the index.
DIGEST = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
SERIES = Series("1.2.1", "1.2.2", "PATTERN")
ROW = Row(DIGEST, 100, "cas", "sha256/aa/bb/aabb", 0, 100)


@pytest.fixture
def found(server: Server, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what the check reads of the instance and of one that was never stored."""
    monkeypatch.setattr(Database, "of", lambda _: server)
    policy = {"retention_mode": "COMPLIANCE", "cas_replication": "010"}
    site = SimpleNamespace(
        members=lambda _: [SimpleNamespace(name="pacs1")], orthanc=lambda *_: None, s3=lambda *_: None,
        contract={"policy": policy},
    )  # fmt: skip
    reader = SiteArchive(cast(Site, site), ["pacs1"])
    entries = [Entry(uid, "1.2.1", "1.2.2", "PATTERN", "d") for uid in ("1.2.3", "1.2.4")]
    server.connection.execute(
        "update resources set publicid = %s where internalid = 1", (archive.orthanc_id("PATTERN"),)
    )

    def read() -> Rows:
        return reader.rows(SERIES, entries)

    return read


def test_row_of_a_stored_instance_is_whole(found: Any) -> None:
    assert found() == Rows({"1.2.3": [ROW]}, 1, 1, 1)


def test_removed_and_missing_rows_are_told_apart(server: Server, found: Any) -> None:
    server.connection.execute("update hapacs.object set tombstoned_at = now(), tombstoned_by = 'pacs1'")
    assert found().files == {"1.2.3": [Row(DIGEST, 100, "cas", "sha256/aa/bb/aabb", 0, 100, removed=True)]}
    server.connection.execute("delete from hapacs.object")
    assert found().files == {"1.2.3": [Row(None)]}
    server.connection.execute("delete from attachedfiles")
    assert found().files == {}


def test_each_level_is_counted(server: Server, found: Any) -> None:
    for number, (level, tag, name) in enumerate([(1, 13, "1.2.1"), (2, 14, "1.2.2")], 10):
        server.connection.execute("insert into resources values (%s, %s, 'other', null)", (number, level))
        server.connection.execute("insert into dicomidentifiers values (%s, 32, %s, %s)", (number, tag, name))
    server.connection.execute("insert into resources values (20, 0, %s, null)", (archive.orthanc_id("PATTERN"),))
    rows = found()
    assert (rows.patients, rows.studies, rows.series) == (2, 2, 2)


def test_second_file_of_an_instance_is_found(server: Server, found: Any) -> None:
    server.connection.execute("insert into resources values (30, 3, 'other', 3)")
    server.connection.execute("insert into dicomidentifiers values (30, 8, 24, '1.2.3')")
    server.connection.execute("insert into attachedfiles select 30, 1, gen_random_uuid()::text, 1, 1, 1, 'h', 'h', 0")
    assert sorted(found().files["1.2.3"], key=str) == sorted([ROW, Row(None)], key=str)
