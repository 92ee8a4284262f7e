"""Stored images leave for a bucket of S3: SeaweedFS, with TLS in front of it."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import obstore
import pytest
from botocore.exceptions import ClientError
from pydicom import dcmread

from hapacs.pki import Authority
from hapacs_node.catalog import outbox
from hapacs_node.catalog.outbox import Selection
from hapacs_node.node import Node
from hapacs_node.routing import bucket, session
from hapacs_node.routing.destination import S3Destination
from hapacs_node.routing.image import parse
from hapacs_node.routing.peer import Access, Identity, PeerError, UnansweredError
from hapacs_node.routing.service import Service
from tests.storage.routed import ALL_CT, asked, counts, image, load_peer, run_until, store
from tests.storage.servers import ACCESS_KEY, BUCKET, SECRET_KEY, Postgres, SeaweedFS
from tests.support.tls_front import tls_front
from tests.unit.node.certificates import certificate

KEY, SECRET = "admin", "admin-secret-of-the-test"
NAME, PREFIX = "research", "from/hapacs"

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True)
class Peer:
    """A bucket behind TLS.

    Attributes
    ----------
    url
        Where its gateway answers.
    identity
        Its certificate, with which the node shows itself elsewhere.
    client
        A client past TLS, not written here.
    servers
        What is behind TLS.
    """

    url: str
    identity: Identity
    client: Any
    servers: SeaweedFS

    def objects(self) -> dict[str, bytes]:
        """Return what is in the bucket, by key."""
        found = self.client.list_objects_v2(Bucket=NAME).get("Contents", [])
        return {one["Key"]: self.client.get_object(Bucket=NAME, Key=one["Key"])["Body"].read() for one in found}


@pytest.fixture
def peer(seaweedfs: SeaweedFS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Peer]:
    authority = Authority(tmp_path / "pki", "pacs", "passphrase")
    authority.ensure()
    own, key = certificate(authority, tmp_path, "peer", "server", "client")
    client = seaweedfs.client(key=KEY, secret=SECRET)
    try:
        client.create_bucket(Bucket=NAME)
    except ClientError as error:
        assert "Exists" in str(error) or "Owned" in str(error)  # noqa: PT017 - of an earlier test
    identity = Identity(own, key, authority.certificate_file)
    for name in Peer("", identity, client, seaweedfs).objects():
        client.delete_object(Bucket=NAME, Key=name)
    for name in ("SSL_CERT_FILE", "NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")
    bucket.trust_only(authority.certificate_file)
    with tls_front(int(seaweedfs.urls[0].rpartition(":")[2]), own, key) as port:
        yield Peer(f"https://127.0.0.1:{port}", identity, client, seaweedfs)


@pytest.fixture
def access(peer: Peer, tmp_path: Path) -> Access:
    (tmp_path / "secrets.json").write_text(json.dumps({"bucket": SECRET, "wrong": "other", "node": SECRET_KEY}))
    return Access(peer.identity, tmp_path / "secrets.json")


def destination(peer: Peer, **more: object) -> dict[str, Any]:
    return {
        "kind": "s3", "endpoint": peer.url, "bucket": NAME, "prefix": PREFIX, "user": KEY,
        "credentials": "bucket", "timeout_s": 20,
    } | more  # fmt: skip


def model(peer: Peer, **more: object) -> S3Destination:
    return S3Destination.model_validate(destination(peer, **more))


def key(content: bytes) -> str:
    """Return the key that an image has to have."""
    dataset = dcmread(BytesIO(content))
    return f"{PREFIX}/{dataset.StudyInstanceUID}/{dataset.SeriesInstanceUID}/{dataset.SOPInstanceUID}.dcm"


def failure(node: Node) -> str:
    (status,) = node.database.run(lambda c: outbox.status(c, "route"))
    return status.error


def try_now(node: Node) -> None:
    node.database.run(lambda c: c.execute("update hapacs.task set due_at = now() where state = 'waiting'"))
    node.database.run(lambda c: outbox.intervene(c, "retry", Selection("peer"), "op", "it is back"))


def test_each_image_is_an_object_of_its_study_and_series_with_equal_bytes(
    site: Node, services: Callable[..., Service], peer: Peer, access: Access, postgres: Postgres
) -> None:
    load_peer(site, destination(peer), ALL_CT)
    sent = [image()[1] for _ in range(4)]
    # A second task of the same image.
    for content in [*sent, sent[0]]:
        store(site, postgres, content)
    run_until(services(access), lambda: counts(site)["confirmed"] == 5, "the confirmations")
    assert peer.objects() == {key(content): content for content in sent}
    assert peer.client.head_object(Bucket=NAME, Key=key(sent[0]))["ContentType"] == "application/dicom"


def test_images_wait_while_the_gateway_is_down_and_arrive_when_it_is_back(
    site: Node, services: Callable[..., Service], peer: Peer, access: Access, postgres: Postgres
) -> None:
    load_peer(site, destination(peer), ALL_CT)
    content = image()[1]
    store(site, postgres, content)
    peer.servers.gateways[0].kill()
    service = services(access)
    run_until(service, lambda: failure(site) != "" and counts(site)["waiting"] == 1, "the failure")
    (task,) = site.database.run(lambda c: outbox.tasks(c, Selection("peer"), None, 10))
    assert (task.state, task.attempts) == ("waiting", 0)
    peer.servers.resume()
    try_now(site)
    run_until(service, lambda: counts(site)["confirmed"] == 1, "the confirmation")
    assert peer.objects() == {key(content): content}


def test_an_object_that_is_there_is_not_stored_again_when_only_absent_images_are_sent(
    site: Node, services: Callable[..., Service], peer: Peer, access: Access, postgres: Postgres
) -> None:
    load_peer(site, destination(peer), ALL_CT | {"only_if_absent": True})
    (had, content), (_, other) = image(), image()
    peer.client.put_object(Bucket=NAME, Key=key(content), Body=b"from elsewhere")
    for one in (content, other):
        store(site, postgres, one)
    run_until(services(access), lambda: counts(site)["confirmed"] == 2, "the confirmations")
    assert peer.objects() == {key(content): b"from elsewhere", key(other): other}
    with postgres.connect() as connection:
        found = connection.execute("select attempts, reason from hapacs.task where sop = %s", [had]).fetchall()
    assert found == [(0, "not sent: the destination has it already")]


def test_an_image_is_not_confirmed_when_other_bytes_are_read_back(
    peer: Peer, access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = image()[1]
    put = obstore.put

    def damage(at: Any, name: str, file: bytes, **options: Any) -> None:
        put(at, name, file[:-1] + b"\xff\xff", **options)

    monkeypatch.setattr(obstore, "put", damage)
    with bucket.enter(model(peer), [asked(content)], access) as opened:
        (ended,) = opened.send([(asked(content), parse(content))])
    assert (ended.state, ended.reason) == ("waiting", "the bucket returns other bytes than were stored")


def test_an_image_that_can_not_be_read_back_is_not_confirmed(
    peer: Peer, access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = image()[1]
    monkeypatch.setattr(obstore, "put", lambda *_, **__: None)
    with bucket.enter(model(peer), [asked(content)], access) as opened, pytest.raises(UnansweredError, match="404"):
        opened.send([(asked(content), parse(content))])


def test_a_uid_that_leads_elsewhere_is_no_key(peer: Peer, access: Access) -> None:
    content = image()[1]
    with bucket.enter(model(peer), [], access) as opened:
        (ended,) = opened.send([(asked(content, "../../1"), parse(content))])
    assert (ended.state, peer.objects()) == ("dead", {})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"credentials": "wrong"}, "403"),
        ({"credentials": "absent"}, "no secret absent"),
        ({"bucket": "missing"}, "404"),
        # This key may read and write another bucket only.
        ({"user": ACCESS_KEY, "credentials": "node"}, "403"),
    ],
)
def test_ping_names_what_is_wrong_with_key_or_bucket_and_no_secret(
    peer: Peer, access: Access, wrong: dict[str, object], said: str
) -> None:
    with pytest.raises(PeerError, match=said) as raised:
        session.ping(model(peer, **wrong), access)
    assert SECRET not in str(raised.value)
    assert SECRET_KEY not in str(raised.value)


def test_ping_lists_a_bucket_with_the_right_key(peer: Peer, access: Access) -> None:
    assert session.ping(model(peer), access) == "the bucket can be listed"
    other = model(peer, bucket=BUCKET, user=ACCESS_KEY, credentials="node", prefix=None)
    assert session.ping(other, access) == "the bucket can be listed"


def test_a_server_of_an_unknown_authority_gets_nothing_and_one_of_the_authority_given_does(
    peer: Peer, access: Access, tmp_path: Path
) -> None:
    Authority(tmp_path / "other", "pacs", "passphrase").ensure()
    other = tmp_path / "other/pacs/ca.crt"
    bucket.trust_only(other)
    stranger = Access(Identity(peer.identity.certificate, peer.identity.key, other), access.secrets)
    with pytest.raises(PeerError, match="error sending request"):
        session.ping(model(peer), stranger)
    given = model(peer, authority=peer.identity.authority.read_text())
    assert session.ping(given, stranger) == "the bucket can be listed"
