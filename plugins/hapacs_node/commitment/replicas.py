"""HTTPS server for the balancer: says to the first site what the archive has of its images, read for each answer."""

import json
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hapacs_node import log
from hapacs_node.commitment.copies import Kept
from hapacs_node.errors import NodeError
from hapacs_node.https import Handler, Listener, Running, Server
from hapacs_node.replication.names import PATH

_LOG = log.get("replicas")
_MOST = 1000
_MOST_BYTES = 1 << 17

type Read = Callable[[Sequence[str]], Mapping[str, Sequence[Kept]]]
"""Reads the copies of images by SOP Instance UID."""


class Question(BaseModel):
    """The images that are asked for.

    Attributes
    ----------
    instances
        SOP Instance UIDs.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    instances: tuple[str, ...] = Field(min_length=1, max_length=_MOST)


class Replicas:
    """Answers questions for images.

    Parameters
    ----------
    read : callable
        Reads their copies.
    """

    def __init__(self, read: Read) -> None:
        self.read = read
        self.running = Running("copies")

    def start(self, listener: Listener) -> int:
        """Start to listen, and return the port.

        Raises
        ------
        OSError
            When the certificates or the address can't be used.
        """
        return self.running.start(_Server(listener, self.read))


class _Server(Server):
    def __init__(self, listener: Listener, read: Read) -> None:
        self.read = read
        super().__init__(listener, _Request)


class _Request(Handler):
    server: _Server
    allowed = "POST"

    def do_POST(self) -> None:  # noqa: N802 - the library's name
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit() or int(length) > _MOST_BYTES:
            self.close_connection = True
            self.refuse(HTTPStatus.BAD_REQUEST, f"Content-Length must be a number up to {_MOST_BYTES}")
            return
        content = self.rfile.read(int(length))
        if self.path != PATH:
            self.refuse(HTTPStatus.NOT_FOUND, f"images are asked for at {PATH}")
            return
        try:
            wanted = Question.model_validate_json(content).instances
        except ValidationError:
            self.refuse(HTTPStatus.BAD_REQUEST, f'the body must be {{"instances": [...]}} with 1 to {_MOST} UIDs')
            return
        try:
            found = self.server.read(wanted)
        except NodeError as error:
            _LOG.warning(log.line("replicas_not_read", images=len(wanted), error=error))
            self.refuse(HTTPStatus.SERVICE_UNAVAILABLE, "the copies can't be read now")
            return
        self._reply(found)

    def _reply(self, found: Mapping[str, Sequence[Kept]]) -> None:
        content = json.dumps({"replicas": {sop: [_plain(one) for one in kept] for sop, kept in found.items()}}).encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _plain(kept: Kept) -> dict[str, object]:
    until = None if kept.locked_until is None else kept.locked_until.isoformat()
    return {"digest": kept.digest, "size": kept.size, "locked_until": until, "problem": kept.problem}
