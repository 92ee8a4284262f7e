"""What the client makes of a peer that does not give it an association."""

import socket
import threading
import time
from collections.abc import Iterator
from typing import cast

import pytest
from pynetdicom import AE, build_context
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_primitives import C_ECHO
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined] # made at import time
from pynetdicom.transport import AssociationSocket, ThreadedAssociationServer

from hapacs.dicom.client import SUCCESS, AssociationRefusedError, Caller, DicomError, Peer, associate

# DICOM PS3.8 9.3.4: rejected permanently, by the service user, calling title not recognised.
REFUSAL = bytes.fromhex("03000000000400010103")
CALLER = Caller("CALLER")


@pytest.fixture
def answer() -> list[bytes]:
    """What the peer answers before it ends the connection."""
    return [REFUSAL]


@pytest.fixture
def peer(answer: list[bytes]) -> Iterator[Peer]:
    """A peer that takes one request and answers it at once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer[0])

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield Peer("127.0.0.1", listener.getsockname()[1], "PEER", timeout_s=10)
        thread.join(10)


def _call(peer: Peer) -> None:
    with associate(CALLER, peer, [build_context(Verification)]):
        pass


def test_refusal_names_its_reason(peer: Peer) -> None:
    with pytest.raises(AssociationRefusedError, match="alling AE title not recogni"):
        _call(peer)


def test_refusal_is_recognised_after_the_connection_ended(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    class Late(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            made = super().wait(timeout)
            time.sleep(0.5)
            return made

    initialise = AssociationSocket.__init__

    def late(self: AssociationSocket, *words: object, **named: object) -> None:
        initialise(self, *words, **named)  # type: ignore[arg-type]
        self._ready = Late()

    monkeypatch.setattr(AssociationSocket, "__init__", late)
    with pytest.raises(AssociationRefusedError):
        _call(peer)


@pytest.mark.parametrize("answer", [[b""]], ids=["nothing"])
def test_no_answer_is_no_refusal(peer: Peer) -> None:
    with pytest.raises(DicomError, match="no association") as caught:
        _call(peer)
    assert not isinstance(caught.value, AssociationRefusedError)


def test_answer_reaches_its_request_although_threads_are_preempted(monkeypatch: pytest.MonkeyPatch) -> None:
    class Preempted(threading.Event):
        """The loop's pause: the loop sees that it need not pause, and polls only later."""

        def wait(self, timeout: float | None = None) -> bool:
            made = super().wait(timeout)
            time.sleep(0.2)
            return made

    initialise, send = Association.__init__, DIMSEServiceProvider.send_msg

    def slow(self: Association, *words: object, **named: object) -> None:
        initialise(self, *words, **named)  # type: ignore[arg-type]
        if self.is_requestor:
            self._reactor_checkpoint = Preempted()
            self._reactor_checkpoint.set()

    def late(self: DIMSEServiceProvider, primitive: C_ECHO, context_id: int) -> None:
        send(self, primitive, context_id)
        if self.assoc.is_requestor:
            time.sleep(0.6)

    monkeypatch.setattr(Association, "__init__", slow)
    monkeypatch.setattr(DIMSEServiceProvider, "send_msg", late)
    entity = AE("PEER")
    entity.add_supported_context(Verification)
    server = cast(ThreadedAssociationServer, entity.start_server(("127.0.0.1", 0), block=False))
    try:
        peer = Peer("127.0.0.1", server.server_address[1], "PEER", timeout_s=5)
        with associate(CALLER, peer, [build_context(Verification)]) as association:
            # The loop has to be past its check of the pause.
            time.sleep(0.05)
            assert association.send_c_echo().get("Status") == SUCCESS
    finally:
        server.shutdown()


@pytest.mark.parametrize("answer", [[REFUSAL[:3]]], ids=["half an answer"])
def test_peer_that_stops_in_the_middle_of_a_message_holds_nobody(answer: list[bytes]) -> None:
    kept: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            kept.append(connection)
            connection.recv(4096)
            connection.sendall(answer[0])

        threading.Thread(target=serve, daemon=True).start()
        outcomes: list[BaseException] = []

        def call() -> None:
            try:
                _call(Peer("127.0.0.1", listener.getsockname()[1], "PEER", timeout_s=1))
            except DicomError as error:
                outcomes.append(error)

        caller = threading.Thread(target=call, daemon=True)
        caller.start()
        caller.join(20)
        try:
            assert [type(outcome) for outcome in outcomes] == [DicomError]
        finally:
            kept[0].close()


def test_release_ends_although_the_loop_ended_before_it_paused() -> None:
    entity = AE("PEER")
    entity.add_supported_context(Verification)
    server = cast(ThreadedAssociationServer, entity.start_server(("127.0.0.1", 0), block=False))
    held, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def call() -> None:
        peer = Peer("127.0.0.1", server.server_address[1], "PEER", timeout_s=1)
        with associate(CALLER, peer, [build_context(Verification)]) as association:
            asked = association.acse.is_release_requested

            def hold() -> bool:
                held.set()
                go_on.wait(10)
                # What pynetdicom's thread of the connection does when it fails: the loop ends without a word.
                association._kill = True
                return asked()

            association.acse.is_release_requested = hold  # type: ignore[method-assign]
            held.wait(10)
            threading.Timer(0.2, go_on.set).start()
        ended.set()

    try:
        threading.Thread(target=call, daemon=True).start()
        assert ended.wait(20)
        assert held.is_set()
    finally:
        server.shutdown()
