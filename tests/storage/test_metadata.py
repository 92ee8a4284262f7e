"""Metadata of stored images, on a real PostgreSQL."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from pydicom import Dataset

from hapacs_node.catalog.objects import StoredObject
from hapacs_node.catalog.removals import Removal
from hapacs_node.catalog.retrieval import Instance
from hapacs_node.node import Node
from hapacs_node.retrieve.budget import Budget
from hapacs_node.retrieve.metadata import Metadata
from tests.support.images import ct


@pytest.fixture
def stored(node: Node) -> Callable[..., StoredObject]:
    def store(**attributes: Any) -> StoredObject:
        row = node.storage.create(str(uuid4()), 1, ct(**attributes))
        assert row is not None
        return row

    return store


@pytest.fixture
def cold(node: Node) -> Callable[..., list[dict[str, Any]]]:
    """Ask a node that has no metadata in memory."""

    def ask(*rows: StoredObject) -> list[dict[str, Any]]:
        metadata = Metadata(node.storage.catalog, node.storage.reader, Budget(1 << 20, 1), node.storage.undeclared)
        found: list[dict[str, Any]] = json.loads(
            metadata.of([Instance(row, "") for row in rows], "https://pacs.example/dicom-web")
        )
        return found

    return ask


def test_metadata_of_a_stored_image_needs_no_file(
    stored: Callable[..., StoredObject],
    cold: Callable[..., list[dict[str, Any]]],
    node: Node,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    item = Dataset()
    item.SpecificCharacterSet = "ISO_IR 100"
    item.ScheduledProcedureStepDescription = "Schädel"
    row = stored(PatientName="Müller", RedPaletteColorLookupTableData=bytes(2048), RequestAttributesSequence=[item])

    def read_all(_: object, rows: list[object]) -> Iterator[bytes]:
        assert rows == []
        return iter(())

    monkeypatch.setattr(type(node.storage.reader), "read_all", read_all)
    [found] = cold(row)
    assert found["00100010"]["Value"] == [{"Alphabetic": "Müller"}]
    [inner] = found["00400275"]["Value"]
    assert inner == {"00400007": {"vr": "LO", "Value": ["Schädel"]}}
    assert found["7FE00010"]["BulkDataURI"].startswith("https://pacs.example/dicom-web/studies/")
    assert found["00281201"]["BulkDataURI"].endswith("/bulk/00281201")


def test_metadata_with_a_large_header_is_read_from_the_file(
    stored: Callable[..., StoredObject], cold: Callable[..., list[dict[str, Any]]], node: Node
) -> None:
    row = stored(PatientComments="x" * 60_000, DerivationDescription="y" * 60_000)
    assert node.storage.catalog.documents([row.uuid], row.header.described_as if row.header else "") == {}
    [found] = cold(row)
    assert len(found["00082111"]["Value"][0]) == 60_000
    assert found["00100020"]["Value"] == ["FT1"]


def test_metadata_of_a_removed_image_is_not_kept(stored: Callable[..., StoredObject], node: Node) -> None:
    row = stored()
    assert row.header is not None
    assert list(node.storage.catalog.documents([row.uuid], row.header.described_as)) == [row.uuid]
    assert node.storage.catalog.documents([row.uuid], "another way") == {}
    node.storage.remove(str(row.uuid), 1, Removal("removed"))
    assert node.storage.catalog.documents([row.uuid], row.header.described_as) == {}


def test_an_equal_value_of_another_image_is_converted_as_that_image_says(
    stored: Callable[..., StoredObject], cold: Callable[..., list[dict[str, Any]]]
) -> None:
    latin = stored(SpecificCharacterSet="ISO_IR 100", StudyDescription="\xd0")
    cyrillic = stored(SpecificCharacterSet="ISO_IR 144", StudyDescription="\u0430")
    found = cold(latin, cyrillic, latin)
    assert [one["00081030"]["Value"] for one in found] == [["\xd0"], ["\u0430"], ["\xd0"]]


def test_metadata_of_a_thousand_images_takes_less_than_a_second(
    node: Node, stored: Callable[..., StoredObject], cold: Callable[..., list[dict[str, Any]]]
) -> None:
    template = stored(ImageComments="z" * 1000)
    assert template.header is not None
    uuids = [uuid4() for _ in range(1000)]
    rows = [
        StoredObject(one, f"{one.int:064x}", 1, 1, "cas", "k", 0, 1, "pacs1", header=template.header) for one in uuids
    ]
    for at in range(0, 1000, 50):
        node.storage.catalog.add_all(rows[at : at + 50])
    began = time.process_time()
    assert len(cold(*rows)) == 1000
    assert time.process_time() - began < 1
