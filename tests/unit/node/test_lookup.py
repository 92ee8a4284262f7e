import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from obstore.exceptions import GenericError

from hapacs_node import history
from hapacs_node.catalog.index import Attachment, Origin
from hapacs_node.errors import RefusedError
from hapacs_node.lookup import Lookup
from hapacs_node.storage import names
from hapacs_node.storage.area import StorageArea
from tests.unit.node.fakes import FakeBucket, FakeCatalog, FakeClient
from tests.unit.node.test_das import damage, file_of

CONTENT = b"a DICOM file"
DIGEST = names.digest_of(CONTENT)
KEY = names.cas_key(DIGEST)
UID = "1.2.3"


@pytest.fixture
def lookup(area: StorageArea, catalog: FakeCatalog) -> Lookup:
    uuid = uuid4()
    area.create(str(uuid), 1, CONTENT)
    catalog.index[UID] = [
        Attachment(uuid, 1, len(CONTENT), 1, ""),
        Attachment(uuid4(), 3, 5, 1, ""),
    ]
    catalog.origins_of[UID] = Origin(
        study="1.1",
        series="1.2",
        sop=UID,
        sop_class="1.2.840.10008.5.1.4.1.1.2",
        transfer_syntax="1.2.840.10008.1.2.1",
        received_at=datetime(2026, 11, 28, 9, 30, tzinfo=UTC),
        protocol="DicomProtocol",
        calling_title="CT1",
        called_title="HAPACS",
        via="192.0.2.7",
    )
    return Lookup("pacs1", area.das, area.cas, catalog)


def by_digest(lookup: Lookup) -> Any:
    return json.loads(json.dumps(lookup.by_digest(DIGEST)))


def test_a_whole_object_is_reported_with_its_lock(lookup: Lookup) -> None:
    report = by_digest(lookup)
    assert report["ok"]
    assert [row["acknowledged"] for row in report["catalog"]] == [True]
    assert report["das"]["whole"]
    assert report["cas"]["present"]
    assert report["cas"]["whole"]
    assert report["cas"]["size"] == len(CONTENT)
    assert report["cas"]["retention_mode"] == "GOVERNANCE"
    assert report["cas"]["retained_until"] == "2036-01-01T00:00:00Z"


def test_a_missing_das_copy_is_reported_and_ok(lookup: Lookup, root: Path) -> None:
    file_of(root, DIGEST).unlink()
    report = by_digest(lookup)
    assert report["ok"]
    assert report["das"]["state"] == "missing"
    assert not report["das"]["present"]
    assert not file_of(root, DIGEST).exists(), "looking must not heal"


def test_a_damaged_das_copy_is_reported(lookup: Lookup, root: Path) -> None:
    damage(file_of(root, DIGEST), b"rotten")
    report = by_digest(lookup)
    assert not report["ok"]
    assert report["das"]["present"]
    assert not report["das"]["whole"]


def all_down(clients: list[FakeClient]) -> None:
    for client in clients:
        client.always = GenericError("down")


@pytest.mark.parametrize(
    ("spoil", "state"),
    [
        (lambda bucket, _: bucket.objects.clear(), "missing"),
        (lambda bucket, _: bucket.objects.update({KEY: (b"rotten bytes", DIGEST)}), "damaged"),
        (lambda _, clients: all_down(clients), "unknown"),
    ],
    ids=["missing", "damaged", "unknown"],
)
def test_a_bad_archive_copy_is_reported(
    lookup: Lookup, bucket: FakeBucket, clients: list[FakeClient], *, spoil: Any, state: str
) -> None:
    spoil(bucket, clients)
    lookup.cas.deadline_s = 0.1
    report = by_digest(lookup)
    assert not report["ok"]
    assert report["cas"]["state"] == state


def test_an_unknown_digest_has_no_rows(lookup: Lookup) -> None:
    report = lookup.by_digest("0" * 64)
    assert report["catalog"] == []
    assert not report["ok"]
    with pytest.raises(RefusedError):
        lookup.by_digest("0" * 63)


def test_an_instance_is_reported_by_its_archived_attachments(lookup: Lookup, catalog: FakeCatalog) -> None:
    reports = lookup.by_instance(UID)
    assert [report["digest"] for report in reports] == [DIGEST]
    assert reports[0]["instance"] == UID
    assert reports[0]["ok"]
    assert (reports[0]["study"], reports[0]["series"], reports[0]["sop"]) == ("1.1", "1.2", UID)
    assert reports[0]["received"] == {
        "at": "2026-11-28T09:30:00+00:00",
        "protocol": "DicomProtocol",
        "calling_title": "CT1",
        "called_title": "HAPACS",
        "via": "192.0.2.7",
    }
    catalog.rows.clear()
    assert [report["ok"] for report in lookup.by_instance(UID)] == [False]
    assert lookup.by_instance("1.2.4") == []


def test_an_instance_comes_with_its_events(lookup: Lookup) -> None:
    asked = []

    def find(field: str, value: str) -> list[dict[str, str]]:
        asked.append((field, value))
        return [{"at": "2026-11-28T09:30:00.000+00:00", "event": "stored", "digest": DIGEST, "caller": "CT1"}]

    found = history.of_instance(lookup, find, UID)
    assert asked == [("sop", UID)]
    assert (found["ok"], found["node"], len(found["objects"])) == (True, "pacs1", 1)
    assert [event["caller"] for event in found["events"]] == ["CT1"]


def test_a_removed_instance_is_found_through_the_journal(lookup: Lookup, catalog: FakeCatalog) -> None:
    (uuid,) = (attachment.uuid for attachment in catalog.index.pop(UID) if attachment.type == 1)
    catalog.rows[uuid] = replace(catalog.rows[uuid], tombstoned_at=datetime(2026, 11, 28, 10, tzinfo=UTC))
    events = [{"event": "stored", "digest": DIGEST}, {"event": "removed", "digest": DIGEST}, {"event": "refused"}]
    found = history.of_instance(lookup, lambda *_: events, UID)
    (removed,) = found["objects"]
    assert (removed["sop"], removed["digest"]) == (UID, DIGEST)
    assert removed["catalog"][0]["tombstoned_at"] == "2026-11-28T10:00:00+00:00"


def test_an_unknown_instance_is_not_ok(lookup: Lookup) -> None:
    assert history.of_instance(lookup, lambda *_: [], "1.2.4") == {
        "ok": False, "node": "pacs1", "objects": [], "events": [],
    }  # fmt: skip
