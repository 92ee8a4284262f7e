"""HTTPS for the balancers: a thread for each of their connections, which are few and stay open.

Who has no certificate of the site's own gets no further than the handshake.
"""

import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from hapacs_node import log
from hapacs_node.catalog.catalog import Catalog
from hapacs_node.catalog.retrieval import Named
from hapacs_node.errors import NodeError, RefusedError
from hapacs_node.metrics import Metrics
from hapacs_node.retrieve import wado
from hapacs_node.retrieve.budget import Budget
from hapacs_node.storage.area import StorageArea

_LOG = log.get("retrieve")
_HANDSHAKE_S = 5
# Of one write or of the wait for the next request. The balancers give idle connections back sooner.
_IDLE_S = 60
# What has to leave within _IDLE_S: a reader may be slow, but not without end.
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class Door:
    """Where to listen.

    Attributes
    ----------
    address, port
        Of this node.
    certificate, key : Path
        This node's own.
    authority : Path
        Who signed the certificates of those that may come in.
    """

    address: str
    port: int
    certificate: Path
    key: Path
    authority: Path

    @classmethod
    def of(cls, document: dict[str, Any]) -> Self:
        """Read it from Orthanc's configuration: ``Address``, ``Port``, ``Certificate``, ``Key``, ``Authority``."""
        return cls(
            str(document["Address"]),
            int(document["Port"]),
            *(Path(document[name]) for name in ("Certificate", "Key", "Authority")),
        )

    def tls(self) -> ssl.SSLContext:
        """Require a certificate of the authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(self.certificate, self.key)
        context.load_verify_locations(self.authority)
        return context


@dataclass
class Retrieval:
    """Answers WADO-RS from catalog, DAS and archive.

    Parameters
    ----------
    catalog : Catalog
        Says which instances there are.
    storage : StorageArea
        Gives them.
    budget : Budget
        Bounds what is in memory.
    metrics : Metrics
        Counts the requests.
    """

    catalog: Catalog
    storage: StorageArea
    budget: Budget
    metrics: Metrics
    _server: "_Server | None" = field(default=None, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)

    def start(self, door: Door) -> int:
        """Begin to listen, and return the port.

        Raises
        ------
        OSError
            When the certificates can't be used, or the address can't.
        """
        self._server = _Server(door, self)
        self._thread = threading.Thread(target=self._server.serve_forever, name="retrieve", daemon=True)
        self._thread.start()
        return int(self._server.server_address[1])

    def stop(self) -> None:
        """Take no new connections. Answers under way go on as long as the process does."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def probe(self) -> str:
        """Tell whether connections are taken.

        Raises
        ------
        NodeError
            When not.
        """
        if self._thread is None or not self._thread.is_alive():
            raise NodeError("nobody listens for WADO-RS: restart the service")
        return "connections are taken"

    def answer(self, request: "_Request") -> None:
        """Answer one request.

        Raises
        ------
        NodeError
            When the request is wrong, or its instances can't be had now.
        """
        if not wado.is_as_stored(request.headers.get("Accept", "")):
            request.refuse(HTTPStatus.NOT_ACCEPTABLE, "only DICOM files as they are stored can be had here")
            return
        request.named = wado.named(request.path)
        instances = self.catalog.retrieve(request.named)
        if not instances:
            request.refuse(HTTPStatus.NOT_FOUND, "no such study, series or instance")
            return
        frame = wado.Multipart.of(instances)
        contents = self.storage.reader.read_all([instance.object for instance in instances])
        for number, (instance, head) in enumerate(zip(instances, frame.heads, strict=True)):
            # Whether it can be had is known before the first byte leaves, while another node may still be asked.
            with self.budget.hold(instance.object.size):
                content = next(contents)
                if number == 0:
                    request.begin(frame)
                request.send(head)
                request.send(content)
                request.sent += 1
                request.sent_bytes += instance.object.size
                del content
        request.send(frame.tail)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, door: Door, retrieval: Retrieval) -> None:
        self.retrieval = retrieval
        self.tls = door.tls()
        self.address_family = socket.AF_INET6 if ":" in door.address else socket.AF_INET
        super().__init__((door.address, door.port), _Request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - of the library
        """Note that a connection ended badly: nobody else is concerned."""
        _LOG.debug(log.line("connection_broken", peer=client_address[0]), exc_info=True)


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    connection: socket.socket

    def setup(self) -> None:
        # Here and not where connections are accepted: who is slow at the handshake holds this thread only.
        plain = self.request
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.settimeout(_HANDSHAKE_S)
        self.request = self.server.tls.wrap_socket(plain, server_side=True)
        self.request.settimeout(_IDLE_S)
        super().setup()

    def finish(self) -> None:
        super().finish()
        self.request.close()

    def version_string(self) -> str:
        return "hapacs"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing: the balancers log each request."""

    def do_GET(self) -> None:
        self._status: HTTPStatus | None = None
        self.named: Named | None = None
        self.sent = self.sent_bytes = 0
        began = time.monotonic()
        outcome, error = "aborted", None
        try:
            with self.server.retrieval.metrics.step("retrieve"):
                outcome, error = self._answer()
        finally:
            self._record(outcome, error, time.monotonic() - began)

    def _answer(self) -> tuple[str, NodeError | None]:
        """Answer the request; tell the outcome and what went wrong."""
        try:
            self.server.retrieval.answer(self)
        except RefusedError as error:
            self.refuse(HTTPStatus.NOT_FOUND, str(error))
        except NodeError as error:
            if self._status is not None:
                # Less than was promised: the caller sees that it isn't whole.
                self.close_connection = True
                return "aborted", error
            self.refuse(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
            return "unavailable", error
        return "sent" if self._status == HTTPStatus.OK else "refused", None

    def _record(self, outcome: str, error: NodeError | None, seconds: float) -> None:
        named = self.named
        write = _LOG.info if outcome in {"sent", "refused"} else _LOG.error
        write(
            log.line(
                "retrieved",
                sop=named and named.instance,
                series=named and named.series,
                study=named and named.study,
                objects=self.sent,
                size=self.sent_bytes,
                seconds=f"{seconds:.3f}",
                outcome=outcome,
                error=error,
                user=self.headers.get("X-Hapacs-User"),
                address=self.headers.get("X-Forwarded-For"),
                via=self.client_address[0],
            )
        )

    def refuse(self, status: HTTPStatus, why: str) -> None:
        """Answer with a status and a line that says why."""
        body = f"{why}\n".encode()
        self._status = status
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def begin(self, frame: wado.Multipart) -> None:
        """Say that all of it comes."""
        self._status = HTTPStatus.OK
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", frame.content_type)
        self.send_header("Content-Length", str(frame.length))
        self.end_headers()

    def send(self, content: bytes) -> None:
        """Send bytes of the answer."""
        rest = memoryview(content)
        while rest:
            self.connection.sendall(rest[:_PIECE_BYTES])
            rest = rest[_PIECE_BYTES:]
