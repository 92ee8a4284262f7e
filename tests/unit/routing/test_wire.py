"""Associations that store: with dcmtk's storescp, and with peers that answer badly."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless, generate_uid
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, AsynchronousOperationsWindowNegotiation

from hapacs.load.made import encoded, made_ct, part_10
from hapacs_node.routing.destination import DicomDestination
from hapacs_node.routing.image import Message, Pair, parse
from hapacs_node.routing.peer import PeerError, UnansweredError
from hapacs_node.routing.wire import Association
from tests.support.storescp import PROGRAM, StoreScp

CT: Pair = (str(CTImageStorage), str(ExplicitVRLittleEndian))
Talk = Callable[[socket.socket], None]
storescp = pytest.mark.skipif(PROGRAM is None, reason="dcmtk is not installed")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def image(rows: int = 64) -> Message:
    dataset = made_ct(generate_uid(), generate_uid(), 1, rows)
    return parse(part_10((CTImageStorage, dataset.SOPInstanceUID, ExplicitVRLittleEndian), encoded(dataset)))


def to(port: int, timeout_s: int = 20) -> DicomDestination:
    return DicomDestination(ae_title="PEER", host="127.0.0.1", port=port, timeout_s=timeout_s)


def opened(port: int, proposed: Sequence[Pair] = (CT,), timeout_s: int = 20) -> Association:
    return Association.open(to(port, timeout_s), "HAPACS", proposed, None)


@pytest.fixture
def scp(tmp_path: Path) -> Iterator[StoreScp]:
    server = StoreScp(free_port(), tmp_path / "received")
    yield server
    server.stop()


@storescp
@pytest.mark.parametrize("maximum_pdu", [4096, 16385, 131072])
def test_images_arrive_byte_for_byte_in_pieces_of_any_length(scp: StoreScp, maximum_pdu: int) -> None:
    scp.options = ("-pdu", str(maximum_pdu))
    scp.start()
    images = [image(rows) for rows in (8, 64, 512)]
    association = opened(scp.port)
    for number, one in enumerate(images, 1):
        assert association.store(one, association.accepted[CT], number, 0) == (0, "")
    association.release()
    received = scp.received()
    for one in images:
        assert received[str(one.sop)].read_bytes().endswith(bytes(one.dataset))


@storescp
def test_only_what_the_peer_accepts_is_accepted(scp: StoreScp) -> None:
    scp.syntaxes = "+x="
    scp.start()
    lossless: Pair = (CT[0], str(JPEG2000Lossless))
    implicit: Pair = (CT[0], str(ImplicitVRLittleEndian))
    association = opened(scp.port, [lossless, CT, implicit])
    association.release()
    assert association.accepted == {CT: 3, implicit: 5}


@contextmanager
def peer(talk: Talk) -> Iterator[int]:
    """A peer that reads a request for an association, and then behaves in its own way."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(20)
                talk(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(30)


def read_pdu(connection: socket.socket) -> bytes:
    def exactly(length: int) -> bytes:
        content = b""
        while len(content) < length:
            content += connection.recv(length - len(content))
        return content

    head = exactly(6)
    return head + exactly(struct.unpack(">BxI", head)[1])


def accept(connection: socket.socket, operations: int | None = None) -> None:
    """Accept all that is asked for, or so many operations at the same time."""
    request = A_ASSOCIATE_RQ()
    request.decode(read_pdu(connection))
    primitive: A_ASSOCIATE = request.to_primitive()
    primitive.result = 0
    for context in primitive.presentation_context_definition_list:
        context.result = 0
    primitive.presentation_context_definition_results_list = primitive.presentation_context_definition_list
    for item in primitive.user_information:
        if operations is not None and isinstance(item, AsynchronousOperationsWindowNegotiation):
            item.maximum_number_operations_invoked = operations
    answer = A_ASSOCIATE_AC()
    answer.from_primitive(primitive)
    connection.sendall(answer.encode())


def read_image(connection: socket.socket) -> None:
    # The last value of the data set has the header 2: the last fragment, and no command.
    while read_pdu(connection)[11] != 2:
        pass


def test_a_refusal_says_why() -> None:
    def refuse(connection: socket.socket) -> None:
        read_pdu(connection)
        answer = A_ASSOCIATE_RJ()
        answer.result, answer.source, answer.reason_diagnostic = 1, 1, 7
        connection.sendall(answer.encode())

    with peer(refuse) as port, pytest.raises(PeerError, match=r"refuses an association: .*Called AE title not"):
        opened(port)


@pytest.mark.parametrize(
    "answer", [b"", b"\x02\x00\x00\x00", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x02\x00\x00\x00\x00\x04abcd"]
)
def test_what_is_no_answer_to_a_request_is_no_association(answer: bytes) -> None:
    def talk(connection: socket.socket) -> None:
        read_pdu(connection)
        connection.sendall(answer)

    with peer(talk) as port, pytest.raises(PeerError, match="gives no association"):
        opened(port)


def test_a_closed_port_is_no_association() -> None:
    with pytest.raises(PeerError, match="gives no association"):
        opened(free_port())


def _abort(connection: socket.socket) -> None:
    pdu = A_ABORT_RQ()
    pdu.source, pdu.reason_diagnostic = 2, 0
    connection.sendall(pdu.encode())


def _value(context: int, control: int, content: bytes) -> bytes:
    value = struct.pack(">IBB", len(content) + 2, context, control) + content
    return struct.pack(">BxI", 4, len(value)) + value


def _answer(number: int) -> bytes:
    elements = b"".join(
        struct.pack("<HHIH", 0, element, 2, value) for element, value in ((0x100, 0x8001), (0x120, number), (0x900, 0))
    )
    return struct.pack("<HHII", 0, 0, 4, len(elements)) + elements


BAD: dict[str, Talk] = {
    "an abort": _abort,
    "the end of the connection": lambda _: None,
    "a release": lambda connection: connection.sendall(b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00"),
    "an answer to another message": lambda connection: connection.sendall(_value(1, 3, _answer(7))),
    "a data set": lambda connection: connection.sendall(_value(1, 2, b"\0" * 20)),
    "a value that is longer than its PDU": lambda connection: connection.sendall(b"\x04\0\0\0\0\x06\0\0\0\xff\x01\x03"),
    "a value without a header": lambda connection: connection.sendall(b"\x04\0\0\0\0\x02\0\0"),
    "a PDU of gigabytes": lambda connection: connection.sendall(b"\x04\0\xff\xff\xff\xff"),
    "a command that can't be read": lambda connection: connection.sendall(_value(1, 3, b"\xff" * 7)),
}


@pytest.mark.parametrize("kind", BAD)
def test_an_image_is_unanswered_after(kind: str) -> None:
    def talk(connection: socket.socket) -> None:
        accept(connection)
        read_image(connection)
        BAD[kind](connection)

    with peer(talk) as port:
        association = opened(port)
        with pytest.raises(UnansweredError):
            association.store(image(), association.accepted[CT], 1, 0)


def test_half_an_answer_ends_at_the_limit_of_time() -> None:
    over = threading.Event()

    def talk(connection: socket.socket) -> None:
        accept(connection)
        read_image(connection)
        connection.sendall(_value(1, 3, _answer(1))[:20])
        over.wait(20)

    with peer(talk) as port:
        association = opened(port, timeout_s=1)
        with pytest.raises(UnansweredError, match="none within 1 s"):
            association.store(image(), association.accepted[CT], 1, 0)
        over.set()


def test_an_answer_in_many_pieces_counts() -> None:
    def talk(connection: socket.socket) -> None:
        accept(connection)
        read_image(connection)
        answer = _answer(1)
        connection.sendall(_value(1, 1, answer[:10]) + _value(1, 3, answer[10:]))
        read_pdu(connection)

    with peer(talk) as port:
        association = opened(port)
        assert association.store(image(), association.accepted[CT], 1, 0) == (0, "")
        association.release()
