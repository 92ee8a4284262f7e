import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from hapacs_node.catalog.objects import StoredObject
from hapacs_node.errors import CasUnavailableError, CatalogUnavailableError
from hapacs_node.metrics import Metrics
from hapacs_node.storage import ahead as module
from hapacs_node.storage.ahead import ReadAhead

WAIT_S = 10


def rows(count: int, length: int = 10) -> list[StoredObject]:
    return [
        StoredObject(uuid4(), f"{number:064x}", length, 1, "cas", f"key{number}", 0, length, "pacs1")
        for number in range(count)
    ]


class Archive:
    """Records the fetches, and can block or fail."""

    def __init__(self, series: list[StoredObject]) -> None:
        self.in_series = series
        self.fetched: list[StoredObject] = []
        self.requests: list[int] = []
        self.asked: list[UUID] = []
        self.there: set[str] = set()
        self.broken: dict[str, Exception] = {}
        self.free = threading.Event()
        self.free.set()
        self.begun = threading.Semaphore(0)

    def fetch(self, rows: Sequence[StoredObject]) -> list[bytes]:
        self.fetched += rows
        self.requests.append(len(rows))
        self.begun.release()
        assert self.free.wait(WAIT_S)
        for row in rows:
            if row.digest in self.broken:
                raise self.broken[row.digest]
        self.there |= {row.digest for row in rows}
        return [f"{row.key}+{row.offset}".encode() if row.offset else row.key.encode() for row in rows]

    def is_there(self, row: StoredObject) -> bool:
        return row.digest in self.there

    def series(self, uuid: UUID) -> list[StoredObject]:
        self.asked.append(uuid)
        if "series" in self.broken:
            raise self.broken["series"]
        return self.in_series


@pytest.fixture
def archive() -> Archive:
    return Archive(rows(5))


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def workers() -> Iterator[ThreadPoolExecutor]:
    # One thread runs the submitted work in order.
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture
def ahead(archive: Archive, workers: ThreadPoolExecutor, metrics: Metrics) -> ReadAhead:
    return ReadAhead(archive.fetch, archive.is_there, archive.series, workers, metrics)


def test_images_of_one_archive_object_are_fetched_with_one_request(
    ahead: ReadAhead, archive: Archive, workers: ThreadPoolExecutor, metrics: Metrics
) -> None:
    first, *others = archive.in_series
    packed = [replace(row, key="pack", offset=100 * number) for number, row in enumerate(others, 1)]
    archive.in_series = [first, *packed]
    ahead.begin(first)
    settle(workers)
    assert archive.requests == [len(packed)]
    assert archive.fetched == packed
    assert metrics.registry.get_sample_value("hapacs_das_read_ahead_total") == len(packed)


def test_a_reader_waits_for_an_image_of_a_pack_that_is_being_fetched(ahead: ReadAhead, archive: Archive) -> None:
    first, *others = archive.in_series
    packed = [replace(row, key="pack", offset=100 * number) for number, row in enumerate(others, 1)]
    archive.in_series = [first, *packed]
    archive.free.clear()
    ahead.begin(first)
    assert archive.begun.acquire(timeout=WAIT_S)
    with ThreadPoolExecutor(2) as readers:
        waiting = [readers.submit(ahead.get, row) for row in packed[:2]]
        archive.free.set()
        assert [future.result(WAIT_S) for future in waiting] == [b"pack+100", b"pack+200"]
    assert archive.requests == [len(packed)]


def settle(workers: ThreadPoolExecutor) -> None:
    # Submitted work may submit more.
    for _ in range(2):
        workers.submit(lambda: None).result(WAIT_S)


def test_the_rest_of_the_series_is_fetched_with_the_following_images_first(
    ahead: ReadAhead, archive: Archive, workers: ThreadPoolExecutor, metrics: Metrics
) -> None:
    first, second, third, fourth, fifth = archive.in_series
    archive.there.add(fourth.digest)
    ahead.begin(third)
    settle(workers)
    assert archive.fetched == [fifth, first, second]
    assert metrics.registry.get_sample_value("hapacs_das_read_ahead_total") == 3


def test_a_series_is_read_ahead_once_and_again_after_eviction(
    ahead: ReadAhead, archive: Archive, workers: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for row in archive.in_series:
        ahead.begin(row)
        settle(workers)
    assert archive.asked == [archive.in_series[0].uuid]
    monkeypatch.setattr(module, "_LATELY_S", -1)
    archive.there.clear()
    ahead.begin(archive.in_series[1])
    settle(workers)
    assert len(archive.fetched) == 4 + 4


def test_a_reader_waits_for_a_fetch_in_progress(ahead: ReadAhead, archive: Archive) -> None:
    archive.free.clear()
    row = archive.in_series[0]
    with ThreadPoolExecutor(3) as readers:
        found = [readers.submit(ahead.get, row) for _ in range(3)]
        assert archive.begun.acquire(timeout=WAIT_S)
        archive.free.set()
        assert [one.result(WAIT_S) for one in found] == [b"key0"] * 3
    assert set(archive.fetched) == {row}
    ahead.get(row)
    assert not ahead._under_way


def test_all_waiting_readers_get_a_failure_and_later_readers_do_not(ahead: ReadAhead, archive: Archive) -> None:
    row = archive.in_series[0]
    archive.broken[row.digest] = CasUnavailableError("away")
    with pytest.raises(CasUnavailableError, match="away"):
        ahead.get(row)
    archive.broken.clear()
    assert ahead.get(row) == b"key0"


def test_reading_ahead_continues_after_a_failed_image(
    ahead: ReadAhead, archive: Archive, workers: ThreadPoolExecutor
) -> None:
    archive.broken[archive.in_series[1].digest] = CasUnavailableError("away")
    ahead.begin(archive.in_series[0])
    settle(workers)
    assert archive.there == {row.digest for row in archive.in_series[2:]}


def test_without_the_catalog_nothing_is_read_ahead(
    ahead: ReadAhead, archive: Archive, workers: ThreadPoolExecutor
) -> None:
    archive.broken["series"] = CatalogUnavailableError("moving")
    ahead.begin(archive.in_series[0])
    settle(workers)
    assert archive.fetched == []
    assert ahead.get(archive.in_series[0]) == b"key0"


def test_reading_ahead_of_a_large_series_ends_at_the_limit(
    ahead: ReadAhead, archive: Archive, workers: ThreadPoolExecutor
) -> None:
    archive.in_series = rows(5, module._LONGEST_BYTES // 2)
    ahead.begin(archive.in_series[0])
    settle(workers)
    assert archive.fetched == archive.in_series[1:3]


def test_given_objects_are_read_ahead_without_a_query_for_the_series(
    ahead: ReadAhead, archive: Archive, workers: ThreadPoolExecutor
) -> None:
    assert ahead.begin_with(archive.in_series) == 5
    settle(workers)
    assert archive.fetched == archive.in_series[1:]
    # A read of one of them by Orthanc does not begin again.
    ahead.begin(archive.in_series[2])
    settle(workers)
    assert archive.asked == []


def test_reading_ahead_returns_how_many_objects_are_within_the_limit(
    ahead: ReadAhead, archive: Archive, workers: ThreadPoolExecutor
) -> None:
    wanted = rows(5, module._LONGEST_BYTES // 2)
    assert ahead.begin_with(wanted) == 3
    settle(workers)
    assert archive.fetched == wanted[1:3]


def test_the_rest_of_a_pack_is_fetched_with_the_requested_image(
    ahead: ReadAhead, archive: Archive, workers: ThreadPoolExecutor
) -> None:
    packed = [replace(row, key="pack", offset=100 * number) for number, row in enumerate(archive.in_series, 1)]
    archive.there.add(packed[3].digest)
    assert ahead.begin_with(packed) == 5
    settle(workers)
    assert archive.fetched == []
    assert ahead.get(packed[0], packed[1:]) == b"pack+100"
    assert archive.fetched == [*packed[:3], packed[4]]
    assert archive.requests == [4]


def test_the_record_of_read_ahead_images_is_bounded(
    ahead: ReadAhead, archive: Archive, workers: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_REMEMBERED", 3)
    ahead.begin(archive.in_series[0])
    settle(workers)
    assert len(ahead._begun) == 3
