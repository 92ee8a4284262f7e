"""HTTPS server for the balancers: takes images by STOW-RS, and gives each to Orthanc when it has arrived.

The other site says there too what was deleted.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus

from hapacs_node import log
from hapacs_node.errors import BadRequestError
from hapacs_node.https import Handler, Listener, Running, Server
from hapacs_node.query import web
from hapacs_node.record.identity import Identity
from hapacs_node.replication.names import TOMBSTONES_PATH, USER
from hapacs_node.stow.body import Body, CutShortError, TooLargeError, boundary, parts
from hapacs_node.stow.store import CANNOT_UNDERSTAND, OUT_OF_RESOURCES, Answer, Keep, Outcome

_LOG = log.get("stow")
_PATH = re.compile(r"/dicom-web/studies(?:/([0-9.]{1,64}))?/?", re.ASCII)
# As the balancer limits bodies whose length is said before.
_MOST_BYTES = 2 << 30
_MOST_QUESTION_BYTES = 1 << 16
_JSON = "application/dicom+json"
# How long, and how much, is read after an early answer.
_LINGER_S, _LINGER_PIECES, _PIECE_BYTES = 1, 256, 1 << 16

type Arrived = Callable[[str, Mapping[str, str]], None]
"""Notes path and headers of a request for the events of its images, on the thread that stores them."""


@dataclass
class Stow:
    """Answers STOW-RS.

    Parameters
    ----------
    keep : callable
        Stores a DICOM file in Orthanc, and returns zero or the failure reason.
    arrived : callable
        Is called before the images of a request are stored.
    most_bytes : int
        Most bytes of a request.
    deleted : callable or None
        Answers the other site, which says what was deleted there.
    """

    keep: Keep
    arrived: Arrived
    most_bytes: int = _MOST_BYTES
    deleted: Callable[[bytes], Mapping[str, object]] | None = None
    running: Running = field(default_factory=lambda: Running("STOW-RS"), init=False)

    def start(self, listener: Listener) -> int:
        """Start to listen, and return the port.

        Raises
        ------
        OSError
            When the certificates or the address can't be used.
        """
        return self.running.start(_Server(listener, self))


@dataclass(frozen=True)
class _Problem:
    """Why a request ended early: its status when nothing is stored, in words, and the failure reason of the rest."""

    status: HTTPStatus
    why: str
    reason: int


class _Server(Server):
    def __init__(self, listener: Listener, stow: Stow) -> None:
        self.stow = stow
        super().__init__(listener, _Request)


class _Request(Handler):
    server: _Server
    allowed = "POST"

    def do_POST(self) -> None:  # noqa: N802 - the library's name
        if self.path == TOMBSTONES_PATH:
            self._deleted()
            return
        found = _PATH.fullmatch(self.path.partition("?")[0])
        if found is None:
            self.close_connection = True
            self.refuse(HTTPStatus.NOT_FOUND, "images are stored at /dicom-web/studies and below a study")
            return
        answer = Answer(web.root(self.headers.get("Host", "")), found[1])
        try:
            problem = self._take(answer)
        except OSError as error:
            # Nobody is there to be answered. What was stored is; the sender repeats all of it.
            self.close_connection = True
            self._record(answer, None, repr(error))
            return
        if problem is not None or answer.cut_short:
            # What follows in the connection can't be told apart from the body.
            self.close_connection = True
        if problem is not None and not answer.stored:
            self._record(answer, problem.status, problem.why)
            self.refuse(problem.status, problem.why)
        else:
            if problem is not None:
                # With some images stored the answer names them: an error would say that none is.
                answer.outcomes.append(Outcome(Identity(), problem.reason))
            self._record(answer, answer.status, None if problem is None else problem.why)
            self._reply(answer)
        if self.close_connection:
            self._linger()

    def _deleted(self) -> None:
        """Take what was deleted at the other site; nobody else may say so."""
        stow = self.server.stow
        if self.headers.get("X-Hapacs-User") != USER or stow.deleted is None:
            self.close_connection = True
            self.refuse(HTTPStatus.FORBIDDEN, "deletions are taken from the other site")
            return
        stow.arrived(self.path, {name.lower(): value for name, value in self.headers.items()})
        self.question(stow.deleted, _MOST_QUESTION_BYTES)

    def _take(self, answer: Answer) -> "_Problem | None":
        """Receive and store the images; return what ended that early."""
        stow = self.server.stow
        try:
            mark = boundary(self.headers.get("Content-Type", ""))
            body = Body.of(self.rfile, self.headers, stow.most_bytes)
            stow.arrived(self.path, {name.lower(): value for name, value in self.headers.items()})
            answer.take(parts(body, mark), stow.keep)
        except TooLargeError as error:
            return _Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, str(error), OUT_OF_RESOURCES)
        except MemoryError:
            why = "the image needs more memory than this service may take"
            return _Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, why, OUT_OF_RESOURCES)
        except (BadRequestError, CutShortError) as error:
            return _Problem(HTTPStatus.BAD_REQUEST, str(error), CANNOT_UNDERSTAND)
        return None

    def _reply(self, answer: Answer) -> None:
        content = answer.document()
        self.send_response(answer.status)
        self.send_header("Content-Type", _JSON)
        self.send_header("Content-Length", str(len(content)))
        if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
            self.send_header("Retry-After", "10")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def _linger(self) -> None:
        """Take some more of the body: a connection that is closed with unread bytes loses the answer (RFC 9112 9.6)."""
        self.connection.settimeout(_LINGER_S)
        with suppress(OSError):
            for _ in range(_LINGER_PIECES):
                if not self.rfile.read1(_PIECE_BYTES):
                    return

    def _record(self, answer: Answer, status: HTTPStatus | None, error: str | None) -> None:
        whole = status == HTTPStatus.OK
        write = _LOG.info if whole else _LOG.warning
        write(
            log.line(
                "received",
                what="STOW-RS",
                objects=answer.stored,
                failed=len(answer.outcomes) - answer.stored,
                status=status and status.value,
                error=error,
                user=self.headers.get("X-Hapacs-User"),
                address=self.headers.get("X-Forwarded-For"),
            )
        )
