from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from hapacs_node.catalog.objects import StoredObject
from hapacs_node.errors import CatalogError, CatalogUnavailableError
from hapacs_node.storage import rows
from hapacs_node.storage.rows import Rows
from tests.unit.node.fakes import FakeCatalog


def stored(catalog: FakeCatalog, count: int) -> list[UUID]:
    uuids = [uuid4() for _ in range(count)]
    for number, uuid in enumerate(uuids):
        catalog.rows[uuid] = StoredObject(uuid, f"{number:064x}", 12, 1, "cas", "key", 0, 12, "pacs1")
    return uuids


def test_a_series_is_queried_once(catalog: FakeCatalog) -> None:
    catalog.in_series = uuids = stored(catalog, 20)
    known = Rows(catalog)
    assert [known.of(uuid) for uuid in uuids] == [catalog.rows[uuid] for uuid in uuids]
    assert catalog.asked == [uuids[0]]


def test_an_attachment_without_a_series_is_found(catalog: FakeCatalog) -> None:
    [uuid] = stored(catalog, 1)
    assert Rows(catalog).of(uuid) == catalog.rows[uuid]
    with pytest.raises(CatalogError):
        Rows(catalog).of(uuid4())


def test_a_failure_of_the_catalog_is_raised(catalog: FakeCatalog) -> None:
    catalog.fault = CatalogUnavailableError("no leader")
    with pytest.raises(CatalogUnavailableError):
        Rows(catalog).of(uuid4())


def test_now_reads_the_current_place_from_the_catalog(catalog: FakeCatalog) -> None:
    catalog.in_series = stored(catalog, 2)
    uuid = catalog.in_series[0]
    known = Rows(catalog)
    before = known.of(uuid)
    catalog.rows[uuid] = replace(before, key="elsewhere")
    assert known.of(uuid) == before
    assert known.now(uuid).key == "elsewhere"


def test_the_cache_is_bounded_and_always_has_the_requested_row(
    catalog: FakeCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "_REMEMBERED", 5)
    catalog.in_series = uuids = stored(catalog, 20)
    known = Rows(catalog)
    assert known.of(uuids[3]) == catalog.rows[uuids[3]]
    assert known.of(uuids[3]) == catalog.rows[uuids[3]]
    assert len(catalog.asked) == 1
