"""The first site asks by HTTPS what the archive has of its images."""

import http.client
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from hapacs.pki import Authority
from hapacs_node.commitment.copies import Kept
from hapacs_node.commitment.replicas import Replicas, answer
from hapacs_node.errors import CatalogUnavailableError
from hapacs_node.https import Listener
from hapacs_node.replication import confirm
from hapacs_node.replication.model import SecondSite
from hapacs_node.replication.names import PATH
from hapacs_node.routing.peer import Identity
from hapacs_node.routing.stow import WebSession
from tests.unit.node.certificates import certificate

DIGEST = "ab" * 32
UNTIL = datetime(2999, 1, 1, tzinfo=UTC)


def read(sops: Sequence[str]) -> Mapping[str, Sequence[Kept]]:
    if "9" in sops:
        raise CatalogUnavailableError("no leader")
    return {sop: [Kept(DIGEST, 12, UNTIL, "")] if sop == "1.2" else [] for sop in sops}


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    authority = Authority(tmp_path, "pacs", "passphrase-of-the-test")
    authority.ensure()
    signed, key = certificate(authority, tmp_path, "dr1", "server", "client")
    return Identity(signed, key, authority.certificate_file)


@pytest.fixture
def port(identity: Identity) -> Iterator[int]:
    server = Replicas({PATH: partial(answer, read)})
    yield server.start(Listener("127.0.0.1", 0, identity.certificate, identity.key, identity.authority))
    server.running.stop()


@pytest.fixture
def session(identity: Identity, port: int) -> WebSession:
    second = SecondSite(name="dr", url=f"https://127.0.0.1:{port}", timeout_s=10)
    return WebSession(second.entry, identity.context(None, names=True), {})


def test_the_sender_understands_the_answer(session: WebSession) -> None:
    found = confirm.ask(session, ["1.2", "1.3"])
    assert found["1.3"] == ()
    (kept,) = found["1.2"]
    assert (kept.digest, kept.size, kept.locked_until, kept.is_kept) == (DIGEST, 12, UNTIL, True)


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/hapacs/replicas", b"{}", 400),
        ("/hapacs/replicas", b"no JSON", 400),
        ("/hapacs/replicas", json.dumps({"instances": []}).encode(), 400),
        ("/hapacs/replicas", json.dumps({"instances": ["1"] * 1001}).encode(), 400),
        ("/hapacs/replicas", json.dumps({"instances": ["9"]}).encode(), 503),
        ("/other", b"{}", 404),
    ],
)
def test_bad_questions_are_refused(session: WebSession, path: str, body: bytes, code: int) -> None:
    assert session.ask("POST", path, {"Content-Length": str(len(body))}, [body]).code == code


@pytest.mark.parametrize("length", ["", "-1", "200000", "²"])
def test_a_body_without_a_sound_length_is_not_read(identity: Identity, port: int, length: str) -> None:
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=identity.context(None, names=True))
    connection.putrequest("POST", "/hapacs/replicas")
    if length:
        connection.putheader("Content-Length", length)
    connection.endheaders()
    assert connection.getresponse().status == 400
    connection.close()
