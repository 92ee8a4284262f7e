"""Files of instances as they are remembered for a moment; the catalog is a fake."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest

from hapacs_node.catalog.objects import StoredObject
from hapacs_node.catalog.retrieval import Named
from hapacs_node.catalog.selection import Selected, Selection
from hapacs_node.errors import CatalogError, CatalogUnavailableError, RefusedError
from hapacs_node.retrieve.places import REMEMBERED_S, Places
from tests.unit.node.fakes import FakeCatalog

STUDY, SERIES = "1.2", "1.2.3"
WAIT_S = 10


class Index(FakeCatalog):
    """A catalog with a series, whose queries are counted and can be held."""

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, StoredObject | None] = {}
        self.wanted: list[Selection] = []
        self.begun = threading.Semaphore(0)
        self.free = threading.Event()
        self.free.set()

    def select(self, wanted: Selection) -> list[Selected]:
        self.wanted.append(wanted)
        found = [
            Selected(study, SERIES, sop, "", "", row)
            for sop, row in self.files.items()
            for study in ("9.9", STUDY)
            if SERIES in wanted.series or sop in wanted.instances
        ]
        self.begun.release()
        assert self.free.wait(WAIT_S)
        self._ask()
        return found

    def store(self, sop: str) -> UUID:
        uuid = uuid4()
        self.files[sop] = StoredObject(uuid, "ab" * 32, 1, 1, "cas", "key", 0, 1, "pacs1")
        return uuid


class Clock:
    """A clock that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def catalog() -> Index:
    made = Index()
    for number in range(1, 6):
        made.store(f"1.2.3.{number}")
    return made


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def places(catalog: Index, clock: Clock) -> Places:
    return Places(catalog, clock=clock)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(6) as made:
        yield made


def named(number: int, series: str = SERIES) -> Named:
    return Named(STUDY, series, f"1.2.3.{number}")


def uuid_of(catalog: Index, number: int) -> UUID:
    row = catalog.files[f"1.2.3.{number}"]
    assert row is not None
    return row.uuid


def test_all_images_of_a_series_take_two_queries(places: Places, catalog: Index) -> None:
    for number in range(1, 6):
        assert places.of(named(number)).uuid == uuid_of(catalog, number)
    assert catalog.wanted == [Selection(instances=("1.2.3.1",)), Selection(series=(SERIES,))]


def test_one_image_does_not_read_its_series(places: Places, catalog: Index, clock: Clock) -> None:
    for _ in range(3):
        assert places.of(named(1)).uuid == uuid_of(catalog, 1)
        clock.now += 3600
    assert catalog.wanted == [Selection(instances=("1.2.3.1",))] * 3


def test_what_was_deleted_or_hidden_is_found_no_longer_than_the_limit(
    places: Places, catalog: Index, clock: Clock
) -> None:
    places.of(named(1))
    places.of(named(2))
    catalog.files.clear()
    clock.now += REMEMBERED_S - 0.1
    places.of(named(3))
    clock.now += 0.1
    for number in range(1, 6):
        with pytest.raises(RefusedError):
            places.of(named(number))


def test_an_image_that_was_replaced_is_found_as_it_is_after_the_limit(
    places: Places, catalog: Index, clock: Clock
) -> None:
    places.of(named(1))
    places.of(named(2))
    new = catalog.store("1.2.3.3")
    clock.now += REMEMBERED_S
    assert places.of(named(3)).uuid == new


def test_the_limit_counts_from_the_beginning_of_the_query(
    places: Places, catalog: Index, clock: Clock, pool: ThreadPoolExecutor
) -> None:
    places.of(named(1))
    assert catalog.begun.acquire(timeout=WAIT_S)
    catalog.free.clear()
    slow = pool.submit(places.of, named(2))
    assert catalog.begun.acquire(timeout=WAIT_S)
    # The query has seen all images; now they are deleted, and the answer comes late.
    catalog.files.clear()
    clock.now += REMEMBERED_S
    catalog.free.set()
    with pytest.raises(RefusedError):
        slow.result(WAIT_S)
    with pytest.raises(RefusedError):
        places.of(named(3))


def test_an_image_that_was_stored_since_is_found_at_once(places: Places, catalog: Index) -> None:
    places.of(named(1))
    places.of(named(2))
    new = catalog.store("1.2.3.77")
    assert places.of(named(77)).uuid == new
    with pytest.raises(RefusedError):
        places.of(named(78))
    # The series is not read again for them.
    assert catalog.wanted.count(Selection(series=(SERIES,))) == 1


def test_an_instance_of_another_series_is_not_found(places: Places) -> None:
    places.of(named(1))
    places.of(named(2))
    for _ in range(2):
        with pytest.raises(RefusedError):
            places.of(named(1, "1.2.4"))


def test_connections_that_ask_together_share_one_query(
    places: Places, catalog: Index, pool: ThreadPoolExecutor
) -> None:
    places.of(named(1))
    catalog.begun.acquire()
    catalog.free.clear()
    asked = [pool.submit(places.of, named(number)) for number in (2, 3, 4, 5)]
    assert catalog.begun.acquire(timeout=WAIT_S)
    catalog.free.set()
    assert [one.result(WAIT_S).uuid for one in asked] == [uuid_of(catalog, number) for number in (2, 3, 4, 5)]
    assert catalog.wanted.count(Selection(series=(SERIES,))) == 1
    assert len(catalog.wanted) == 2


def test_a_failed_query_is_an_error_for_all_and_is_not_remembered(
    places: Places, catalog: Index, pool: ThreadPoolExecutor
) -> None:
    places.of(named(1))
    catalog.begun.acquire()
    catalog.free.clear()
    catalog.fault = CatalogUnavailableError("no leader")
    asked = [pool.submit(places.of, named(number)) for number in (2, 3)]
    assert catalog.begun.acquire(timeout=WAIT_S)
    catalog.free.set()
    for one in asked:
        with pytest.raises(CatalogUnavailableError):
            one.result(WAIT_S)
    catalog.fault = None
    assert places.of(named(2)).uuid == uuid_of(catalog, 2)


def test_an_image_without_its_row_is_an_error(places: Places, catalog: Index) -> None:
    catalog.files["1.2.3.2"] = None
    places.of(named(1))
    for ask in (places.of, places.of, places.now):
        with pytest.raises(CatalogError, match="not in the catalog"):
            ask(named(2))


def test_a_series_that_is_too_large_is_not_kept(catalog: Index, clock: Clock) -> None:
    places = Places(catalog, most_rows=4, clock=clock)
    for number in range(1, 6):
        assert places.of(named(number)).uuid == uuid_of(catalog, number)
    assert catalog.wanted.count(Selection(series=(SERIES,))) == 1
    assert sum(len(series.files) for series in places._known.values()) == 0


def test_series_that_nobody_asks_for_are_forgotten(places: Places, clock: Clock) -> None:
    places.of(named(1))
    places.of(named(2))
    clock.now += 61
    with pytest.raises(RefusedError):
        places.of(Named(STUDY, "1.2.4", "9"))
    assert [series for _, series in places._known] == ["1.2.4"]
