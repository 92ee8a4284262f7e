"""Index, catalog, archive and DAS compared: what counts as a disagreement, and how it is repaired."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from obstore.exceptions import GenericError
from typer.testing import CliRunner

from hapacs_node import cli
from hapacs_node.catalog.objects import StoredObject
from hapacs_node.catalog.reconcile import Indexed, Row
from hapacs_node.errors import CasUnavailableError, NodeError
from hapacs_node.integrity import findings
from hapacs_node.integrity.findings import Finding, Kind
from hapacs_node.integrity.reconcile import Counts
from hapacs_node.integrity.repair import REPAIRED, NotRepairedError, Repairs
from hapacs_node.integrity.report import Report, Request
from hapacs_node.integrity.streams import Group, merged, paged
from hapacs_node.storage import names
from hapacs_node.storage.cas import Cas
from hapacs_node.storage.client import Listed
from hapacs_node.storage.das import Das
from hapacs_node.storage.listing import listed
from hapacs_node.storage.shelves import DasFile
from tests.unit.node.fakes import FakeBucket, FakeCatalog, FakeClient

CONTENT = b"a stored image"
DIGEST = names.digest_of(CONTENT)
UUID_ = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
KEY = names.cas_key(DIGEST)
NOW = datetime(2026, 1, 2, tzinfo=UTC)
ROW = Row(UUID_, DIGEST, len(CONTENT), "cas", KEY, 0, len(CONTENT), removed=False, settled=True)
PACKED = ROW._replace(key="packs/2026-01-01/x.tar", offset=512)
INDEXED = Indexed(UUID_, len(CONTENT), 1)


@pytest.mark.parametrize(
    ("row", "indexed", "kind"),
    [
        (ROW, INDEXED, None),
        (ROW._replace(removed=True), None, None),
        (None, None, None),
        (None, INDEXED, Kind.DANGLING),
        (ROW, None, Kind.UNINDEXED),
        (ROW._replace(settled=False), None, None),
        (ROW._replace(removed=True), INDEXED, Kind.REMOVED_IN_INDEX),
        (ROW._replace(removed=True, settled=False), INDEXED, None),
        (ROW, INDEXED._replace(size=1), Kind.INDEX_SIZE),
        # The size in the index is that before compression by Orthanc.
        (ROW, INDEXED._replace(size=1, compression=2), None),
    ],
)
def test_index_and_catalog_are_compared(row: Row | None, indexed: Indexed | None, kind: Kind | None) -> None:
    found = findings.of_attachment(UUID_, row, indexed)
    assert (None if found is None else found.kind) == kind


@pytest.mark.parametrize(
    ("row", "size", "kind"),
    [
        (ROW, len(CONTENT), None),
        (ROW._replace(key=f"{KEY}.{UUID_}"), len(CONTENT), None),
        (ROW, None, Kind.ARCHIVE_MISSING),
        (ROW._replace(removed=True), None, Kind.ARCHIVE_MISSING),
        (ROW._replace(settled=False), None, None),
        (ROW, len(CONTENT) + 1, Kind.ARCHIVE_SIZE),
        (PACKED, 512 + len(CONTENT), None),
        (PACKED, 10_240, None),
        (PACKED, 511 + len(CONTENT), Kind.ARCHIVE_SIZE),
        (ROW._replace(digest="cd" * 32), len(CONTENT), Kind.WRONG_DIGEST),
    ],
)
def test_catalog_and_archive_are_compared(row: Row, size: int | None, kind: Kind | None) -> None:
    found = findings.of_place(row, size)
    assert (None if found is None else found.kind) == kind


@pytest.mark.parametrize(
    ("size", "age_s", "rows", "kind"),
    [
        (len(CONTENT), 60, [ROW], None),
        (3, 60, [ROW], Kind.DAS_SIZE),
        (3, -60, [ROW], None),
        (3, 60, [], Kind.DAS_ORPHAN),
        (3, -60, [], None),
    ],
)
def test_das_and_catalog_are_compared(size: int, age_s: int, rows: list[Row], kind: Kind | None) -> None:
    copy = DasFile("object", DIGEST, size, NOW.timestamp() - age_s, 1)
    found = findings.of_file(copy, rows, NOW)
    assert (None if found is None else found.kind) == kind


def test_an_object_of_a_store_in_progress_is_no_orphan() -> None:
    young, old = NOW + timedelta(seconds=1), NOW - timedelta(seconds=1)
    assert findings.of_object(Listed(KEY, 3, young), NOW) is None
    assert findings.of_object(Listed(KEY, 3, old), NOW) == Finding(Kind.ARCHIVE_ORPHAN, KEY, "3 bytes")


def test_streams_are_merged_by_name() -> None:
    groups = merged(iter("abbd"), str.lower, iter("BCd"), str.lower)
    assert list(groups) == [
        Group("a", ["a"], []), Group("b", ["b", "b"], ["B"]), Group("c", [], ["C"]), Group("d", ["d"], ["d"]),
    ]  # fmt: skip


def test_a_stream_out_of_order_is_refused() -> None:
    with pytest.raises(NodeError, match="a comes after b"):
        list(merged(iter("ba"), str, iter("c"), str))


def test_a_stream_is_read_page_by_page() -> None:
    asked: list[int | None] = []

    def page(after: int | None) -> list[int]:
        asked.append(after)
        return [number for number in range(5) if after is None or number > after][:2]

    assert list(paged(page)) == [0, 1, 2, 3, 4]
    assert asked == [None, 1, 3, 4]


def _fill(bucket: FakeBucket) -> list[str]:
    keys = [f"packs/2026-01-01/{number}.tar" for number in range(6)]
    bucket.objects |= dict.fromkeys([*keys, "sha256/aa/bb/c"], (b"x", None))
    return keys


def test_a_listing_goes_on_at_another_gateway(cas: Cas, bucket: FakeBucket, clients: list[FakeClient]) -> None:
    keys = _fill(bucket)
    clients[0].faults = [None, GenericError("503 Service Unavailable")]
    assert [one.key for one in listed(cas.gateways, "packs", 1)] == keys
    assert len(clients[1].requests) == 2


def test_a_listing_that_breaks_off_is_no_whole_listing(cas: Cas, bucket: FakeBucket, clients: list[FakeClient]) -> None:
    _fill(bucket)
    clients[1].always = GenericError("503 Service Unavailable")
    clients[0].faults = [None]

    def fail(stream: Iterator[Listed]) -> Iterator[Listed]:
        for one in stream:
            yield one
            clients[0].always = clients[1].always

    with pytest.raises(CasUnavailableError, match=r"completed the list within .* 503"):
        list(fail(listed(cas.gateways, "packs", 0.1)))


@pytest.fixture
def repairs(das: Das, cas: Cas, catalog: FakeCatalog) -> Repairs:
    refresh: Any = SimpleNamespace(describe=lambda _: True)
    return Repairs("pacs1", "anna", das, cas, catalog, refresh)


def _stored(catalog: FakeCatalog, **changes: object) -> tuple[StoredObject, Finding]:
    place: Any = {"store": "cas", "key": KEY, "offset": 0, "length": len(CONTENT)} | changes
    row = StoredObject(uuid4(), DIGEST, len(CONTENT), 1, node="pacs2", **place)
    catalog.add(row)
    found = ROW._replace(uuid=str(row.uuid), key=row.key, offset=row.offset)
    return row, Finding(Kind.ARCHIVE_MISSING, str(row.uuid), "", found)


def test_a_lost_archive_copy_is_stored_again_from_the_das(
    repairs: Repairs, das: Das, cas: Cas, catalog: FakeCatalog
) -> None:
    row, finding = _stored(catalog)
    das.write(DIGEST, CONTENT)
    repairs.repair(finding)
    moved = catalog.rows[row.uuid]
    assert moved.key.startswith(f"{KEY}.")
    assert cas.get(moved.key, DIGEST, moved.offset, moved.length) == CONTENT


def test_a_lost_archive_copy_is_replaced_by_another_one_of_the_same_bytes(
    repairs: Repairs, catalog: FakeCatalog, bucket: FakeBucket
) -> None:
    row, finding = _stored(catalog)
    bucket.objects["packs/2026-01-01/x.tar"] = bytes(512) + CONTENT, None
    _stored(catalog, key="packs/2026-01-01/x.tar", offset=512)
    repairs.repair(finding)
    assert (catalog.rows[row.uuid].key, catalog.rows[row.uuid].offset) == ("packs/2026-01-01/x.tar", 512)


def test_a_damaged_das_copy_never_becomes_the_archive_copy(
    repairs: Repairs, das: Das, catalog: FakeCatalog, bucket: FakeBucket, root: Path
) -> None:
    row, finding = _stored(catalog)
    das.write(DIGEST, CONTENT)
    path = root.joinpath(*names.das_path(DIGEST))
    path.chmod(0o600)
    path.write_bytes(b"A stored image")
    with pytest.raises(NotRepairedError, match="run the command on the other nodes, first on pacs2"):
        repairs.repair(finding)
    assert catalog.rows[row.uuid].key == KEY
    assert not bucket.objects


def test_an_online_copy_of_wrong_size_is_written_again(
    repairs: Repairs, das: Das, catalog: FakeCatalog, bucket: FakeBucket
) -> None:
    _, finding = _stored(catalog)
    bucket.objects[KEY] = CONTENT, DIGEST
    repairs.repair(replace(finding, kind=Kind.DAS_SIZE))
    assert das.read(DIGEST, len(CONTENT)) == CONTENT


def test_an_image_that_the_index_does_not_have_is_marked_as_removed(repairs: Repairs, catalog: FakeCatalog) -> None:
    row, finding = _stored(catalog)
    repairs.repair(replace(finding, kind=Kind.UNINDEXED))
    assert catalog.tombstones == {row.uuid: "pacs1"}


def test_an_image_that_is_in_the_index_by_now_is_not_marked(repairs: Repairs, catalog: FakeCatalog) -> None:
    row, finding = _stored(catalog)
    catalog.index["1"] = [SimpleNamespace(uuid=row.uuid)]  # type: ignore[list-item]
    with pytest.raises(NotRepairedError, match="the index has it now"):
        repairs.repair(replace(finding, kind=Kind.UNINDEXED))
    assert not catalog.tombstones


def test_what_no_command_repairs_is_refused(repairs: Repairs) -> None:
    with pytest.raises(NotRepairedError, match="no command repairs this"):
        repairs.repair(Finding(Kind.DANGLING, UUID_))


def test_without_an_order_nothing_is_repaired(repairs: Repairs, das: Das, catalog: FakeCatalog) -> None:
    row, finding = _stored(catalog)
    das.write(DIGEST, CONTENT)
    report = Report()
    report.take([finding], repairs, Request())
    assert (report.ok, catalog.rows[row.uuid].key) == (False, KEY)


def test_only_the_named_finding_is_repaired(repairs: Repairs, das: Das, catalog: FakeCatalog) -> None:
    first, wanted = _stored(catalog)
    second, other = _stored(catalog, offset=512)
    das.write(DIGEST, CONTENT)
    report = Report()
    report.take([other, wanted], repairs, Request(REPAIRED, str(first.uuid)))
    assert (report.found[Kind.ARCHIVE_MISSING], report.repaired[Kind.ARCHIVE_MISSING], report.ok) == (2, 1, False)
    assert catalog.rows[first.uuid].key != KEY
    assert catalog.rows[second.uuid].key == KEY


def test_images_with_the_same_lost_object_are_stored_again_once(
    repairs: Repairs, das: Das, catalog: FakeCatalog, bucket: FakeBucket
) -> None:
    lost = [_stored(catalog)[1] for _ in range(2)]
    das.write(DIGEST, CONTENT)
    report = Report()
    report.take(lost, repairs, Request(REPAIRED))
    assert (report.ok, len(bucket.objects)) == (True, 1)
    assert {row.key for row in catalog.rows.values()} == set(bucket.objects)


def test_what_was_found_before_a_place_failed_is_reported(repairs: Repairs) -> None:
    def fail() -> Iterator[Finding]:
        yield Finding(Kind.ARCHIVE_ORPHAN, KEY)
        raise CasUnavailableError("no gateway answers")

    report = Report()
    report.take(fail(), repairs, Request())
    document = report.document(Counts())
    assert (document["ok"], document["failure"], document["found"]) == (
        False, "no gateway answers", {"archive-orphan": 1},
    )  # fmt: skip


def test_orphans_are_reported_and_harmless(repairs: Repairs) -> None:
    report = Report()
    report.take([Finding(Kind.ARCHIVE_ORPHAN, KEY, "3 bytes")], repairs, Request())
    document = report.document(Counts(archive=1))
    assert document["ok"] is True
    assert document["found"] == {"archive-orphan": 1}
    assert document["findings"][0]["fault"] is False


def test_a_report_keeps_a_thousand_findings_of_a_kind_and_counts_all(repairs: Repairs) -> None:
    report = Report()
    report.take((Finding(Kind.DANGLING, str(UUID(int=number))) for number in range(1001)), repairs, Request())
    document = report.document(Counts())
    assert (document["found"], len(document["findings"]), document["complete"]) == ({"dangling": 1001}, 1000, False)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [(["--repair", "dangling"], "possible are archive-missing"), (["--only", UUID_], "--only needs --repair")],
)
def test_a_repair_that_does_not_exist_is_wrong_usage(arguments: list[str], reason: str) -> None:
    result = CliRunner().invoke(cli.app, ["reconcile", *arguments], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert result.exit_code == 2
    assert reason in result.stderr
