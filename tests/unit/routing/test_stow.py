"""Requests of STOW-RS: how images are divided, and what each answer of HTTP means for the destination."""

import json
import socket
import threading
from collections.abc import Iterator
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import UUID

import pytest
from pydicom.data import get_testdata_file

from hapacs_node.catalog.tasks import Task
from hapacs_node.routing import session, stow
from hapacs_node.routing.destination import WebDestination
from hapacs_node.routing.image import Message, parse
from hapacs_node.routing.peer import Access, PeerError, UnansweredError

FILES = [Path(str(get_testdata_file(name))).read_bytes() for name in ("CT_small.dcm", "MR_small.dcm")]
MESSAGES = [parse(content) for content in FILES]


def task(number: int, size: int = 100, attempts: int = 1) -> Task:
    return Task(number, UUID(int=number), "1", "1.1", "1.1.1", "1.2", "1.2.3", size, "all", None, attempts)


class Server(ThreadingHTTPServer):
    """Answers each request with the same status and body, and keeps what came."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.code, self.answer = 200, b""
        self.came: list[tuple[str, str, bytes]] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def _answer(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        self.server.came.append((self.command, self.path, head + content))
        if self.server.code == 0:
            return
        self.send_response(self.server.code)
        self.send_header("Content-Type", "application/dicom+json")
        self.send_header("Content-Length", str(len(self.server.answer)))
        self.end_headers()
        self.wfile.write(self.server.answer)

    do_POST = do_GET = do_OPTIONS = _answer  # noqa: N815 - the names of the library

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def destination(server: Server) -> WebDestination:
    url = f"http://127.0.0.1:{server.server_address[1]}/dicom-web"
    return WebDestination(kind="dicomweb", url=url, timeout_s=20)


def send(server: Server, *messages: Message) -> list[str]:
    with stow.connect(destination(server), Access()) as opened:
        ended = opened.send([(task(number), message) for number, message in enumerate(messages)])
    return [one.state if one.tried else "untried" for one in ended]


def stored(*messages: Message) -> bytes:
    items = [{"00081155": {"vr": "UI", "Value": [str(message.sop)]}} for message in messages]
    return json.dumps({"00081199": {"vr": "SQ", "Value": items}}).encode()


def test_a_request_has_each_file_byte_for_byte(server: Server) -> None:
    server.answer = stored(*MESSAGES)
    assert send(server, *MESSAGES) == ["confirmed", "confirmed"]
    [(method, path, request)] = server.came
    assert (method, path) == ("POST", "/dicom-web/studies")
    parts = message_from_bytes(request, policy=policy.HTTP)
    assert parts.get_content_type() == "multipart/related"
    assert parts.get_param("type") == "application/dicom"
    boundary = str(parts.get_boundary()).encode()
    pieces = request.partition(b"\r\n\r\n")[2].split(b"--" + boundary)
    assert pieces[0] == b""
    assert pieces[-1] == b"--\r\n"
    head = b"\r\nContent-Type: application/dicom\r\n\r\n"
    assert [piece.removeprefix(head).removesuffix(b"\r\n") for piece in pieces[1:-1]] == FILES


def test_only_the_image_that_the_answer_names_is_confirmed(server: Server) -> None:
    server.code, server.answer = 202, stored(MESSAGES[1])
    assert send(server, *MESSAGES) == ["waiting", "confirmed"]


def test_two_versions_of_an_image_are_not_in_one_request(server: Server) -> None:
    server.answer = stored(MESSAGES[0])
    assert send(server, MESSAGES[0], MESSAGES[0]) == ["confirmed", "untried"]
    assert server.came[0][2].count(b"Content-Type: application/dicom\r\n") == 1


@pytest.mark.parametrize("code", [301, 401, 403, 404, 405, 429, 503])
def test_what_no_image_can_cause_is_a_failure_of_the_destination(server: Server, code: int) -> None:
    server.code = code
    with pytest.raises(PeerError, match=f"answers with HTTP status {code}") as failure:
        send(server, MESSAGES[0])
    assert not isinstance(failure.value, UnansweredError)


@pytest.mark.parametrize("code", [500, 502, 504, 0])
def test_after_an_error_of_the_server_the_images_may_be_stored(server: Server, code: int) -> None:
    server.code = code
    with pytest.raises(UnansweredError):
        send(server, MESSAGES[0])


def test_a_server_that_is_not_there_fails_before_an_image_is_under_way() -> None:
    with socket.socket() as nobody:
        # Bound, so that no other program gets the port, but not listening.
        nobody.bind(("127.0.0.1", 0))
        peer = WebDestination(kind="dicomweb", url=f"http://127.0.0.1:{nobody.getsockname()[1]}")
        with stow.connect(peer, Access()) as opened, pytest.raises(PeerError, match="refused") as failure:
            opened.send([(task(1), MESSAGES[0])])
    assert not isinstance(failure.value, UnansweredError)


def test_requests_are_limited_in_images_and_bytes() -> None:
    def sizes(*tasks: Task) -> list[int]:
        return [len(group) for group in stow.WebSession.requests(tasks)]

    assert sizes(*(task(number) for number in range(120))) == [50, 50, 20]
    assert sizes(*(task(number, 3_000_000) for number in range(5))) == [2, 2, 1]
    assert sizes(task(1, 900_000_000), task(2), task(3)) == [1, 2]
    assert sizes() == []


def test_an_image_that_was_tried_before_goes_alone() -> None:
    groups = stow.WebSession.requests([task(1), task(2), task(3, attempts=2), task(4), task(5, attempts=2)])
    assert [[one.id for one in group] for group in groups] == [[1, 2], [3], [4], [5]]


def test_ping_asks_by_options_and_by_a_search_that_finds_nothing(server: Server) -> None:
    assert session.ping(destination(server), Access()) == "OPTIONS: HTTP status 200 (OK)"
    server.code = 404
    with pytest.raises(PeerError, match=r"answers OPTIONS with HTTP status 404 .* and a search with HTTP status 404"):
        session.ping(destination(server), Access())
    assert [(method, path.partition("?")[0]) for method, path, _ in server.came] == [
        ("OPTIONS", "/dicom-web/studies"),
        ("OPTIONS", "/dicom-web/studies"),
        ("GET", "/dicom-web/studies"),
    ]


def login(tmp_path: Path, secrets: object, **more: str) -> str:
    (tmp_path / "secrets.json").write_text(json.dumps(secrets))
    peer = WebDestination.model_validate(
        {"kind": "dicomweb", "url": "https://a.example", "credentials": "cloud"} | more
    )
    plain = peer.model_copy(update={"url": "http://a.example"})
    with stow.connect(plain, Access(None, tmp_path / "secrets.json")) as made:
        return made.login["Authorization"]


def test_a_secret_is_a_password_of_a_user_or_a_bearer_token(tmp_path: Path) -> None:
    assert login(tmp_path, {"cloud": "token"}) == "Bearer token"
    assert login(tmp_path, {"cloud": "pass"}, user="u") == "Basic dTpwYXNz"


@pytest.mark.parametrize(
    ("secrets", "said"),
    [({}, "no secret cloud: add it"), ({"cloud": "a\r\nX: b"}, "characters that no header can have")],
)
def test_a_secret_that_is_missing_or_unusable_fails_the_destination_without_showing_it(
    tmp_path: Path, secrets: dict[str, str], said: str
) -> None:
    with pytest.raises(PeerError, match=said) as failure:
        login(tmp_path, secrets)
    assert "X: b" not in str(failure.value)


def test_https_needs_the_certificate_of_this_node() -> None:
    peer = WebDestination(kind="dicomweb", url="https://a.example")
    with pytest.raises(PeerError, match="this node has no certificate"), stow.connect(peer, Access()):
        pass
