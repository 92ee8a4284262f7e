"""One request of a client for images, metadata or a search, and the writing of its answer."""

import time
import zlib
from http import HTTPStatus
from typing import Protocol

from hapacs_node import log
from hapacs_node.catalog.retrieval import Named
from hapacs_node.errors import BadRequestError, CasDamagedError, NodeError, RefusedError, UncorrectedError
from hapacs_node.https import Handler, Listener, Server
from hapacs_node.metrics import Metrics
from hapacs_node.query import web
from hapacs_node.retrieve import accept
from hapacs_node.retrieve.accept import Range
from hapacs_node.retrieve.viewings import Viewing, Viewings

_LOG = log.get("retrieve")
# A reader must accept this many bytes within a time-out.
_PIECE_BYTES = 1 << 20
_COMPRESSED_FROM_BYTES = 1024
_SENT = frozenset({HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.NO_CONTENT, HTTPStatus.PARTIAL_CONTENT})


class Answering(Protocol):
    """Answers requests."""

    metrics: Metrics

    def answer(self, request: "Request") -> None:
        """Answer one request.

        Raises
        ------
        NodeError
            When the request is wrong, or what it asks for can't be read now.
        """
        ...

    def writes(self, path: str) -> bool:
        """Whether something can be written at a path."""
        ...


class RetrieveServer(Server):
    """Gives each request to one object.

    Parameters
    ----------
    listener : Listener
        Address and certificates.
    answering : Answering
        Answers them.
    """

    def __init__(self, listener: Listener, answering: Answering) -> None:
        self.answering = answering
        super().__init__(listener, Request)


class Request(Handler):
    """A request, with what is written to the log of it."""

    server: RetrieveServer
    allowed = "GET, HEAD"

    def do_GET(self) -> None:  # noqa: N802 - the library's name
        """Answer a GET, or a HEAD: that has the headers of the same answer (RFC 9110 9.3.2)."""
        self._status: HTTPStatus | None = None
        self._chunked = False
        self.named: Named | None = None
        self.event: str | None = "retrieved"
        self.viewings: Viewings | None = None
        self.sent = self.sent_bytes = 0
        began = time.monotonic()
        outcome, error = "aborted", None
        try:
            with self.server.answering.metrics.step("retrieve"):
                outcome, error = self._answer()
        finally:
            self._record(outcome, error, time.monotonic() - began)

    do_HEAD = do_GET  # noqa: N815 - the library's name

    def do_POST(self) -> None:  # noqa: N802 - the library's name
        """Answer a request that writes, where one is answered."""
        if self.server.answering.writes(self.bare_path):
            self.do_GET()
        else:
            self.send_error(HTTPStatus.NOT_IMPLEMENTED)

    do_PUT = do_DELETE = do_POST  # noqa: N815 - the library's names

    @property
    def bare_path(self) -> str:
        """The path without the query string."""
        return self.path.partition("?")[0]

    @property
    def query(self) -> str:
        """The query string."""
        return self.path.partition("?")[2]

    @property
    def accepted(self) -> tuple[Range, ...]:
        """The media types that the client accepts, the best first."""
        return accept.ranges(self.headers.get_all("Accept", []), self.query)

    def _answer(self) -> tuple[str, NodeError | None]:
        """Answer the request; return the outcome and the error."""
        try:
            self.server.answering.answer(self)
        except BadRequestError as error:
            self.refuse(HTTPStatus.BAD_REQUEST, str(error))
        except RefusedError as error:
            self.refuse(HTTPStatus.NOT_FOUND, str(error))
        except NodeError as error:
            if self._status is not None:
                # The answer is shorter than its Content-Length, or without its last chunk, so the caller notices that
                # it isn't whole.
                self.close_connection = True
                return "aborted", error
            # The balancer repeats a 503 on other nodes, where the archive's copy, or the file, is just the same.
            damaged = isinstance(error, CasDamagedError | UncorrectedError)
            self.refuse(HTTPStatus.INTERNAL_SERVER_ERROR if damaged else HTTPStatus.SERVICE_UNAVAILABLE, str(error))
            return "unavailable", error
        return "sent" if self._status in _SENT else "refused", None

    def _record(self, outcome: str, error: NodeError | None, seconds: float) -> None:
        if self.event is None:
            return
        named = self.named
        user, address = self.headers.get("X-Hapacs-User"), self.headers.get("X-Forwarded-For")
        via = self.client_address[0]
        if self.viewings is not None and named is not None and outcome == "sent":
            viewing = Viewing(named.study, named.series, user, address, via)
            if self.viewings.count(viewing, self.sent, self.sent_bytes):
                return
        write = _LOG.info if outcome in {"sent", "refused"} else _LOG.error
        write(
            log.line(
                self.event,
                sop=named and named.instance,
                series=named and named.series,
                study=named and named.study,
                objects=self.sent,
                size=self.sent_bytes,
                seconds=f"{seconds:.3f}",
                outcome=outcome,
                error=error,
                user=user,
                address=address,
                via=via,
            )
        )

    def refuse(self, status: HTTPStatus, why: str, **headers: str) -> None:
        """Answer with a status and one line with the reason."""
        self._status = status
        super().refuse(status, why, **headers)

    def refuse_unread(self, status: HTTPStatus, why: str, **headers: str) -> None:
        """Answer without having read the body, whose bytes would be taken for the next request."""
        self.close_connection = True
        self.refuse(status, why, **headers)

    def reply_empty(self, status: HTTPStatus, **headers: str) -> None:
        """Answer with a status alone."""
        self._status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", "0")
        self.end_headers()

    def reply(self, answer: web.Reply) -> None:
        """Send an answer in JSON, compressed when the client takes gzip (RFC 9110 12.5.3)."""
        body = answer.body
        headers = {"Vary": "Accept-Encoding"}
        if len(body) > _COMPRESSED_FROM_BYTES and _takes_gzip(self.headers.get("Accept-Encoding", "")):
            compressor = zlib.compressobj(1, wbits=31)
            body = compressor.compress(body) + compressor.flush()
            headers["Content-Encoding"] = "gzip"
        if answer.warnings:
            headers["Warning"] = ", ".join(f'299 hapacs "{warning}"' for warning in answer.warnings)
        self.sent, self.sent_bytes = answer.answers, len(body)
        self.begin("application/dicom+json", len(body), headers)
        self.send(body)

    def begin(
        self,
        content_type: str,
        length: int | None,
        headers: dict[str, str] | None = None,
        status: HTTPStatus = HTTPStatus.OK,
    ) -> None:
        """Send a status and the headers of the whole answer; without its length it is sent in chunks."""
        self._status = status
        self._chunked = length is None
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if length is None:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def send(self, content: bytes | memoryview) -> None:
        """Send bytes of the answer; none for HEAD."""
        if self.command == "HEAD" or not content:
            return
        if self._chunked:
            self.connection.sendall(f"{len(content):x}\r\n".encode("ascii"))
        rest = memoryview(content)
        while rest:
            self.connection.sendall(rest[:_PIECE_BYTES])
            rest = rest[_PIECE_BYTES:]
        if self._chunked:
            self.connection.sendall(b"\r\n")

    def end(self) -> None:
        """End an answer in chunks."""
        if self._chunked and self.command != "HEAD":
            self.connection.sendall(b"0\r\n\r\n")


def _takes_gzip(accepted: str) -> bool:
    for part in accepted.lower().split(","):
        coding, _, parameter = part.partition(";")
        if coding.strip() in {"gzip", "x-gzip", "*"}:
            return parameter.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False
