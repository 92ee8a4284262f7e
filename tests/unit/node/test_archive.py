import io
import os
import tarfile
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest
from obstore.exceptions import GenericError

from hapacs_node.catalog.objects import StoredObject
from hapacs_node.errors import CasUnavailableError
from hapacs_node.metrics import Metrics
from hapacs_node.storage import archive, names
from hapacs_node.storage.archive import Archive, Location
from hapacs_node.storage.area import StorageArea, Workers
from hapacs_node.storage.cas import Cas
from hapacs_node.storage.packs import pack
from tests.unit.node.fakes import FakeBucket, FakeCatalog, FakeClient

DICOM = 1


def images(count: int, size: int = 1000) -> list[bytes]:
    return [os.urandom(size + number) for number in range(count)]


def put_at_once(archive: Archive, clients: list[FakeClient], contents: list[bytes]) -> list[Future[Location]]:
    """Keep each packer busy with an image, so that later images make a batch."""
    go = threading.Event()
    begun = threading.Semaphore(0)

    def hold() -> None:
        begun.release()
        assert go.wait(10)

    clients[0].faults += [hold, hold]
    busy = []
    for content in images(2):
        busy.append(archive.begin(names.digest_of(content), content))
        assert begun.acquire(timeout=10)
    futures = [archive.begin(names.digest_of(content), content) for content in contents]
    go.set()
    for future in busy:
        future.result(10)
    return futures


@pytest.fixture
def kept(cas: Cas, catalog: FakeCatalog, workers: Workers, metrics: Metrics) -> Archive:
    return Archive(cas, catalog.by_digests, workers.archivers, workers.packers, metrics)


def test_a_pack_is_a_tar_archive_with_digests_as_member_names() -> None:
    contents = {names.digest_of(content): content for content in [*images(3), b"x" * 512, b"y"]}
    packed, offsets = pack(contents)
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:") as tar:
        members = {member.name: tar.extractfile(member) for member in tar}
    assert {name: file.read() for name, file in members.items() if file} == contents
    for digest, content in contents.items():
        assert packed[offsets[digest] : offsets[digest] + len(content)] == content


def test_a_single_image_is_stored_under_its_digest(kept: Archive, bucket: FakeBucket) -> None:
    [content] = images(1)
    digest = names.digest_of(content)
    assert kept.begin(digest, content).result(10) == Location(names.cas_key(digest))
    assert bucket.objects == {names.cas_key(digest): (content, digest)}


def test_simultaneous_images_share_an_object_and_each_is_readable(
    kept: Archive, bucket: FakeBucket, clients: list[FakeClient]
) -> None:
    contents = images(5)
    places = [future.result(10) for future in put_at_once(kept, clients, contents)]
    assert len({place.key for place in places}) < len(contents)
    assert any(place.key.startswith("packs/") for place in places)
    for content, place in zip(contents, places, strict=True):
        assert bucket.objects[place.key][0][place.offset : place.offset + len(content)] == content
        assert kept.cas.get(place.key, names.digest_of(content), place.offset, len(content)) == content


def test_a_pack_has_one_member_for_equal_bytes(kept: Archive, clients: list[FakeClient], bucket: FakeBucket) -> None:
    one, other = images(2)
    places = [future.result(10) for future in put_at_once(kept, clients, [one, one, one, other])]
    assert sum(content.count(one) for content, _ in bucket.objects.values()) <= 2  # two packers at most
    assert {place.key for place in places} <= set(bucket.objects)


def test_a_large_image_is_never_packed_and_does_not_delay_others(
    kept: Archive, clients: list[FakeClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "LARGEST_PACKED_BYTES", 5000)
    contents = images(3, 6000)
    places = [future.result(10) for future in put_at_once(kept, clients, contents)]
    assert places == [Location(names.cas_key(names.digest_of(content))) for content in contents]


def test_all_images_of_a_pack_are_refused_while_the_archive_is_down(
    area: StorageArea, clients: list[FakeClient], catalog: FakeCatalog
) -> None:
    area.cas.deadline_s = 0.5
    for client in clients:
        client.always = GenericError("connection refused")

    def store(content: bytes) -> str:
        with pytest.raises(CasUnavailableError):
            area.create(str(uuid4()), DICOM, content)
        return "refused"

    with ThreadPoolExecutor(6) as callers:
        assert list(callers.map(store, images(6))) == ["refused"] * 6
    assert catalog.rows == {}


def noted(catalog: FakeCatalog, content: bytes, place: Location) -> UUID:
    uuid, digest, size = uuid4(), names.digest_of(content), len(content)
    row = StoredObject(uuid, digest, size, DICOM, "cas", place.key, place.offset, size, "pacs1")
    catalog.add(row)
    return uuid


def test_an_image_that_is_in_a_pack_is_not_archived_again(
    kept: Archive, *, clients: list[FakeClient], bucket: FakeBucket, catalog: FakeCatalog, metrics: Metrics
) -> None:
    contents = images(4)
    places = [future.result(10) for future in put_at_once(kept, clients, contents)]
    for content, place in zip(contents, places, strict=True):
        noted(catalog, content, place)
    before = set(bucket.objects)
    assert [kept.begin(names.digest_of(content), content).result(10) for content in contents] == places
    assert set(bucket.objects) == before
    assert metrics.registry.get_sample_value("hapacs_cas_deduplicated_total") == 4


@pytest.mark.parametrize("lost", ["gone", "damaged"])
def test_a_catalog_row_counts_only_when_the_archive_confirms_it(
    kept: Archive, bucket: FakeBucket, catalog: FakeCatalog, lost: str
) -> None:
    [content] = images(1)
    digest = names.digest_of(content)
    noted(catalog, content, Location("packs/somewhere.tar", 512))
    if lost == "damaged":
        bucket.objects["packs/somewhere.tar"] = (bytes(5000), None)
    assert kept.begin(digest, content).result(10) == Location(names.cas_key(digest))
    assert bucket.objects[names.cas_key(digest)] == (content, digest)


def test_simultaneous_images_are_stored_and_read_correctly(area: StorageArea, catalog: FakeCatalog) -> None:
    contents = {str(uuid4()): content for content in images(40)}
    with ThreadPoolExecutor(8) as callers:
        list(callers.map(lambda item: area.create(item[0], DICOM, item[1]), contents.items()))
    assert len(catalog.rows) == 40
    assert sum(catalog.transactions) == 40
    for row in catalog.rows.values():
        assert area.cas.get(row.key, row.digest, row.offset, row.length) == contents[str(row.uuid)]
