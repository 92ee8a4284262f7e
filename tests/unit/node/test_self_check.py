"""An Orthanc is asked for a row of its index and for an association, as its callers would."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Generator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from hapacs.pki import Authority
from hapacs_node import self_check
from hapacs_node.dimse.wire import EndedError
from hapacs_node.endpoint import Endpoint
from hapacs_node.errors import OrthancUnavailableError
from hapacs_node.https import Listener
from hapacs_node.loopback import Orthanc
from hapacs_node.self_check import Association, Index
from tests.unit.node.certificates import certificate

type Peer = Callable[[ssl.SSLContext], int]


@pytest.fixture
def answering() -> Generator[Callable[[int], Orthanc]]:
    servers: list[HTTPServer] = []

    def start(status: int) -> Orthanc:
        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status if self.path == "/studies?since=0&limit=1" else 404)
                self.end_headers()

            def log_message(self, *_words: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Answer)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return Orthanc(server.server_port, 5)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_row_of_the_index_is_read(answering: Callable[[int], Orthanc]) -> None:
    assert Index(answering(200)).probe() == "a row is read"


@pytest.mark.parametrize("status", [404, 500, 503])
def test_an_error_of_the_index_is_one(answering: Callable[[int], Orthanc], status: int) -> None:
    with pytest.raises(OrthancUnavailableError, match=f"answers {status} to a question about its index"):
        Index(answering(status)).probe()


def test_silence_of_the_index_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        orthanc = Orthanc(silent.getsockname()[1], 0.2)
        with pytest.raises(OrthancUnavailableError, match="does not answer"):
            Index(orthanc).probe()


@pytest.fixture
def serving(listener: Listener, authority: Authority) -> ssl.SSLContext:
    """What Orthanc has: a certificate of the node, and it asks for one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(listener.certificate, listener.key)
    context.load_verify_locations(authority.certificate_file)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.fixture
def peer() -> Generator[Peer]:
    """Return a function that serves a storing title, which knows HAPROXY only, and returns the port."""
    entity = AE(ae_title="HAPACS")
    entity.require_called_aet, entity.require_calling_aet = True, ["HAPROXY"]
    entity.add_supported_context(Verification)

    def start(tls: ssl.SSLContext) -> int:
        server = entity.start_server(("127.0.0.1", 0), block=False, ssl_context=tls)
        assert server is not None
        assert server.socket is not None
        return int(server.socket.getsockname()[1])

    yield start
    entity.shutdown()


def asked(listener: Listener, port: int, tls: ssl.SSLContext, calling: str = "HAPROXY") -> Association:
    files = (listener.certificate, listener.key, listener.authority)
    return Association(Endpoint("127.0.0.1", port, *files), "HAPACS", calling, tls)


def test_an_association_is_opened_and_released(
    peer: Peer, serving: ssl.SSLContext, listener: Listener, tls: ssl.SSLContext
) -> None:
    association = asked(listener, peer(serving), tls)
    assert [association.probe() for _ in range(3)] == ["an association is accepted"] * 3


def test_a_refusal_says_why(peer: Peer, serving: ssl.SSLContext, listener: Listener, tls: ssl.SSLContext) -> None:
    with pytest.raises(EndedError, match="Calling AE title not recognised"):
        asked(listener, peer(serving), tls, "NOBODY").probe()


def test_a_port_without_a_listener_is_an_error(listener: Listener, tls: ssl.SSLContext) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(EndedError, match="can't be reached"):
            asked(listener, closed.getsockname()[1], tls).probe()


def test_silence_is_an_error(listener: Listener, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_check, "ANSWER_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(EndedError, match="timed out"):
        asked(listener, silent.getsockname()[1], tls).probe()


def test_it_is_read_from_the_configuration(
    peer: Peer, serving: ssl.SSLContext, listener: Listener, authority: Authority, tmp_path: Path
) -> None:
    own, key = certificate(authority, tmp_path, "pacs1", "server", "client")
    document = {
        "Address": "127.0.0.1", "Port": peer(serving), "Called": "HAPACS", "Calling": "HAPROXY",
        "Certificate": str(own), "Key": str(key), "Authority": str(listener.authority),
    }  # fmt: skip
    assert Association.of(document).probe() == "an association is accepted"
