"""Ports that serve strangers, and ports that refuse them: real sockets on loopback."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from hapacs import pki
from hapacs.verify import port_probe

Handler = Callable[[socket.socket], None]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


@contextmanager
def listening(handler: Handler, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Serve each connection with a function; return the port."""
    server = socket.create_server(("127.0.0.1", 0))

    def one(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            connection.settimeout(3)
            served = context.wrap_socket(connection, server_side=True) if context else connection
            with served:
                handler(served)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=one, args=(server.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool], ssl.SSLContext]:
    directory: Path = tmp_path_factory.mktemp("pki")
    authority = pki.Authority(directory, "pacs", "passphrase")
    authority.ensure()
    subject = pki.Subject("door", ("IP:127.0.0.1",), ("server",))
    authority.issue(directory / "door", subject, timedelta(days=1), timedelta(hours=1))

    def make(wants_client: bool) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(directory / "door.crt", directory / "door.key")
        if wants_client:
            made.load_verify_locations(directory / "pacs" / "ca.crt")
            made.verify_mode = ssl.CERT_REQUIRED
        return made

    return make


def answer(content: bytes) -> Handler:
    def handler(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(content)

    return handler


def target(port: int, kind: str) -> dict[str, object]:
    return {"address": "127.0.0.1", "port": port, "kind": kind}


def test_http_in_the_clear_is_a_problem() -> None:
    with listening(answer(OK)) as port:
        assert port_probe.probe(target(port, "tls"))["problem"] == "answers 200 to HTTP in the clear (/)"


def test_http_by_tls_without_a_certificate_is_a_problem(context: Callable[[bool], ssl.SSLContext]) -> None:
    with listening(answer(OK), context(False)) as port:
        assert (
            port_probe.probe(target(port, "tls"))["problem"] == "answers 200 to HTTP by TLS without a certificate (/)"
        )


def test_error_status_by_tls_without_a_certificate_is_a_problem(context: Callable[[bool], ssl.SSLContext]) -> None:
    with listening(answer(b"HTTP/1.1 404 Not Found\r\n\r\n"), context(False)) as port:
        assert "answers 404" in port_probe.probe(target(port, "tls"))["problem"]


def test_port_that_requires_a_certificate_is_no_problem(context: Callable[[bool], ssl.SSLContext]) -> None:
    with listening(answer(OK), context(True)) as port:
        assert port_probe.probe(target(port, "tls")) == {"reached": True, "problem": ""}


def test_dicom_association_in_the_clear_is_a_problem() -> None:
    def accept(connection: socket.socket) -> None:
        if connection.recv(4096)[:1] == b"\x01":
            connection.sendall(b"\x02" + bytes(9))

    with listening(accept) as port:
        assert port_probe.probe(target(port, "tls"))["problem"] == "accepts a DICOM association in the clear"


def test_http2_in_the_clear_is_a_problem() -> None:
    def accept(connection: socket.socket) -> None:
        if connection.recv(4096).startswith(b"PRI"):
            connection.sendall(bytes.fromhex("000000040000000000"))

    with listening(accept) as port:
        assert port_probe.probe(target(port, "tls"))["problem"] == "serves HTTP/2 in the clear"


@pytest.mark.parametrize(("status", "problem"), [(200, "answers 200 without a login (/)"), (401, ""), (403, "")])
def test_web_port_requires_a_login(context: Callable[[bool], ssl.SSLContext], status: int, problem: str) -> None:
    with listening(answer(f"HTTP/1.1 {status} X\r\n\r\n".encode()), context(False)) as port:
        assert port_probe.probe(target(port, "web"))["problem"] == problem


def postgres(context: ssl.SSLContext, method: int) -> Handler:
    def handler(connection: socket.socket) -> None:
        if connection.recv(8)[4:] == port_probe.SSL_REQUEST[4:]:
            connection.sendall(b"S")
            with context.wrap_socket(connection, server_side=True) as secure:
                secure.recv(4096)
                secure.sendall(b"R" + struct.pack("!ii", 8, method))
        else:
            connection.sendall(b"E\0\0\0\4")

    return handler


@pytest.mark.parametrize(
    ("method", "problem"), [(0, "lets postgres in without SCRAM"), (3, "lets postgres in without SCRAM"), (10, "")]
)
def test_database_requires_scram(context: Callable[[bool], ssl.SSLContext], method: int, problem: str) -> None:
    with listening(postgres(context(False), method)) as port:
        assert port_probe.probe(target(port, "postgres"))["problem"] == problem


def test_database_session_in_the_clear_is_a_problem() -> None:
    with listening(answer(b"R" + struct.pack("!ii", 8, 0))) as port:
        assert port_probe.probe(target(port, "postgres"))["problem"] == "takes a session of postgres in the clear"


def test_reachable_closed_port_is_a_problem() -> None:
    with listening(answer(b"")) as port:
        assert port_probe.probe(target(port, "closed"))["problem"] == "can be reached"


def test_port_without_a_listener_is_not_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert port_probe.probe(target(port, "tls")) == {"reached": False, "problem": ""}


def test_association_request_is_valid_dicom() -> None:
    from pynetdicom.pdu import A_ASSOCIATE_RQ  # noqa: PLC0415

    pdu = A_ASSOCIATE_RQ()
    pdu.decode(port_probe.associate_rq())
    assert pdu.calling_ae_title == "HAPACS_NOBODY"
    assert [context.abstract_syntax for context in pdu.presentation_context] == ["1.2.840.10008.1.1"]
