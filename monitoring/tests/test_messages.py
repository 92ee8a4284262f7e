"""From an alert to the message that a person gets: a real Alertmanager, our configuration, a mail server, a webhook."""

from __future__ import annotations

import email
import email.policy
import http.server
import json
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword, Session

from monitoring.tests.running import Alertmanager, free_port, running
from monitoring.tests.test_routes import rendered

PASSWORD, TOKEN = "password-of-the-test", "token-of-the-test"
LIMIT_S = 60
SITE = {"site": "lab-primary"}
STORE = SITE | {"alertname": "StoreUnavailable", "severity": "page", "matter": "store"}
DISK = SITE | {"alertname": "MemoryLow", "severity": "ticket", "node": "pacs3"}
WATCHDOG = SITE | {"alertname": "Watchdog", "severity": "watchdog"}

# On the loopback the password goes in the clear.
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS:UserWarning")


class Mails:
    """A mail server's handler: keeps what it gets from whoever logs in."""

    def __init__(self) -> None:
        self.got: queue.Queue[Envelope] = queue.Queue()

    def login(self, _server: Any, _session: Session, _envelope: Envelope, _how: str, given: Any) -> AuthResult:
        right = isinstance(given, LoginPassword) and (given.login, given.password) == (b"pacs", PASSWORD.encode())
        return AuthResult(success=right, handled=right)

    async def handle_DATA(self, _server: Any, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        self.got.put(envelope)
        return "250 OK"


class Hook(http.server.ThreadingHTTPServer):
    """A receiver of webhooks."""

    def __init__(self) -> None:
        self.got: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook"


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert isinstance(self.server, Hook)
        self.server.got.put((self.headers.get("Authorization", ""), body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def mails() -> Iterator[tuple[Mails, int]]:
    handler, port = Mails(), free_port()
    # Without LOGIN: the two do not agree on its prompts.
    controller = Controller(
        handler, hostname="127.0.0.1", port=port, authenticator=handler.login, auth_required=True,
        auth_require_tls=False, auth_exclude_mechanism=["LOGIN"],
    )  # fmt: skip
    controller.start()
    yield handler, port
    controller.stop()


@pytest.fixture
def hooks() -> Iterator[dict[str, Hook]]:
    made = {"desk": Hook(), "outside": Hook()}
    for hook in made.values():
        threading.Thread(target=hook.serve_forever, daemon=True).start()
    yield made
    for hook in made.values():
        hook.shutdown()
        hook.server_close()


@pytest.fixture
def one(alertmanager: Path, tmp_path: Path, mails: tuple[Mails, int], hooks: dict[str, Hook]) -> Iterator[Alertmanager]:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "mail").write_text(PASSWORD, encoding="utf-8")
    (secrets / "desk").write_text(TOKEN, encoding="utf-8")
    routes = {
        "receivers": {
            "night": {"mail": ["night@hospital.example", "pacs@hospital.example"]},
            "desk": {"webhook": hooks["desk"].url, "credentials": "desk"},
            "outside": {"webhook": hooks["outside"].url},
        },
        "mail_server": {
            "host": "127.0.0.1", "port": mails[1], "sender": "pacs@hospital.example", "starttls": False,
            "user": "pacs", "credentials": "mail",
        },
        "page": ["night"], "ticket": ["desk"], "watchdog": ["outside"],
    }  # fmt: skip
    configuration = yaml.safe_load(rendered(routes, str(secrets)))
    # As the role makes it, but for its waits. The first one lets Alertmanager learn of all alerts of a fault before it
    # decides which of them covers the others.
    for route in (configuration["route"], *configuration["route"]["routes"]):
        route |= {"group_wait": "4s", "group_interval": "1s"}
    with running(alertmanager, tmp_path, yaml.safe_dump(configuration)) as started:
        yield started


def mail(handler: Mails) -> tuple[list[str], str, str]:
    """Return to whom the next mail goes, its subject and its text."""
    envelope = handler.got.get(timeout=LIMIT_S)
    assert isinstance(envelope.content, bytes)
    message = email.message_from_bytes(envelope.content, policy=email.policy.default)
    assert message["From"] == "pacs@hospital.example"
    (part,) = [one for one in message.walk() if not one.is_multipart()]
    assert part.get_content_type() == "text/plain"
    return sorted(envelope.rcpt_tos), message["Subject"], part.get_content().replace("\r\n", "\n").strip()


def text(status: str) -> str:
    return f"{status} StoreUnavailable (page): StoreUnavailable of the test\nWhat to do: docs/runbooks/x.md"


def test_page_is_one_mail_and_one_more_when_it_is_over(
    one: Alertmanager, mails: tuple[Mails, int], hooks: dict[str, Hook]
) -> None:
    people = ["night@hospital.example", "pacs@hospital.example"]
    one.fire(STORE)
    assert mail(mails[0]) == (people, "[lab-primary] firing: StoreUnavailable", text("firing"))
    one.fire(STORE, ended=True)
    assert mail(mails[0]) == (people, "[lab-primary] resolved: StoreUnavailable", text("resolved"))
    assert mails[0].got.empty()
    assert hooks["desk"].got.empty(), "a page is no ticket"


def test_ticket_goes_to_the_webhook_with_its_token(
    one: Alertmanager, mails: tuple[Mails, int], hooks: dict[str, Hook]
) -> None:
    one.fire(DISK)
    token, message = hooks["desk"].got.get(timeout=LIMIT_S)
    assert token == f"Bearer {TOKEN}"
    assert (message["status"], message["receiver"]) == ("firing", "ticket")
    assert [alert["labels"] for alert in message["alerts"]] == [DISK]
    assert message["alerts"][0]["annotations"]["runbook"] == "docs/runbooks/x.md"
    one.fire(DISK, ended=True)
    assert hooks["desk"].got.get(timeout=LIMIT_S)[1]["status"] == "resolved"
    assert mails[0].got.empty(), "a ticket wakes nobody"


def test_node_that_is_gone_is_one_mail_about_it_only(one: Alertmanager, mails: tuple[Mails, int]) -> None:
    gone = SITE | {"node": "pacs2"}
    one.fire(
        gone | {"alertname": "NodeDown", "severity": "page"},
        gone | {"alertname": "DiskAlmostFull", "severity": "page", "matter": "disk"},
        gone | {"alertname": "CertificateEnds", "severity": "page", "matter": "certificate"},
    )
    _, subject, body = mail(mails[0])
    assert subject == "[lab-primary] firing: NodeDown"
    assert body.count("What to do:") == 1


def test_watchdog_goes_outside_of_the_site_and_nowhere_else(
    one: Alertmanager, mails: tuple[Mails, int], hooks: dict[str, Hook]
) -> None:
    one.fire(WATCHDOG)
    token, message = hooks["outside"].got.get(timeout=LIMIT_S)
    assert (token, message["receiver"]) == ("", "watchdog")
    assert hooks["desk"].got.empty()
    assert mails[0].got.empty()
