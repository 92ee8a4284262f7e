import errno
import hashlib
import itertools
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from obstore.exceptions import GenericError

from hapacs_node.catalog.index import Attachment
from hapacs_node.catalog.objects import StoredObject
from hapacs_node.catalog.removals import Removal
from hapacs_node.errors import (
    CasError,
    CasUnavailableError,
    CatalogError,
    CatalogUnavailableError,
    DasError,
    RefusedError,
)
from hapacs_node.metrics import Metrics
from hapacs_node.storage import bridge, names
from hapacs_node.storage.area import StorageArea
from tests.unit.node.fakes import FakeBucket, FakeCatalog, FakeClient
from tests.unit.node.test_das import damage, failing, file_of

CONTENT = b"header" + b"\xe0\x7f\x10\x00" + b"pixels" * 1000
DIGEST = names.digest_of(CONTENT)
KEY = names.cas_key(DIGEST)
DICOM, UNTIL_PIXEL_DATA, ATTACHED = 1, 3, 0


@pytest.fixture
def uuid() -> UUID:
    return uuid4()


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(name, labels) or 0.0


def test_an_image_is_in_das_archive_and_catalog_when_create_returns(
    area: StorageArea, root: Path, bucket: FakeBucket, catalog: FakeCatalog, uuid: UUID
) -> None:
    area.create(str(uuid), DICOM, CONTENT)
    assert file_of(root, DIGEST).read_bytes() == CONTENT
    assert bucket.objects == {KEY: (CONTENT, DIGEST)}
    size = len(CONTENT)
    assert catalog.rows == {uuid: StoredObject(uuid, DIGEST, size, DICOM, "cas", KEY, 0, size, "pacs1")}
    assert area.read(str(uuid), DICOM) == CONTENT


def test_attachments_of_plugins_are_archived_but_neither_routed_nor_replicated(
    area: StorageArea, bucket: FakeBucket, catalog: FakeCatalog, uuid: UUID
) -> None:
    area.create(str(uuid), ATTACHED, CONTENT)
    assert KEY in bucket.objects
    assert catalog.rows[uuid].type == ATTACHED


def test_equal_bytes_are_stored_once_for_two_attachments(
    area: StorageArea, bucket: FakeBucket, catalog: FakeCatalog
) -> None:
    names_ = [uuid4(), uuid4()]
    for name in names_:
        area.create(str(name), DICOM, CONTENT)
    assert len(bucket.objects) == 1
    assert set(catalog.rows) == set(names_)


def test_das_and_cas_are_written_at_the_same_time(area: StorageArea, clients: list[FakeClient], uuid: UUID) -> None:
    both = threading.Barrier(2, timeout=5)
    write = area.das.write

    def write_together(digest: str, content: bytes) -> None:
        both.wait()
        write(digest, content)

    area.das.write = write_together  # type: ignore[method-assign, assignment]
    clients[0].faults.append(lambda: both.wait() and None)
    area.create(str(uuid), DICOM, CONTENT)
    assert not both.broken


def test_the_catalog_is_written_last(
    area: StorageArea, catalog: FakeCatalog, root: Path, bucket: FakeBucket, uuid: UUID
) -> None:
    catalog.add_fault = CatalogUnavailableError("no leader")
    with pytest.raises(CatalogUnavailableError):
        area.create(str(uuid), DICOM, CONTENT)
    assert file_of(root, DIGEST).exists()
    assert KEY in bucket.objects
    assert catalog.rows == {}


def test_create_fails_while_the_archive_is_down(
    area: StorageArea, *, clients: list[FakeClient], catalog: FakeCatalog, uuid: UUID, metrics: Metrics
) -> None:
    for client in clients:
        client.always = GenericError("connection refused")
    with pytest.raises(CasUnavailableError):
        area.create(str(uuid), DICOM, CONTENT)
    assert catalog.rows == {}
    assert value(metrics, "hapacs_storage_errors_total", step="cas_put", error="CasUnavailableError") == 1
    assert value(metrics, "hapacs_storage_errors_total", step="create", error="CasUnavailableError") == 1


def test_create_fails_at_the_deadline_when_the_archive_hangs(
    area: StorageArea, clients: list[FakeClient], catalog: FakeCatalog, uuid: UUID
) -> None:
    release = threading.Event()
    clients[0].faults.append(lambda: release.wait(10) and None)
    area.cas.deadline_s = 0.3
    began = time.monotonic()
    with pytest.raises(CasUnavailableError):
        area.create(str(uuid), DICOM, CONTENT)
    assert time.monotonic() - began < 2
    assert catalog.rows == {}
    release.set()


FAILURES = pytest.mark.parametrize(
    ("function", "code"),
    tuple(itertools.product(["write", "fdatasync", "rename", "fsync"], [errno.ENOSPC, errno.EIO, errno.EROFS])),
)


@FAILURES
def test_image_is_in_archive_and_catalog_when_the_das_fails(
    area: StorageArea,
    bucket: FakeBucket,
    catalog: FakeCatalog,
    root: Path,
    uuid: UUID,
    *,
    metrics: Metrics,
    monkeypatch: pytest.MonkeyPatch,
    function: str,
    code: int,
) -> None:
    monkeypatch.setattr(os, function, failing(code))
    area.create(str(uuid), DICOM, CONTENT)
    monkeypatch.undo()
    assert bucket.objects == {KEY: (CONTENT, DIGEST)}
    assert set(catalog.rows) == {uuid}
    assert value(metrics, "hapacs_das_copies_missed_total") == 1
    # The first read makes the online copy.
    assert area.read(str(uuid), DICOM) == CONTENT
    assert file_of(root, DIGEST).read_bytes() == CONTENT


@FAILURES
def test_create_fails_when_the_das_goes_on_failing(
    area: StorageArea, catalog: FakeCatalog, uuid: UUID, *, monkeypatch: pytest.MonkeyPatch, function: str, code: int
) -> None:
    now = [0.0]
    area.bridge.clock = lambda: now[0]
    monkeypatch.setattr(os, function, failing(code))
    area.create(str(uuid), DICOM, CONTENT)
    now[0] = bridge.LIMIT_S + 1
    with pytest.raises(DasError):
        area.create(str(uuid4()), DICOM, CONTENT)
    monkeypatch.undo()
    assert set(catalog.rows) == {uuid}


def test_create_fails_when_das_and_archive_fail(
    area: StorageArea, clients: list[FakeClient], catalog: FakeCatalog, uuid: UUID, *, monkeypatch: pytest.MonkeyPatch
) -> None:
    for client in clients:
        client.always = GenericError("connection refused")
    monkeypatch.setattr(os, "write", failing(errno.ENOSPC))
    with pytest.raises(CasUnavailableError):
        area.create(str(uuid), DICOM, CONTENT)
    monkeypatch.undo()
    assert catalog.rows == {}


def test_create_can_be_repeated_and_other_bytes_for_the_name_are_refused(
    area: StorageArea, catalog: FakeCatalog, uuid: UUID
) -> None:
    area.create(str(uuid), DICOM, CONTENT)
    area.create(str(uuid), DICOM, CONTENT)
    assert len(catalog.rows) == 1
    with pytest.raises(CatalogError):
        area.create(str(uuid), DICOM, CONTENT + b"x")


@pytest.mark.parametrize("content_type", [DICOM, UNTIL_PIXEL_DATA, ATTACHED])
def test_empty_bytes_are_refused(area: StorageArea, uuid: UUID, content_type: int) -> None:
    with pytest.raises(RefusedError):
        area.create(str(uuid), content_type, b"")


def test_an_invalid_name_is_refused_before_any_write(area: StorageArea, root: Path, bucket: FakeBucket) -> None:
    with pytest.raises(RefusedError):
        area.create("../../etc/passwd", DICOM, CONTENT)
    with pytest.raises(RefusedError):
        area.read("../../etc/passwd", UNTIL_PIXEL_DATA)
    assert list(root.iterdir()) == []
    assert bucket.objects == {}


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda file: file.unlink(), "missing"),
        (lambda file: damage(file, b""), "corrupt"),
        (lambda file: damage(file, b"X" + CONTENT[1:]), "corrupt"),
        (lambda file: (file.unlink(), file.symlink_to("/dev/null")), "corrupt"),
    ],
    ids=["missing", "empty", "flipped", "link"],
)
def test_a_bad_das_copy_is_restored_from_the_archive_and_counted(
    area: StorageArea, root: Path, uuid: UUID, *, metrics: Metrics, spoil: object, reason: str
) -> None:
    area.create(str(uuid), DICOM, CONTENT)
    assert callable(spoil)
    spoil(file_of(root, DIGEST))
    assert area.read(str(uuid), DICOM) == CONTENT
    assert file_of(root, DIGEST).read_bytes() == CONTENT
    assert not file_of(root, DIGEST).is_symlink()
    assert value(metrics, "hapacs_das_heals_total", reason=reason) == 1
    assert area.read(str(uuid), DICOM) == CONTENT
    assert value(metrics, "hapacs_das_heals_total", reason=reason) == 1


def test_a_damaged_copy_is_logged_as_a_warning_and_a_missing_one_is_not(
    area: StorageArea, root: Path, uuid: UUID, caplog: pytest.LogCaptureFixture
) -> None:
    area.create(str(uuid), DICOM, CONTENT)
    with caplog.at_level("WARNING", "hapacs.storage"):
        file_of(root, DIGEST).unlink()
        area.read(str(uuid), DICOM)
        assert caplog.messages == []
        damage(file_of(root, DIGEST), b"rotten")
        area.read(str(uuid), DICOM)
    assert [message.split(" digest=")[0] for message in caplog.messages] == [
        "event=das_copy_corrupt",
        "event=das_copy_restored",
    ]
    assert DIGEST in caplog.text


def test_a_read_succeeds_when_the_das_copy_can_not_be_restored(
    area: StorageArea, root: Path, uuid: UUID, monkeypatch: pytest.MonkeyPatch, metrics: Metrics
) -> None:
    area.create(str(uuid), DICOM, CONTENT)
    file_of(root, DIGEST).unlink()
    monkeypatch.setattr(os, "write", failing(errno.ENOSPC))
    assert area.read(str(uuid), DICOM) == CONTENT
    assert value(metrics, "hapacs_storage_errors_total", step="das_heal", error="DasFullError") == 1
    assert value(metrics, "hapacs_das_heals_total", reason="missing") == 0


def test_a_read_succeeds_when_the_das_fails(area: StorageArea, uuid: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    area.create(str(uuid), DICOM, CONTENT)
    monkeypatch.setattr(os, "open", failing(errno.EROFS))
    assert area.read(str(uuid), DICOM) == CONTENT


def test_a_whole_das_copy_is_read_without_the_archive(area: StorageArea, clients: list[FakeClient], uuid: UUID) -> None:
    area.create(str(uuid), DICOM, CONTENT)
    for client in clients:
        client.always = GenericError("connection refused")
    assert area.read(str(uuid), DICOM) == CONTENT


def test_damaged_bytes_are_never_returned(area: StorageArea, root: Path, bucket: FakeBucket, uuid: UUID) -> None:
    area.create(str(uuid), DICOM, CONTENT)
    rotten = b"X" + CONTENT[1:]
    damage(file_of(root, DIGEST), rotten)
    bucket.objects[KEY] = (rotten, DIGEST)
    with pytest.raises(CasError):
        area.read(str(uuid), DICOM)


def test_an_object_is_read_from_the_place_in_the_catalog(
    area: StorageArea, bucket: FakeBucket, catalog: FakeCatalog, uuid: UUID
) -> None:
    bucket.objects["packs/1"] = (b"other study" + CONTENT, None)
    size = len(CONTENT)
    catalog.rows[uuid] = StoredObject(uuid, DIGEST, size, DICOM, "cas", "packs/1", 11, size, "pacs2")
    assert area.read(str(uuid), DICOM) == CONTENT


def test_a_row_with_an_unknown_store_is_an_error(area: StorageArea, catalog: FakeCatalog, uuid: UUID) -> None:
    size = len(CONTENT)
    catalog.rows[uuid] = StoredObject(uuid, DIGEST, size, DICOM, "tape", KEY, 0, size, "pacs2")
    with pytest.raises(CatalogError, match="tape"):
        area.read(str(uuid), DICOM)


def test_an_unknown_attachment_is_an_error(area: StorageArea, uuid: UUID) -> None:
    with pytest.raises(CatalogError):
        area.read(str(uuid), DICOM)
    with pytest.raises(CatalogError):
        area.remove(str(uuid), DICOM, Removal("removed"))


def test_remove_writes_a_tombstone_and_keeps_all_bytes(
    area: StorageArea, root: Path, bucket: FakeBucket, *, catalog: FakeCatalog, uuid: UUID, metrics: Metrics
) -> None:
    area.create(str(uuid), DICOM, CONTENT)
    area.remove(str(uuid), DICOM, Removal("removed"))
    assert catalog.tombstones == {uuid: "pacs1"}
    assert file_of(root, DIGEST).read_bytes() == CONTENT
    assert KEY in bucket.objects
    assert value(metrics, "hapacs_catalog_tombstones_total") == 1


class TestDerived:
    """The beginning of a DICOM file, which Orthanc stores in addition."""

    SIZE = CONTENT.index(b"\xe0\x7f")
    HEADER = CONTENT[:SIZE]

    @pytest.fixture
    def derived(self, area: StorageArea, catalog: FakeCatalog, uuid: UUID) -> UUID:
        area.create(str(uuid), DICOM, CONTENT)
        name = uuid4()
        md5 = hashlib.md5(self.HEADER, usedforsecurity=False).hexdigest()
        catalog.parents_of[name] = (
            Attachment(name, UNTIL_PIXEL_DATA, self.SIZE, 1, md5),
            Attachment(uuid, DICOM, len(CONTENT), 1, ""),
        )
        return name

    def test_it_is_stored_on_the_das_only(
        self,
        area: StorageArea,
        derived: UUID,
        bucket: FakeBucket,
        catalog: FakeCatalog,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        catalog.fault = CatalogUnavailableError("no leader")
        area.das.write_derived(derived, b"warm the folders up")
        monkeypatch.setattr(os, "fsync", failing(errno.EIO))
        area.create(str(derived), UNTIL_PIXEL_DATA, self.HEADER)
        assert area.read(str(derived), UNTIL_PIXEL_DATA) == self.HEADER
        assert list(bucket.objects) == [KEY]

    def test_it_is_rebuilt_from_its_parent_and_stored(
        self, area: StorageArea, derived: UUID, metrics: Metrics, catalog: FakeCatalog
    ) -> None:
        assert area.read(str(derived), UNTIL_PIXEL_DATA) == self.HEADER
        catalog.parents_of.clear()
        assert area.read(str(derived), UNTIL_PIXEL_DATA) == self.HEADER
        assert value(metrics, "hapacs_derived_rebuilds_total") == 1

    def test_a_damaged_one_is_rebuilt(self, area: StorageArea, derived: UUID, root: Path) -> None:
        area.create(str(derived), UNTIL_PIXEL_DATA, self.HEADER)
        damage(root.joinpath(*names.derived_path(derived)), b"rotten")
        assert area.read(str(derived), UNTIL_PIXEL_DATA) == self.HEADER

    def test_rebuilding_it_restores_its_parent(self, area: StorageArea, derived: UUID, root: Path) -> None:
        file_of(root, DIGEST).unlink()
        assert area.read(str(derived), UNTIL_PIXEL_DATA) == self.HEADER
        assert file_of(root, DIGEST).exists()

    def test_a_full_das_does_not_fail_storing_it(
        self, area: StorageArea, derived: UUID, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "write", failing(errno.ENOSPC))
        area.create(str(derived), UNTIL_PIXEL_DATA, self.HEADER)
        assert area.read(str(derived), UNTIL_PIXEL_DATA) == self.HEADER

    def test_a_cut_that_differs_from_the_index_is_not_returned(
        self, area: StorageArea, derived: UUID, catalog: FakeCatalog
    ) -> None:
        wanted, parent = catalog.parents_of[derived]
        for wrong in (
            Attachment(derived, UNTIL_PIXEL_DATA, self.SIZE - 1, 1, wanted.md5),
            Attachment(derived, UNTIL_PIXEL_DATA, len(CONTENT) + 1, 1, ""),
            Attachment(derived, UNTIL_PIXEL_DATA, self.SIZE, 2, wanted.md5),
            Attachment(derived, 2, self.SIZE, 1, wanted.md5),
        ):
            catalog.parents_of[derived] = (wrong, parent)
            with pytest.raises(CatalogError):
                area.read(str(derived), UNTIL_PIXEL_DATA)

    def test_without_a_parent_reading_it_fails(self, area: StorageArea, derived: UUID, catalog: FakeCatalog) -> None:
        catalog.parents_of.clear()
        with pytest.raises(CatalogError, match="no parent"):
            area.read(str(derived), UNTIL_PIXEL_DATA)

    def test_removing_it_removes_the_file_and_writes_no_tombstone(
        self, area: StorageArea, derived: UUID, root: Path, catalog: FakeCatalog
    ) -> None:
        area.create(str(derived), UNTIL_PIXEL_DATA, self.HEADER)
        area.remove(str(derived), UNTIL_PIXEL_DATA, Removal("removed"))
        assert not root.joinpath(*names.derived_path(derived)).exists()
        assert catalog.tombstones == {}


def test_many_threads_store_and_read_at_once(area: StorageArea, catalog: FakeCatalog, metrics: Metrics) -> None:
    contents = [os.urandom(1000 + number % 3) for number in range(60)]

    def store(content: bytes) -> bool:
        name = str(uuid4())
        area.create(name, DICOM, content)
        return area.read(name, DICOM) == content

    with ThreadPoolExecutor(12) as threads:
        assert all(threads.map(store, contents))
    assert len(catalog.rows) == len(contents)
    assert value(metrics, "hapacs_storage_in_flight") == 0
    assert value(metrics, "hapacs_storage_bytes_total", direction="stored") == sum(map(len, contents))


def test_reading_the_first_image_of_a_series_fetches_the_series(
    area: StorageArea, root: Path, catalog: FakeCatalog, metrics: Metrics, clients: list[FakeClient]
) -> None:
    uuids = [uuid4() for _ in range(4)]
    contents = [CONTENT + bytes([number]) for number in range(4)]
    for uuid, content in zip(uuids, contents, strict=True):
        area.create(str(uuid), DICOM, content)
        file_of(root, names.digest_of(content)).unlink()
    catalog.in_series = uuids
    assert area.read(str(uuids[1]), DICOM) == contents[1]
    deadline = time.monotonic() + 10
    while value(metrics, "hapacs_das_read_ahead_total") < 3:
        assert time.monotonic() < deadline, "the rest of the series is not read ahead"
        time.sleep(0.01)
    for content in contents:
        assert file_of(root, names.digest_of(content)).read_bytes() == content
    got = [request for client in clients for request in client.requests if request[0] == "get"]
    assert len(got) == 4
    assert value(metrics, "hapacs_das_heals_total", reason="missing") == 4


def test_an_attachment_without_a_series_is_read_alone(
    area: StorageArea, root: Path, catalog: FakeCatalog, uuid: UUID
) -> None:
    area.create(str(uuid), ATTACHED, CONTENT)
    file_of(root, DIGEST).unlink()
    catalog.in_series = [uuid]
    assert area.read(str(uuid), ATTACHED) == CONTENT
    assert area.reader._ahead._begun == {}
