"""Sends images by STOW-RS (DICOM PS3.18 10.5): several in a request, each file as it is stored, byte for byte."""

import base64
import http.client
import ssl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from hapacs_node.catalog.tasks import Task
from hapacs_node.multipart import framed
from hapacs_node.outbox import answers
from hapacs_node.outbox.answers import Ended
from hapacs_node.routing import stow_answers
from hapacs_node.routing.destination import WebDestination
from hapacs_node.routing.peer import Access, Loaded, PeerError, UnansweredError

# A request is held in memory, and its images share the fate of its answer.
_MOST_IMAGES = 50
_MOST_BYTES = 8_000_000
# An answer has about 300 bytes for each image.
_MOST_ANSWER_BYTES = 1_000_000
# The server may have taken the images, or one of them may be why it failed. Other errors are of the whole destination.
_PERHAPS_TAKEN = {HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT}
# A search that finds nothing (DICOM PS3.18 10.6): no patient's data are asked for.
_SEARCH = "/studies?StudyInstanceUID=2.25.0&limit=1"


@dataclass(frozen=True)
class _Reply:
    code: int
    kind: str
    body: bytes

    @property
    def good(self) -> bool:
        return self.code // 100 == 2  # noqa: PLR2004 - the class of successes (RFC 9110 15)


@dataclass(frozen=True)
class WebSession:
    """What requests to a destination need.

    Attributes
    ----------
    destination : WebDestination
        The peer.
    tls : ssl.SSLContext or None
        For https.
    login : mapping
        The header Authorization, or nothing.
    proven : bool
        Nothing is sent before the first request, so only its answer shows that the peer works.
    """

    destination: WebDestination
    tls: ssl.SSLContext | None
    login: Mapping[str, str]
    proven: bool = False

    @staticmethod
    def requests(tasks: Sequence[Task]) -> list[list[Task]]:
        """Divide tasks into requests. An image that was tried before goes alone: it may be why a request failed."""
        groups: list[list[Task]] = []
        room = 0
        for task in tasks:
            fits = task.attempts == 1 and task.size <= room and len(groups[-1]) < _MOST_IMAGES
            if fits:
                groups[-1].append(task)
            else:
                groups.append([task])
                room = _MOST_BYTES if task.attempts == 1 else 0
            room -= task.size
        return groups

    def send(self, images: Sequence[Loaded]) -> list[Ended]:
        """Store images by one request, and return the end of each.

        Raises
        ------
        UnansweredError
            When there is no answer, or one that leaves open whether the images are stored.
        PeerError
            When the destination can't be reached, refuses the login, or is not there.
        """
        first = {str(message.sop): task.id for task, message in reversed(images)}
        if later := [task.id for task, message in images if first[str(message.sop)] != task.id]:
            # The answer could not tell two versions of an image apart.
            once = [(task, message) for task, message in images if task.id not in later]
            return [*self.send(once), *map(answers.untried, later)]
        reply = self._post([message.file for _, message in images])
        if reply.code not in stow_answers.ABOUT_IMAGES:
            error = UnansweredError if reply.code in _PERHAPS_TAKEN else PeerError
            raise error(f"{self.destination.where} answers with {words(reply.code)}")
        answer = stow_answers.read(reply.code, reply.kind, reply.body)
        alone = len(images) == 1
        return [stow_answers.judge(task, str(message.sop), answer, alone=alone) for task, message in images]

    def _post(self, files: Sequence[bytes]) -> _Reply:
        content_type, parts = framed(files, "application/dicom")
        headers = {
            "Content-Type": content_type,
            "Content-Length": str(sum(map(len, parts))),
            "Accept": stow_answers.JSON,
        }
        return self.ask("POST", "/studies", headers, parts)

    def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: Iterable[bytes] | None = None
    ) -> _Reply:
        """Send one request on a connection of its own. A kept one may end at the moment in which it is used.

        Raises
        ------
        UnansweredError
            When there is no answer.
        PeerError
            When the destination can't be reached.
        """
        connection = self._connection()
        try:
            try:
                connection.connect()
            except OSError as error:
                raise PeerError(f"{self.destination.where}: {error}") from error
            try:
                # A server that refuses a request may close the connection before it has read all of it.
                with suppress(BrokenPipeError, ConnectionResetError):
                    all_headers = {**self.login, **(headers or {}), "Connection": "close"}
                    connection.request(method, urlsplit(self.destination.url).path + path, body, all_headers)
                answer = connection.getresponse()
                content = answer.read(_MOST_ANSWER_BYTES)
            except (OSError, http.client.HTTPException) as error:
                raise UnansweredError(f"{self.destination.where} does not answer: {error!r}") from error
            return _Reply(answer.status, answer.headers.get("Content-Type", ""), content)
        finally:
            connection.close()

    def question(self, path: str, body: bytes, unsaid: str) -> bytes:
        """Post a question in JSON, and return the answer.

        Parameters
        ----------
        path : str
            Below the URL of the destination.
        body : bytes
            The question.
        unsaid : str
            What the destination does not say when it refuses, for the message.

        Raises
        ------
        PeerError
            When there is no answer, or a refusal.
        """
        kind = "application/json"
        headers = {"Content-Type": kind, "Accept": kind, "Content-Length": str(len(body))}
        reply = self.ask("POST", path, headers, [body])
        if not reply.good:
            raise PeerError(f"{self.destination.where} does not say {unsaid}: {words(reply.code)}")
        return reply.body

    def _connection(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.destination.url)
        host, timeout_s = parts.hostname or "", self.destination.timeout_s
        if self.tls is None:
            return http.client.HTTPConnection(host, parts.port, timeout=timeout_s)
        return http.client.HTTPSConnection(host, parts.port, timeout=timeout_s, context=self.tls)


@contextmanager
def connect(destination: WebDestination, access: Access) -> Iterator[WebSession]:
    """Prepare requests to a destination: TLS and login.

    Raises
    ------
    PeerError
        When this node has no certificate, or not the secret.
    """
    tls = None
    if destination.url.startswith("https:"):
        tls = access.context(destination.authority, destination.where, names=True)
    yield WebSession(destination, tls, _login(destination, access))


def ping(destination: WebDestination, access: Access) -> str:
    """Ask a destination for its capabilities (PS3.18 8.9) or, when it does not tell them, for a study that nobody has.

    Raises
    ------
    PeerError
        When it does not answer with success.
    """
    with connect(destination, access) as session:
        reply = session.ask("OPTIONS", "/studies")
        if reply.good:
            return f"OPTIONS: {words(reply.code)}"
        # Orthanc has no OPTIONS, and answers 404.
        search = session.ask("GET", _SEARCH, {"Accept": stow_answers.JSON})
        if search.good:
            return f"QIDO-RS: {words(search.code)}"
    raise PeerError(
        f"{destination.where} answers OPTIONS with {words(reply.code)} and a search with {words(search.code)}"
    )


def _login(destination: WebDestination, access: Access) -> dict[str, str]:
    if destination.credentials is None:
        return {}
    secret = access.secret(destination.credentials)
    if destination.user is None:
        return {"Authorization": f"Bearer {secret}"}
    pair = base64.b64encode(f"{destination.user}:{secret}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


def words(code: int) -> str:
    """Return a status of HTTP in words."""
    known = {status.value: status.phrase for status in HTTPStatus}
    return f"HTTP status {code} ({known.get(code, 'unknown')})"
