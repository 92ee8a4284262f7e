"""The events of objects, in the order of Orthanc's calls."""

import logging
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from uuid import uuid4

import pytest
from obstore.exceptions import GenericError
from pydicom.uid import ExplicitVRLittleEndian

from hapacs_node.admission import Admission, Level, Limit, State
from hapacs_node.catalog.index import Present
from hapacs_node.catalog.removals import Removal
from hapacs_node.errors import CatalogUnavailableError, NodeError, NotAdmittedError, ReplacementRefusedError
from hapacs_node.fence import Fence
from hapacs_node.log import Event
from hapacs_node.metrics import Metrics
from hapacs_node.record.addresses import Addresses
from hapacs_node.record.objects import Objects
from hapacs_node.record.replacement import Replacement, Rule
from hapacs_node.replication.names import CALLER
from hapacs_node.settings import Admission as Limits
from hapacs_node.storage import names
from hapacs_node.storage.area import StorageArea
from tests.unit.node.fakes import FakeBucket, FakeCatalog, FakeClient
from tests.unit.node.test_das import file_of
from tests.unit.node.test_identity import image

CONTENT = image(ExplicitVRLittleEndian, undefined=False)
OTHER = CONTENT + b"other"
ABOUT = {"sop": "1.2.3", "series": "1.2", "study": "1"}
THREAD = 7


def admission(*yielding: str) -> Admission:
    """Return one that has seen a full DAS."""
    full = {Limit.DAS: (1.0, lambda: State(Level.LIMITED, "full"))}
    made = Admission(Limits(yielding=frozenset(yielding)), full, Metrics())
    made.refresh(Limit.DAS)
    return made


@dataclass
class FakeAddresses(Addresses):
    """Answers when the test releases it."""

    balancer: None = None
    workers: None = None  # type: ignore[assignment]
    asked: list[tuple[str, Future[str]]] = field(default_factory=list)

    def of(self, title: str) -> Future[str]:
        answer: Future[str] = Future()
        self.asked.append((title, answer))
        return answer

    def answer(self, address: str = "192.0.2.64") -> None:
        for _, answer in self.asked:
            answer.set_result(address)
        self.asked.clear()


@pytest.fixture
def addresses() -> FakeAddresses:
    return FakeAddresses()


@pytest.fixture
def objects(area: StorageArea, addresses: FakeAddresses) -> Objects:
    return Objects(area, addresses, Replacement("allow", area.catalog), admission(), Fence())


@pytest.fixture
def events(caplog: pytest.LogCaptureFixture) -> "Events":
    caplog.set_level(logging.INFO, "hapacs.objects")
    return Events(caplog)


@dataclass
class Events:
    caplog: pytest.LogCaptureFixture

    def taken(self) -> list[dict[str, str]]:
        """Return the events of objects since the last call."""
        found = [record for record in self.caplog.records if record.name == "hapacs.objects"]
        self.caplog.clear()
        return [{"event": record.msg.name, **record.msg.fields} for record in found if isinstance(record.msg, Event)]


def without(event: dict[str, str], *fields: str) -> dict[str, str]:
    return {name: value for name, value in event.items() if name not in {"seconds", *fields}}


def test_a_stored_image_is_recorded_with_its_caller(objects: Objects, addresses: FakeAddresses, events: Events) -> None:
    uuid = str(uuid4())
    objects.dicom_arrived(THREAD, "CT1")
    objects.create(THREAD, uuid, 1, CONTENT)
    objects.create(THREAD, str(uuid4()), 3, b"until pixel data")
    objects.stored(THREAD, "192.0.2.7")
    assert events.taken() == [], "the address is not known yet"
    assert [title for title, _ in addresses.asked] == ["CT1"]
    addresses.answer()
    (event,) = events.taken()
    assert float(event["seconds"]) >= 0
    assert without(event) == {
        "event": "stored", **ABOUT, "uuid": uuid, "digest": names.digest_of(CONTENT), "size": str(len(CONTENT)),
        "via": "192.0.2.7", "outcome": "stored", "caller": "CT1", "address": "192.0.2.64",
    }  # fmt: skip


def test_an_image_that_the_archive_refuses_is_recorded_as_refused(
    objects: Objects, addresses: FakeAddresses, events: Events, clients: list[FakeClient]
) -> None:
    for client in clients:
        client.always = GenericError("down")
    objects.storage.cas.deadline_s = 0.1
    objects.dicom_arrived(THREAD, "CT1")
    addresses.answer()
    with pytest.raises(NodeError):
        objects.create(THREAD, str(uuid4()), 1, CONTENT)
    (event,) = events.taken()
    assert without(event, "uuid") == {
        "event": "refused", **ABOUT, "digest": names.digest_of(CONTENT), "size": str(len(CONTENT)),
        "outcome": "CasUnavailableError", "caller": "CT1", "address": "192.0.2.64",
    }  # fmt: skip


def test_an_image_that_the_index_refuses_is_recorded_as_refused(
    objects: Objects, addresses: FakeAddresses, events: Events
) -> None:
    uuid = str(uuid4())
    objects.dicom_arrived(THREAD, "CT1")
    objects.create(THREAD, uuid, 1, CONTENT)
    objects.remove(THREAD, uuid, 1)
    objects.stored(THREAD, "192.0.2.7")
    addresses.answer()
    (event,) = events.taken()
    assert (event["event"], event["outcome"], event["caller"], event["sop"]) == (
        "refused",
        "not indexed",
        "CT1",
        "1.2.3",
    )


def test_each_image_of_a_web_request_is_recorded_with_its_user(objects: Objects, events: Events) -> None:
    headers = {"x-hapacs-user": "anna", "x-forwarded-for": "192.0.2.9"}
    objects.http_arrived(THREAD, "/dicom-web/studies", headers, reads=False)
    for _ in range(2):
        objects.create(THREAD, str(uuid4()), 1, CONTENT)
        objects.stored(THREAD, "127.0.0.1")
    found = events.taken()
    assert [(event["event"], event["user"], event["address"]) for event in found] == [
        ("stored", "anna", "192.0.2.9")
    ] * 2
    assert not [event for event in found if "via" in event or "caller" in event]


def test_a_removed_image_is_recorded_with_its_uids(
    objects: Objects, events: Events, bucket: FakeBucket, area: StorageArea
) -> None:
    uuids = [str(uuid4()) for _ in range(3)]
    for uuid in uuids:
        area.create(uuid, 1, CONTENT)
    objects.http_arrived(THREAD, "/studies/abc", {"x-forwarded-for": "192.0.2.9"}, reads=False)
    objects.remove(THREAD, uuids[0], 1)
    file_of(area.das.settings.root, names.digest_of(CONTENT)).unlink()
    objects.remove(THREAD, uuids[1], 1)
    bucket.objects.clear()
    objects.remove(THREAD, uuids[2], 1)
    from_das, from_archive, unread = events.taken()
    for event in (from_das, from_archive):
        assert event | ABOUT == event
    assert "sop" not in unread
    for event, uuid in zip((from_das, from_archive, unread), uuids, strict=True):
        assert (event["event"], event["outcome"], event["uuid"]) == ("removed", "removed", uuid)
        assert (event["digest"], event["address"]) == (names.digest_of(CONTENT), "192.0.2.9")


def test_a_removal_is_noted_with_uids_and_caller(objects: Objects, area: StorageArea, catalog: FakeCatalog) -> None:
    uuid = uuid4()
    area.create(str(uuid), 1, CONTENT, "title:CT1")
    objects.http_arrived(THREAD, "/studies/abc", {"x-hapacs-user": "anna"}, reads=False)
    objects.remove(THREAD, str(uuid), 1)
    assert catalog.removals == {uuid: Removal("removed", "user:anna", "1", "1.2", "1.2.3")}


def test_an_image_that_is_sent_again_replaces_the_old_one(
    objects: Objects, addresses: FakeAddresses, events: Events, area: StorageArea
) -> None:
    former, latter = str(uuid4()), str(uuid4())
    area.create(former, 1, CONTENT)
    objects.dicom_arrived(THREAD, "CT1")
    addresses.answer()
    objects.create(THREAD, latter, 1, CONTENT)
    objects.remove(THREAD, former, 1)
    objects.stored(THREAD, None)
    assert [(event["event"], event["outcome"], event["uuid"]) for event in events.taken()] == [
        ("removed", "resent", former),
        ("stored", "stored", latter),
    ]


def test_a_replaced_image_is_recorded_with_both_digests_and_callers(
    objects: Objects, addresses: FakeAddresses, events: Events, area: StorageArea, catalog: FakeCatalog
) -> None:
    former = uuid4()
    area.create(str(former), 1, OTHER, "title:CT1")
    objects.dicom_arrived(THREAD, "CT2")
    addresses.answer()
    objects.create(THREAD, str(uuid4()), 1, CONTENT)
    objects.remove(THREAD, str(former), 1)
    (event,) = events.taken()
    assert without(event) == {
        "event": "replaced", **ABOUT, "uuid": str(former), "digest": names.digest_of(OTHER), "size": str(len(OTHER)),
        "new_digest": names.digest_of(CONTENT), "old_caller": "title:CT1", "new_caller": "title:CT2",
        "caller": "CT2", "address": "192.0.2.64",
    }  # fmt: skip
    assert catalog.removals[former].reason == "replaced"
    assert area.metrics.registry.get_sample_value("hapacs_images_replaced_total", {"caller": "other"}) == 1


@pytest.mark.parametrize(
    "case",
    [
        ("allow", "title:CT1", names.digest_of(OTHER), False),
        ("same_caller", "title:CT1", names.digest_of(OTHER), True),
        ("same_caller", "title:CT2", names.digest_of(OTHER), False),
        ("same_caller", "user:CT2", names.digest_of(OTHER), True),
        ("same_caller", None, names.digest_of(OTHER), True),
        ("never", "title:CT2", names.digest_of(OTHER), True),
        ("never", "title:CT2", None, True),
        ("never", "title:CT1", names.digest_of(CONTENT), False),
    ],
)
def test_the_rule_decides_whether_an_image_is_replaced(
    area: StorageArea,
    addresses: FakeAddresses,
    events: Events,
    catalog: FakeCatalog,
    case: tuple[Rule, str | None, str | None, bool],
) -> None:
    rule, caller, digest, refused = case
    objects = Objects(area, addresses, Replacement(rule, catalog), admission(), Fence())
    catalog.present_as["1", "1.2", "1.2.3"] = Present(digest, caller)
    objects.dicom_arrived(THREAD, "CT2")
    addresses.answer()
    if not refused:
        objects.admit(THREAD, CONTENT)
        return
    with pytest.raises(ReplacementRefusedError, match=r"title:CT2 may not replace it \(policy\.replace: "):
        objects.admit(THREAD, CONTENT)
    (event,) = events.taken()
    assert (event["event"], event["outcome"], event["sop"]) == ("refused", "ReplacementRefusedError", "1.2.3")
    assert (caller or "an unknown caller") in event["error"]


@pytest.mark.parametrize(
    "case",
    [
        ("hapacs-replica", Present(names.digest_of(CONTENT), "title:CT1"), True),
        ("hapacs-replica", Present(names.digest_of(OTHER), CALLER), False),
        ("hapacs-replica", Present(names.digest_of(OTHER), "title:CT1"), "title:CT1, and stays"),
        ("hapacs-replica", Present(names.digest_of(OTHER), None), "an unknown caller, and stays"),
        ("anna", Present(names.digest_of(CONTENT), "title:CT1"), False),
    ],
)
def test_a_copy_that_is_here_is_not_stored_again_and_replaces_no_image_of_this_site(
    area: StorageArea,
    addresses: FakeAddresses,
    events: Events,
    catalog: FakeCatalog,
    case: tuple[str, Present, bool | str],
) -> None:
    user, present, outcome = case
    objects = Objects(area, addresses, Replacement("allow", catalog), admission(), Fence())
    catalog.present_as["1", "1.2", "1.2.3"] = present
    objects.stow_arrived("/dicom-web/studies", {"x-hapacs-user": user})
    thread = threading.get_ident()
    if isinstance(outcome, bool):
        assert objects.has_copy(thread, CONTENT) is outcome
        return
    with pytest.raises(ReplacementRefusedError, match=outcome):
        objects.has_copy(thread, CONTENT)
    (event,) = events.taken()
    assert (event["event"], event["user"], event["sop"]) == ("refused", user, "1.2.3")


def test_a_caller_that_yields_is_refused_before_its_image_is_stored(
    area: StorageArea, addresses: FakeAddresses, events: Events, catalog: FakeCatalog
) -> None:
    objects = Objects(area, addresses, Replacement("allow", catalog), admission("title:IMPORT", "user:import"), Fence())
    objects.dicom_arrived(THREAD, "IMPORT")
    addresses.answer()
    with pytest.raises(NotAdmittedError, match="title:IMPORT yields"):
        objects.admit(THREAD, CONTENT)
    (event,) = events.taken()
    assert (event["event"], event["outcome"], event["caller"]) == ("refused", "NotAdmittedError", "IMPORT")
    objects.stow_arrived("/dicom-web/studies", {"x-hapacs-user": "import"})
    with pytest.raises(NotAdmittedError):
        objects.admit(threading.get_ident(), CONTENT)
    assert not catalog.rows
    objects.dicom_arrived(THREAD, "MODALITY")
    objects.admit(THREAD, CONTENT)
    objects.create(THREAD, str(uuid4()), 1, CONTENT)
    assert [row.caller for row in catalog.rows.values()] == ["title:MODALITY"]


def test_an_image_by_stow_is_refused_before_it_is_stored(
    area: StorageArea, addresses: FakeAddresses, catalog: FakeCatalog
) -> None:
    objects = Objects(area, addresses, Replacement("same_caller", catalog), admission(), Fence())
    catalog.present_as["1", "1.2", "1.2.3"] = Present(names.digest_of(OTHER), "user:anna")
    objects.http_arrived(THREAD, "/dicom-web/studies", {"x-hapacs-user": "bob"}, reads=False)
    with pytest.raises(ReplacementRefusedError):
        objects.create(THREAD, str(uuid4()), 1, CONTENT)
    assert not catalog.rows
    objects.http_arrived(THREAD, "/dicom-web/studies", {"x-hapacs-user": "anna"}, reads=False)
    objects.create(THREAD, str(uuid4()), 1, CONTENT)
    assert [row.caller for row in catalog.rows.values()] == ["user:anna"]


def test_an_image_is_refused_while_the_catalog_can_not_be_asked_or_its_uids_can_not_be_read(
    area: StorageArea, addresses: FakeAddresses, catalog: FakeCatalog
) -> None:
    objects = Objects(area, addresses, Replacement("never", catalog), admission(), Fence())
    objects.dicom_arrived(THREAD, "CT2")
    with pytest.raises(ReplacementRefusedError, match="UIDs can't be read"):
        objects.admit(THREAD, b"no DICOM file")
    catalog.fault = CatalogUnavailableError("no leader")
    objects.dicom_arrived(THREAD, "CT2")
    with pytest.raises(CatalogUnavailableError):
        objects.admit(THREAD, CONTENT)


def test_an_image_that_is_read_for_an_association_is_recorded(
    objects: Objects, events: Events, area: StorageArea, catalog: FakeCatalog
) -> None:
    uuid = str(uuid4())
    area.create(uuid, 1, CONTENT)
    assert objects.read(THREAD, uuid, 1) == CONTENT
    (event,) = events.taken()
    assert without(event) == {
        "event": "retrieved", **ABOUT, "uuid": uuid, "digest": names.digest_of(CONTENT), "size": str(len(CONTENT)),
        "outcome": "read",
    }  # fmt: skip
    catalog.rows.clear()
    with pytest.raises(NodeError):
        objects.read(THREAD, str(uuid4()), 1)
    (event,) = events.taken()
    assert (event["event"], event["outcome"]) == ("retrieved", "CatalogError")


def test_a_web_request_for_an_image_is_recorded_once(objects: Objects, events: Events, area: StorageArea) -> None:
    uuid = str(uuid4())
    area.create(uuid, 1, CONTENT)
    path = "/dicom-web/studies/1/series/1.2/instances/1.2.3/frames/1"
    objects.http_arrived(THREAD, path, {"x-hapacs-user": "anna", "x-forwarded-for": "192.0.2.9"}, reads=True)
    objects.read(THREAD, uuid, 1)
    assert events.taken() == [{"event": "requested", "what": "frames", **ABOUT, "user": "anna", "address": "192.0.2.9"}]


def test_health_checks_are_not_recorded(objects: Objects, events: Events) -> None:
    objects.http_arrived(THREAD, "/hapacs/health", {}, reads=True)
    assert events.taken() == []
