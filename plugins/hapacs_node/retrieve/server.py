"""HTTPS server for the balancers: whole studies, metadata and searches."""

import threading
import time
import zlib
from dataclasses import dataclass, field
from http import HTTPStatus

from hapacs_node import log
from hapacs_node.catalog.catalog import Catalog
from hapacs_node.catalog.retrieval import Named
from hapacs_node.errors import BadRequestError, CasDamagedError, NodeError, RefusedError
from hapacs_node.https import Handler, Listener, Server
from hapacs_node.metrics import Metrics
from hapacs_node.query import qido, web
from hapacs_node.retrieve import metadata, wado
from hapacs_node.retrieve.budget import Budget
from hapacs_node.retrieve.metadata import Metadata
from hapacs_node.storage.area import StorageArea

_LOG = log.get("retrieve")
# A reader must accept this many bytes within a time-out.
_PIECE_BYTES = 1 << 20
_COMPRESSED_FROM_BYTES = 1024


@dataclass
class Retrieval:
    """Answers WADO-RS from catalog, DAS and archive.

    Parameters
    ----------
    catalog : Catalog
        Lists the instances.
    storage : StorageArea
        Reads the instances.
    budget : Budget
        Limits the memory of answers.
    metrics : Metrics
        Counts the requests.
    title : str
        AE title from which the images can be retrieved, for answers to searches.
    """

    catalog: Catalog
    storage: StorageArea
    budget: Budget
    metrics: Metrics
    title: str = ""
    metadata: Metadata = field(init=False)
    _server: "_Server | None" = field(default=None, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.metadata = Metadata(self.catalog, self.storage.reader, self.budget, self.storage.undeclared)

    def start(self, listener: Listener) -> int:
        """Start to listen, and return the port.

        Raises
        ------
        OSError
            When the certificates or the address can't be used.
        """
        self._server = _Server(listener, self)
        self._thread = threading.Thread(target=self._server.serve_forever, name="retrieve", daemon=True)
        self._thread.start()
        return int(self._server.server_address[1])

    def stop(self) -> None:
        """Accept no new connections. Answers in progress continue while the process lives."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def probe(self) -> str:
        """Check that connections are accepted.

        Raises
        ------
        NodeError
            When they are not.
        """
        if self._thread is None or not self._thread.is_alive():
            raise NodeError("the WADO-RS server does not run: restart the service")
        return "connections are accepted"

    def answer(self, request: "_Request") -> None:
        """Answer one request.

        Raises
        ------
        NodeError
            When the request is wrong, or its instances can't be read now.
        """
        if (asked := qido.Request.of(request.path)) is not None:
            request.event = "queried"
            request.reply(web.reply(asked, self.catalog.search, request.headers.get("Host", ""), self.title))
            return
        if (named := metadata.named(request.path)) is not None:
            request.named, request.event = named, "requested"
            self._answer_metadata(request, named)
            return
        if not wado.is_as_stored(request.headers.get("Accept", "")):
            request.refuse(HTTPStatus.NOT_ACCEPTABLE, "only DICOM files as they are stored can be retrieved here")
            return
        request.named = wado.named(request.path)
        instances = self.catalog.retrieve(request.named)
        if not instances:
            request.refuse(HTTPStatus.NOT_FOUND, "no such study, series or instance")
            return
        frame = wado.Multipart.of(instances)
        contents = self.storage.reader.read_all([instance.object for instance in instances])
        for number, (instance, head) in enumerate(zip(instances, frame.heads, strict=True)):
            # The first instance is read before the first byte is sent, while the balancer can still ask another node.
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

    def _answer_metadata(self, request: "_Request", named: Named) -> None:
        instances = self.catalog.retrieve(named)
        if not instances:
            request.refuse(HTTPStatus.NOT_FOUND, "no such study, series or instance")
            return
        body = self.metadata.of(instances, web.root(request.headers.get("Host", "")))
        request.reply(web.Reply(body, len(instances)))


class _Server(Server):
    def __init__(self, listener: Listener, retrieval: Retrieval) -> None:
        self.retrieval = retrieval
        super().__init__(listener, _Request)


class _Request(Handler):
    server: _Server

    def do_GET(self) -> None:  # noqa: N802 - the library's name
        self._status: HTTPStatus | None = None
        self.named: Named | None = None
        self.event = "retrieved"
        self.sent = self.sent_bytes = 0
        began = time.monotonic()
        outcome, error = "aborted", None
        try:
            with self.server.retrieval.metrics.step("retrieve"):
                outcome, error = self._answer()
        finally:
            self._record(outcome, error, time.monotonic() - began)

    def _answer(self) -> tuple[str, NodeError | None]:
        """Answer the request; return the outcome and the error."""
        try:
            self.server.retrieval.answer(self)
        except BadRequestError as error:
            self.refuse(HTTPStatus.BAD_REQUEST, str(error))
        except RefusedError as error:
            self.refuse(HTTPStatus.NOT_FOUND, str(error))
        except NodeError as error:
            if self._status is not None:
                # The answer is shorter than its Content-Length, so the caller notices that it isn't whole.
                self.close_connection = True
                return "aborted", error
            # The balancer repeats a 503 on other nodes, where the archive's copy is damaged just as well.
            damaged = isinstance(error, CasDamagedError)
            self.refuse(HTTPStatus.INTERNAL_SERVER_ERROR if damaged else HTTPStatus.SERVICE_UNAVAILABLE, str(error))
            return "unavailable", error
        return "sent" if self._status == HTTPStatus.OK else "refused", None

    def _record(self, outcome: str, error: NodeError | None, seconds: float) -> None:
        named = self.named
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
                user=self.headers.get("X-Hapacs-User"),
                address=self.headers.get("X-Forwarded-For"),
                via=self.client_address[0],
            )
        )

    def refuse(self, status: HTTPStatus, why: str, **headers: str) -> None:
        """Answer with a status and one line with the reason."""
        self._status = status
        super().refuse(status, why, **headers)

    def reply(self, answer: web.Reply) -> None:
        """Send an answer in JSON, compressed when the client takes gzip (RFC 9110 12.5.3)."""
        body = answer.body
        compress = len(body) > _COMPRESSED_FROM_BYTES and _takes_gzip(self.headers.get("Accept-Encoding", ""))
        if compress:
            compressor = zlib.compressobj(1, wbits=31)
            body = compressor.compress(body) + compressor.flush()
        self._status = HTTPStatus.OK
        self.sent, self.sent_bytes = answer.answers, len(body)
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/dicom+json")
        self.send_header("Vary", "Accept-Encoding")
        if compress:
            self.send_header("Content-Encoding", "gzip")
        for warning in answer.warnings:
            self.send_header("Warning", f'299 hapacs "{warning}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.send(body)

    def begin(self, frame: wado.Multipart) -> None:
        """Send status 200 and the headers of the whole answer."""
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


def _takes_gzip(accepted: str) -> bool:
    for part in accepted.lower().split(","):
        coding, _, parameter = part.partition(";")
        if coding.strip() in {"gzip", "x-gzip", "*"}:
            return parameter.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False
