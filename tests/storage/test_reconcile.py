"""Reconciliation on a real PostgreSQL and SeaweedFS: each disagreement is found, and what can be repaired is."""

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from pydicom.uid import ExplicitVRLittleEndian
from typer.testing import CliRunner, Result

from hapacs_node import cli
from hapacs_node.catalog import schema
from hapacs_node.catalog.removals import Removal
from hapacs_node.integrity import record
from hapacs_node.integrity.findings import NOTES, Finding, Kind
from hapacs_node.integrity.reconcile import Reconciliation
from hapacs_node.integrity.record import Check
from hapacs_node.integrity.repair import REPAIRED, Repairs
from hapacs_node.integrity.report import Report, Request
from hapacs_node.node import Node
from hapacs_node.storage import names
from hapacs_node.storage.listing import listed
from hapacs_node.storage.shelves import Shelves
from tests.storage.places import NAME, index, lose, make_index, store
from tests.storage.servers import BUCKET, Postgres, SeaweedFS
from tests.unit.node.test_identity import image


@pytest.fixture
def node(make_node: Callable[..., Node], postgres: Postgres) -> Node:
    """A node with an index of its own, in which nothing is wrong."""
    make_index(postgres)
    return make_node(database={"name": NAME})


def reconcile(node: Node, *kinds: Kind, settled: datetime | None = None) -> tuple[Report, dict[str, Kind]]:
    """Run it over all; objects that other tests left in the archive are left out of the answer."""
    settled = settled or datetime.now(UTC) + timedelta(minutes=1)
    reconciliation = Reconciliation(node.database, node.cas, Shelves(node.das), settled)
    repairs = Repairs("pacs1", "anna", node.das, node.cas, node.storage.catalog, node.refresh)
    report = Report()
    found = [one for one in reconciliation.findings() if one.kind is not Kind.ARCHIVE_ORPHAN]
    report.take(found, repairs, Request(kinds))
    return report, {one.name: one.kind for one in found}


def test_a_site_in_order_has_no_findings(node: Node, postgres: Postgres) -> None:
    # Together, so that some of them share a pack.
    with ThreadPoolExecutor(8) as workers:
        rows = list(workers.map(lambda _: store(node, postgres), range(24)))
    assert any(row.key.startswith("packs/") for row in rows)
    removed = store(node, postgres, indexed=False)
    node.storage.remove(str(removed.uuid), 1, Removal("removed"))
    report, found = reconcile(node)
    assert found == {}
    assert report.ok


@pytest.mark.parametrize("key", ["packs/0", "packs/zz", "sha256/zz", "sha256/00/zz", "packs/2026-01-01/a/b"])
def test_objects_that_others_put_into_the_archive_are_orphans(
    node: Node, postgres: Postgres, seaweedfs: SeaweedFS, key: str
) -> None:
    store(node, postgres)
    seaweedfs.client(1).put_object(Bucket=BUCKET, Key=key, Body=b"not ours")
    settled = datetime.now(UTC) + timedelta(minutes=1)
    reconciliation = Reconciliation(node.database, node.cas, Shelves(node.das), settled)
    found = {one.name: one.kind for one in reconciliation.of_archive()}
    assert found[key] is Kind.ARCHIVE_ORPHAN
    assert set(found.values()) == {Kind.ARCHIVE_ORPHAN}


def test_each_disagreement_is_found(node: Node, postgres: Postgres, seaweedfs: SeaweedFS) -> None:
    lost, unindexed = store(node, postgres), store(node, postgres, indexed=False)
    revived, dangling, short = store(node, postgres), uuid4(), store(node, postgres)
    lose(seaweedfs, lost.key)
    node.storage.catalog.tombstone(revived.uuid, "pacs1", Removal("refused"))
    index(postgres, dangling, 12)
    node.das.write(short.digest, b"short")
    orphan = names.digest_of(b"orphan")
    node.das.write(orphan, b"orphan")
    with postgres.connect(NAME) as connection:
        connection.execute("insert into resources values (7, 3, %s, null)", [str(lost.uuid)])
    report, found = reconcile(node)
    assert report.found[Kind.DOUBLED_ID] == 1
    assert found == {
        str(unindexed.uuid): Kind.UNINDEXED,
        str(revived.uuid): Kind.REMOVED_IN_INDEX,
        str(dangling): Kind.DANGLING,
        short.digest: Kind.DAS_SIZE,
        orphan: Kind.DAS_ORPHAN,
        # It is in the index twice too, which is found first.
        str(lost.uuid): Kind.ARCHIVE_MISSING,
    }


def test_what_is_young_is_left_alone(node: Node, postgres: Postgres, seaweedfs: SeaweedFS) -> None:
    lost = store(node, postgres, indexed=False)
    lose(seaweedfs, lost.key)
    settled = Reconciliation.settled_before(node.database, 3600)
    assert reconcile(node, settled=settled)[1] == {}
    assert datetime.now(UTC) - timedelta(hours=2) < settled < datetime.now(UTC) - timedelta(minutes=59)


def test_rows_of_a_transaction_in_progress_are_left_alone(node: Node, postgres: Postgres) -> None:
    with postgres.connect(NAME) as connection, connection.transaction():
        connection.execute("select")
        began = datetime.now(UTC)
        store(node, postgres, indexed=False)
        settled = Reconciliation.settled_before(node.database, 0)
        assert settled <= began
        assert reconcile(node, settled=settled)[1] == {}


def test_repairs_bring_all_places_to_agree(node: Node, postgres: Postgres, seaweedfs: SeaweedFS) -> None:
    content = image(ExplicitVRLittleEndian, undefined=False)
    lost, unindexed = store(node, postgres), store(node, postgres, indexed=False)
    revived, short = store(node, postgres, content), store(node, postgres)
    lose(seaweedfs, lost.key)
    node.storage.catalog.tombstone(revived.uuid, "pacs1", Removal("refused"))
    node.das.write(short.digest, b"short")
    report, found = reconcile(node, *REPAIRED)
    assert (len(found), report.ok) == (4, True), report.shown
    assert reconcile(node)[1] == {}
    catalog = node.storage.catalog
    moved = catalog.find(lost.uuid)
    assert moved is not None
    assert moved.key.startswith(f"{names.cas_key(lost.digest)}.")
    assert names.digest_of(node.cas.get(moved.key, moved.digest, 0, moved.size)) == lost.digest
    assert node.cas.lock(moved.key).mode == "GOVERNANCE"
    assert node.das.has(short.digest, short.size)
    again = catalog.find(revived.uuid)
    assert again is not None
    assert again.tombstoned_at is None
    with postgres.connect(NAME) as connection:
        searched = connection.execute("select sop from hapacs.instance where uuid = %s", [revived.uuid]).fetchone()
    assert searched == ("1.2.3",)
    removed = catalog.find(unindexed.uuid)
    assert removed is not None
    assert removed.tombstoned_at is not None


def test_the_command_changes_nothing_until_it_is_asked_to_repair(
    node: Node, postgres: Postgres, seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    lost = store(node, postgres)
    lose(seaweedfs, lost.key)
    with postgres.connect(NAME) as connection:
        connection.execute("update hapacs.object set stored_at = stored_at - interval '1 hour'")
    command = ["reconcile", "--config", str(tmp_path / "node.json"), "--settled", "60"]

    def run(*options: str) -> Result:
        return CliRunner().invoke(cli.app, [*command, *options], env={"COLUMNS": "200", "NO_COLOR": "1"})

    for _ in range(2):
        result = run("--json")
        document = json.loads(result.stdout)
        assert (result.exit_code, document["found"]["archive-missing"], document["repaired"]) == (1, 1, {})
        assert document["compared"]["index"] == 1
    result = run("--repair", "archive-missing")
    assert result.exit_code == 0, result.output
    moved = node.storage.catalog.find(lost.uuid)
    assert moved is not None
    assert moved.key.startswith(f"{names.cas_key(lost.digest)}.")
    assert run("--json").exit_code == 0


def test_the_command_keeps_its_result_where_the_settings_say(
    node: Node, postgres: Postgres, seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    file = tmp_path / "node.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"results": str(tmp_path)}))
    lost = store(node, postgres)
    lose(seaweedfs, lost.key)
    with postgres.connect(NAME) as connection:
        connection.execute("update hapacs.object set stored_at = stored_at - interval '1 hour'")
    command = ["reconcile", "--config", str(file), "--settled", "60", "--json"]
    for options, left in (([], {"archive-missing": 1}), (["--repair", "all"], {})):
        CliRunner().invoke(cli.app, [*command, *options])
        result = record.read(tmp_path, Check.RECONCILE)
        assert result is not None
        faults = {kind: count for kind, count in result["found"].items() if kind not in NOTES}
        assert (result["open"], faults, result["failure"]) == (len(left), left, None)


def test_bytes_that_no_row_has_are_orphans_of_the_archive(node: Node) -> None:
    content = os.urandom(500)
    key = node.cas.put(names.digest_of(content), content)
    reconciliation = Reconciliation(
        node.database, node.cas, Shelves(node.das), datetime.now(UTC) + timedelta(minutes=1)
    )
    assert Finding(Kind.ARCHIVE_ORPHAN, key, "500 bytes") in list(reconciliation.of_archive())


def test_a_listing_of_several_pages_has_every_object_in_the_order_of_folders(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hapacs_node.storage.s3._PAGE", 7)
    keys = []
    for number in range(15):
        content = f"{number} {uuid4()}".encode()
        digest = names.digest_of(content)
        keys.append(node.cas.put(digest, content))
        if number % 3 == 0:
            keys += [node.cas.put_again(digest, content), node.cas.put_again(digest, content)]
    found = [one.key for one in listed(node.cas.gateways, names.OBJECTS, 30)]
    assert set(keys) <= set(found)
    folders = [names.folder_of(key) for key in found]
    assert folders == sorted(folders)


def test_a_catalog_of_the_version_before_gets_the_index_by_place(node: Node, postgres: Postgres) -> None:
    with postgres.connect(NAME) as connection:
        connection.execute("drop index hapacs.object_key")
        connection.execute("update hapacs.schema_version set version_num = '0006'")
    assert schema.migrate(node.database)[0] == "0006"
    with postgres.connect(NAME) as connection:
        valid = connection.execute(
            "select indisvalid from pg_index where indexrelid = 'hapacs.object_key'::regclass"
        ).fetchone()
    assert valid == (True,)
