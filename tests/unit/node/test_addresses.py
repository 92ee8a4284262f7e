"""Requests for a caller's address, over TLS on loopback."""

import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hapacs.pki import Authority
from hapacs_node.record.addresses import Addresses, Balancer
from tests.unit.node.certificates import certificate


class FakeBalancer(ThreadingHTTPServer):
    """Answers as the balancer does."""

    daemon_threads = True

    def __init__(self, tls: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.answer = "203.0.113.64"
        self.status = 200
        self.paths: list[str] = []
        self.connections = 0
        self.begun = threading.Event()
        self.hold = threading.Event()
        self.hold.set()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeBalancer

    def setup(self) -> None:
        self.server.connections += 1
        super().setup()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        pass

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        self.server.begun.set()
        self.server.hold.wait(5)
        body = self.server.answer.encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def balancer(authority: Authority, tmp_path: Path) -> Iterator[FakeBalancer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(*certificate(authority, tmp_path, "balancer", "server"))
    context.load_verify_locations(authority.certificate_file)
    server = FakeBalancer(context)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.hold.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def addresses(balancer: FakeBalancer, authority: Authority, tmp_path: Path) -> Iterator[Addresses]:
    (tmp_path / "node").mkdir()
    files = certificate(authority, tmp_path / "node", "pacs1", "client")
    where = Balancer("127.0.0.1", balancer.server_address[1], *files, authority.certificate_file)
    with ThreadPoolExecutor(1) as workers:
        yield Addresses(where, workers)


def test_each_request_asks_the_balancer_again_on_one_connection(addresses: Addresses, balancer: FakeBalancer) -> None:
    assert addresses.of("CT 1").result(5) == "203.0.113.64"
    balancer.answer = "several"
    assert addresses.of("CT 1").result(5) == "several"
    assert balancer.paths == ["/caller?title=CT%201"] * 2
    assert balancer.connections == 1


def test_simultaneous_requests_for_a_title_are_batched(addresses: Addresses, balancer: FakeBalancer) -> None:
    balancer.hold.clear()
    first = addresses.of("CT1")
    assert balancer.begun.wait(5)
    others = [addresses.of("CT1") for _ in range(20)]
    balancer.hold.set()
    assert {answer.result(5) for answer in (first, *others)} == {"203.0.113.64"}
    assert len(balancer.paths) == 2


@pytest.mark.parametrize(
    ("status", "answer"), [(503, "203.0.113.64"), (200, ""), (200, "no address\n"), (200, "x" * 60)]
)
def test_an_invalid_answer_gives_unknown(
    addresses: Addresses, balancer: FakeBalancer, status: int, answer: str
) -> None:
    balancer.status, balancer.answer = status, answer
    assert addresses.of("CT1").result(5) == "unknown"


def test_a_silent_balancer_gives_unknown_after_half_a_second(addresses: Addresses, balancer: FakeBalancer) -> None:
    balancer.hold.clear()
    assert addresses.of("CT1").result(3) == "unknown"
    balancer.hold.set()
    assert addresses.of("CT1").result(5) == "203.0.113.64", "the connection is replaced"


def test_an_unreachable_balancer_gives_unknown(addresses: Addresses) -> None:
    assert addresses.balancer is not None
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    where = Balancer(
        "127.0.0.1", port, addresses.balancer.certificate, addresses.balancer.key, addresses.balancer.authority
    )
    assert Addresses(where, addresses.workers).of("CT1").result(5) == "unknown"
    assert Addresses(None, addresses.workers).of("CT1").result(0) == "unknown"


def test_a_stopping_process_gets_unknown(addresses: Addresses) -> None:
    addresses.workers.shutdown()
    assert addresses.of("CT1").result(0) == "unknown"
