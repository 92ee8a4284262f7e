"""Associations that ask for storage commitment: images go to the storing service, requests are kept here."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined] # made at import time
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    Verification,
)

from hapacs_node.catalog.outbound_commitment import Report
from hapacs_node.commitment.action import Refusal, Wanted
from hapacs_node.commitment.pdu import Requested
from hapacs_node.commitment.relay import Relay
from hapacs_node.commitment.settings import Address
from hapacs_node.errors import CatalogUnavailableError
from hapacs_node.metrics import Metrics
from tests.support import hostile
from tests.support.commitment import action, ask, associate
from tests.support.committing import Request, report
from tests.support.images import ct

CT = str(CTImageStorage)


@dataclass
class Site:
    """A relay in front of a storing service, which would end an association that has an N-ACTION."""

    port: int
    stored: list[bytes]
    kept: list[tuple[Requested, Wanted]] = field(default_factory=list)
    failure: Exception | None = None
    requests: list[str] = field(default_factory=list)
    reports: list[tuple[str, Report]] = field(default_factory=list)

    def keep(self, requested: Requested, wanted: Wanted) -> None:
        if self.failure is not None:
            raise self.failure
        self.kept.append((requested, wanted))

    def take(self, peer: str, report: Report) -> int:
        self.reports.append((peer, report))
        return 0


@pytest.fixture
def site() -> Iterator[Site]:
    entity = AE(ae_title="HAPACS")
    for sop_class in (CTImageStorage, StorageCommitmentPushModel, Verification):
        entity.add_supported_context(sop_class)
    made = Site(0, [])

    def store(event: evt.Event) -> int:
        made.stored.append(event.encoded_dataset(include_meta=False))
        return 0

    def refuse(event: evt.Event) -> tuple[int, None]:
        made.requests.append("N-ACTION")
        event.assoc.abort()
        return 0x0110, None

    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store), (evt.EVT_N_ACTION, refuse)]
    )
    assert server is not None
    stop = threading.Event()
    store_address = Address(host="127.0.0.1", port=server.server_address[1])
    relay = Relay(Address.model_construct(host="127.0.0.1", port=0), store_address, made.keep, made.take, Metrics())
    thread = threading.Thread(target=relay.run, args=(stop, 0.1))
    thread.start()
    assert relay.wait(10)
    made.port = relay.port
    yield made
    stop.set()
    thread.join(30)
    server.shutdown()
    assert not thread.is_alive()


def test_images_reach_the_storing_service_and_the_request_for_them_is_kept_here(site: Site) -> None:
    association = associate(site.port, CTImageStorage)
    image = dcmread(BytesIO(ct()))
    assert association.send_c_store(image).Status == 0
    transaction, status, _ = ask(association, (CT, image.SOPInstanceUID))
    # The association goes on.
    assert association.send_c_store(dcmread(BytesIO(ct()))).Status == 0
    association.release()
    assert status == 0
    assert association.is_released
    ((requested, wanted),) = site.kept
    assert (requested.calling, requested.called) == ("CT1", "HAPACS")
    assert wanted.transaction == transaction
    assert [(one.sop_class, one.sop) for one in wanted.images] == [(CT, image.SOPInstanceUID)]
    assert len(site.stored) == 2
    assert site.requests == []


def test_request_of_many_fragments_is_kept_whole(site: Site) -> None:
    association = associate(site.port)
    images = [(CT, f"1.2.3.{number}") for number in range(20_000)]
    _, status, _ = ask(association, *images)
    association.release()
    assert status == 0
    assert [(one.sop_class, one.sop) for one in site.kept[0][1].images] == images


def test_request_that_can_not_be_kept_is_not_acknowledged(site: Site) -> None:
    association = associate(site.port)
    site.failure = CatalogUnavailableError("no leader")
    assert ask(association, (CT, "1.2.3"))[1] == 0x0110
    site.failure = Refusal(0x0110, "no address")
    assert ask(association, (CT, "1.2.3"))[1:] == (0x0110, "no address")
    site.failure = None
    assert ask(association, (CT, "1.2.3"))[1] == 0
    association.release()
    assert len(site.kept) == 1


@pytest.mark.parametrize(
    ("kind", "instance", "images", "status"),
    [
        (2, StorageCommitmentPushModelInstance, [(CT, "1.2.3")], 0x0123),
        (1, "1.2.3.4", [(CT, "1.2.3")], 0x0112),
        (1, StorageCommitmentPushModelInstance, [], 0x0115),
    ],
)
def test_other_requests_are_refused_with_the_status_for_it(
    site: Site, kind: int, instance: str, images: list[tuple[str, str]], status: int
) -> None:
    association = associate(site.port)
    answer, _ = association.send_n_action(action("1.2.9", *images), kind, StorageCommitmentPushModel, instance)
    association.release()
    assert answer.Status == status
    assert site.kept == []


def test_association_without_storage_commitment_is_passed_on(site: Site) -> None:
    entity = AE(ae_title="CT1")
    entity.add_requested_context(Verification)
    entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", site.port, ae_title="HAPACS")
    assert association.send_c_echo().Status == 0
    assert association.send_c_store(dcmread(BytesIO(ct()))).Status == 0
    association.release()
    assert association.is_released


@pytest.mark.parametrize("roles", [True, False])
def test_report_of_a_destination_is_answered_here_with_and_without_role_selection(site: Site, roles: bool) -> None:
    given = Request("1.2.9", ((CT, "1.2.3"), (CT, "1.2.4")))
    assert report(site.port, given, {"1.2.4": 0x0112}, roles=roles) == 0
    assert site.reports == [("PEER", Report("1.2.9", frozenset({"1.2.3"}), {"1.2.4": 0x0112}))]


def test_report_without_a_transaction_is_answered_with_the_status_for_it(site: Site) -> None:
    assert report(site.port, Request("", ((CT, "1.2.3"),))) == 0x0115
    assert report(site.port, Request("1.2.9", ((CT, "1.2.3"),))) == 0
    assert len(site.reports) == 1


def test_a_request_with_all_contexts_and_40_transfer_syntaxes_each_is_passed_on(site: Site) -> None:
    request = hostile.widest_rq("CT1", "HAPACS", str(StorageCommitmentPushModel))
    with socket.create_connection(("127.0.0.1", site.port), timeout=30) as connection:
        connection.sendall(request)
        accepted = hostile.accepted(connection)
    assert len(accepted) == hostile.CONTEXTS
    assert accepted[-1] == 0


def raw(port: int, content: bytes) -> bytes:
    """Send bytes, and return all that comes back until the connection ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(content)
        received = b""
        while piece := connection.recv(4096):
            received += piece
        return received


@pytest.mark.parametrize(
    "content",
    [
        struct.pack(">BBI", 1, 0, 1 << 31),
        struct.pack(">BBI", 4, 0, 4) + b"\0\0\0\0",
        struct.pack(">BBI", 1, 0, 80) + b"\xff" * 80,
    ],
    ids=["longer than any PDU", "data before the association", "no A-ASSOCIATE-RQ"],
)
def test_bytes_that_are_no_association_are_answered_with_an_abort(site: Site, content: bytes) -> None:
    assert raw(site.port, content)[:1] == b"\x07"


def test_store_that_does_not_listen_ends_the_association(free: Callable[[], int]) -> None:
    stop = threading.Event()
    relay = Relay(
        Address.model_construct(host="127.0.0.1", port=0),
        Address(host="127.0.0.1", port=free()),
        lambda *_: None,
        lambda *_: 0,
        Metrics(),
    )
    thread = threading.Thread(target=relay.run, args=(stop, 0.1))
    thread.start()
    assert relay.wait(10)
    assert not associate(relay.port).is_established
    stop.set()
    thread.join(30)
    assert not thread.is_alive()


@pytest.fixture
def free() -> Callable[[], int]:
    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    return find
