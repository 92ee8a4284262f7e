"""Against pynetdicom as the peer: an implementation of the standard that is not ours."""

from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.dsutils import decode
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
)

from hapacs.dicom import Caller, DicomError, Peer
from hapacs.load import burst
from hapacs.load.images import made_study
from hapacs.load.wire import Association

CALLER = Caller("TESTER")
SUCCESS, PENDING, REFUSED = 0x0000, 0xFF00, 0xA700
Serve = Callable[..., Peer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a peer with handlers by event; it takes PDUs of 16 KiB, so that everything comes in pieces."""
    servers: list[Any] = []

    def start(handlers: dict[Any, Any], **entity_settings: Any) -> Peer:
        entity = AE("PEER")
        entity.maximum_pdu_size = 16384
        for name, value in entity_settings.items():
            setattr(entity, name, value)
        entity.add_supported_context(CTImageStorage, ExplicitVRLittleEndian, scu_role=True, scp_role=True)
        entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
        entity.add_supported_context(StudyRootQueryRetrieveInformationModelGet)
        servers.append(entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=list(handlers.items())))
        return Peer("127.0.0.1", servers[-1].socket.getsockname()[1], "PEER", 5)

    yield start
    for server in servers:
        server.shutdown()


def test_every_instance_comes_as_it_was_made(serve: Serve) -> None:
    came: dict[str, bytes] = {}

    def keep(event: evt.Event) -> int:
        came[str(event.dataset.SOPInstanceUID)] = event.encoded_dataset(include_meta=False)
        return SUCCESS

    studies = [made_study(3, 64) for _ in range(4)]
    outcome = burst.send(CALLER, serve({evt.EVT_C_STORE: keep}), studies)
    assert outcome.failures == []
    assert len(outcome.responses) == 12
    assert outcome.seconds >= max(outcome.responses)
    assert came == {image.sop_instance: image.dataset for study in studies for image in study.images}
    assert len(set(came.values())) == 12


def test_only_refused_images_are_failures(serve: Serve) -> None:
    count = iter(range(100))
    outcome = burst.send(
        CALLER, serve({evt.EVT_C_STORE: lambda _: REFUSED if next(count) == 1 else SUCCESS}), [made_study(3, 16)]
    )
    assert outcome.failures == ["status 0xA700"]
    assert len(outcome.responses) == 2


def test_lost_association_fails_its_unanswered_images(serve: Serve) -> None:
    count = iter(range(100))

    def abort(event: evt.Event) -> int:
        if next(count) == 1:
            event.assoc.abort()
        return SUCCESS

    outcome = burst.send(CALLER, serve({evt.EVT_C_STORE: abort}), [made_study(3, 16)])
    assert len(outcome.responses) == 1
    assert len(outcome.failures) == 2
    assert "ended the" in outcome.failures[0]


def test_one_refused_association_stops_the_burst_before_its_first_image(serve: Serve) -> None:
    stored: list[evt.Event] = []

    def note(event: evt.Event) -> int:
        stored.append(event)
        return SUCCESS

    peer = serve({evt.EVT_C_STORE: note}, maximum_associations=1)
    outcome = burst.send(CALLER, peer, [made_study(2, 16), made_study(2, 16)])
    assert outcome.responses == []
    assert len(outcome.failures) == 4
    assert stored == []


def test_absent_peer_is_a_failure() -> None:
    outcome = burst.send(CALLER, Peer("127.0.0.1", 1, "NOBODY", 1), [made_study(2, 16)])
    assert (outcome.responses, len(outcome.failures)) == ([], 2)


def test_service_that_is_not_granted_is_reported(serve: Serve) -> None:
    peer = serve({}, require_called_aet=True)
    with pytest.raises(DicomError, match="refuses an association"):
        Association(CALLER, Peer(peer.host, peer.port, "OTHER", 5), "store").__enter__()
    entity = AE("PEER")
    entity.add_supported_context(CTImageStorage)
    server = entity.start_server(("127.0.0.1", 0), block=False)
    assert server is not None
    try:
        with pytest.raises(DicomError, match="doesn't grant"):
            Association(CALLER, Peer("127.0.0.1", server.server_address[1], "PEER", 5), "find").__enter__()
    finally:
        server.shutdown()


def test_a_find_counts_its_answers(serve: Serve) -> None:
    def find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        for number in range(int(event.identifier.PatientID)):
            answer = Dataset()
            answer.PatientID = str(number)
            yield PENDING, answer

    peer = serve({evt.EVT_C_FIND: find})
    with Association(CALLER, peer, "find") as association:
        for wanted in (3, 0, 1):
            identifier = Dataset()
            identifier.QueryRetrieveLevel, identifier.PatientID = "STUDY", str(wanted)
            assert association.exchange(association.find_request(identifier)) == (SUCCESS, wanted)


def test_a_get_gives_every_instance_as_it_is_kept(serve: Serve) -> None:
    study = made_study(4, 64)

    def get(_: evt.Event) -> Iterator[Any]:
        yield len(study.images)
        for image in study.images:
            dataset = decode(BytesIO(image.dataset), is_implicit_vr=False, is_little_endian=True)
            dataset.file_meta = FileMetaDataset()
            dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            yield PENDING, dataset

    peer = serve({evt.EVT_C_GET: get})
    came: dict[str, bytes] = {}
    identifier = Dataset()
    identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", study.uid
    with Association(CALLER, peer, "get") as association:
        assert association.get(identifier, came.__setitem__) == SUCCESS
    assert came == {image.sop_instance: image.dataset for image in study.images}
