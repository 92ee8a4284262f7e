"""Stored images leave for an Orthanc by STOW-RS over TLS with a password."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import dcmread

from hapacs.pki import Authority
from hapacs_node.catalog import outbox
from hapacs_node.catalog.outbox import Selection
from hapacs_node.node import Node
from hapacs_node.routing import query, session
from hapacs_node.routing.destination import WebDestination
from hapacs_node.routing.peer import Access, Identity, PeerError
from hapacs_node.routing.query import QueryError
from hapacs_node.routing.service import Service
from tests.storage.routed import ALL_CT, asked, counts, image, load_peer, run_until, store
from tests.storage.servers import Postgres, free_ports
from tests.support import orthanc
from tests.support.orthanc import Orthanc
from tests.support.tls_front import tls_front
from tests.unit.node.certificates import certificate

USER, PASSWORD = "hapacs", "password-of-the-test"

pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True)
class Peer:
    """An Orthanc with a user, and TLS in front of it.

    Attributes
    ----------
    url
        Where it answers.
    identity
        Its certificate, with which the node shows itself too.
    """

    url: str
    identity: Identity


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    if not orthanc.image():
        pytest.skip("it needs root, podman and an image of the nodes: `make lab`")
    directory = tmp_path_factory.mktemp("orthanc")
    authority = Authority(directory / "pki", "pacs", "passphrase")
    authority.ensure()
    own, key = certificate(authority, directory, "peer", "server", "client")
    login = {"AuthenticationEnabled": True, "RegisteredUsers": {USER: PASSWORD}}
    server = Orthanc(free_ports(1)[0], directory, login)
    try:
        server.start()
        with tls_front(server.port, own, key) as port:
            yield Peer(f"https://127.0.0.1:{port}", Identity(own, key, authority.certificate_file))
    finally:
        server.stop()


def destination(peer: Peer, **more: object) -> dict[str, Any]:
    authority = peer.identity.authority.read_text()
    return {
        "kind": "dicomweb", "url": f"{peer.url}/dicom-web", "user": USER, "credentials": "peer", "authority": authority,
        "timeout_s": 60,
    } | more  # fmt: skip


@pytest.fixture
def access(peer: Peer, tmp_path: Path) -> Access:
    (tmp_path / "secrets.json").write_text(json.dumps({"peer": PASSWORD, "wrong": "other"}))
    return Access(peer.identity, tmp_path / "secrets.json")


def received(peer: Peer) -> dict[str, bytes]:
    """Return the files that Orthanc keeps, by SOP Instance UID."""
    # Orthanc ends a connection that is idle for a second, which a busy machine makes of the time between two requests.
    fresh = httpx.Limits(max_keepalive_connections=0)
    with httpx.Client(base_url=peer.url, auth=(USER, PASSWORD), verify=False, limits=fresh) as client:  # noqa: S501
        files = [client.get(f"/instances/{name}/file").content for name in client.get("/instances").json()]
    return {str(dcmread(BytesIO(content)).SOPInstanceUID): content for content in files}


def test_images_arrive_byte_for_byte_and_each_is_confirmed(
    site: Node, services: Callable[..., Service], peer: Peer, access: Access, postgres: Postgres
) -> None:
    load_peer(site, destination(peer), ALL_CT)
    sent = dict(image() for _ in range(5))
    for content in sent.values():
        store(site, postgres, content)
    run_until(services(access), lambda: counts(site)["confirmed"] == 5, "the confirmations")
    kept = received(peer)
    assert {sop: kept[sop] for sop in sent} == sent


def test_a_wrong_password_is_a_failure_of_the_destination_and_no_image_is_counted_as_tried(
    site: Node, services: Callable[..., Service], peer: Peer, access: Access, postgres: Postgres
) -> None:
    load_peer(site, destination(peer, credentials="wrong"), ALL_CT)
    sop, content = image()
    store(site, postgres, content)

    def failures() -> int:
        (status,) = site.database.run(lambda c: outbox.status(c, "route"))
        return status.failures

    service = services(access)
    run_until(service, lambda: failures() >= 1 and counts(site)["waiting"] == 1, "the failure")
    (status,) = site.database.run(lambda c: outbox.status(c, "route"))
    assert "HTTP status 401" in status.error
    assert PASSWORD not in status.error
    (task,) = site.database.run(lambda c: outbox.tasks(c, Selection("peer"), None, 10))
    assert (task.state, task.attempts) == ("waiting", 0)
    load_peer(site, destination(peer), ALL_CT)
    site.database.run(lambda c: outbox.intervene(c, "retry", Selection("peer"), "op", "the password is right now"))
    run_until(service, lambda: counts(site)["confirmed"] == 1, "the confirmation")
    assert failures() == 0
    assert received(peer)[sop] == content


def test_only_images_that_qido_does_not_list_are_sent(
    site: Node, services: Callable[..., Service], peer: Peer, access: Access, postgres: Postgres
) -> None:
    (had, first), (new, other) = image(), image()
    load_peer(site, destination(peer), ALL_CT)
    store(site, postgres, first)
    service = services(access)
    run_until(service, lambda: counts(site)["confirmed"] == 1, "the first image")
    load_peer(site, destination(peer), ALL_CT | {"only_if_absent": True})
    for content in (first, other):
        store(site, postgres, content)
    run_until(service, lambda: counts(site)["confirmed"] == 3, "the confirmations")
    with postgres.connect() as connection:
        found = connection.execute("select sop, attempts, reason from hapacs.task order by id").fetchall()
    assert found[0] == (had, 1, "")
    assert set(found[1:]) == {(had, 0, "not sent: the destination has it already"), (new, 1, "")}


def test_ping_needs_the_right_password_and_the_right_authority(peer: Peer, access: Access, tmp_path: Path) -> None:
    def ping(**more: object) -> str:
        return session.ping(WebDestination.model_validate(destination(peer, **more)), access)

    # Orthanc has no OPTIONS.
    assert ping() == "QIDO-RS: HTTP status 200 (OK)"
    with pytest.raises(PeerError, match="HTTP status 401"):
        ping(credentials="wrong")
    Authority(tmp_path / "pki", "pacs", "passphrase").ensure()
    with pytest.raises(PeerError, match="CERTIFICATE_VERIFY_FAILED"):
        ping(authority=(tmp_path / "pki/pacs/ca.crt").read_text())


def test_an_image_is_confirmed_when_qido_lists_it_and_another_one_is_not(
    site: Node, services: Callable[..., Service], peer: Peer, access: Access, postgres: Postgres
) -> None:
    load_peer(site, destination(peer, confirm="query"), ALL_CT)
    sent = dict(image() for _ in range(3))
    for content in sent.values():
        store(site, postgres, content)

    def taken() -> int:
        found = site.database.run(lambda c: outbox.tasks(c, Selection("peer"), None, 10))
        return sum(task.reason == "taken; not listed yet" for task in found)

    service = services(access)
    run_until(service, lambda: taken() == 3, "the answers to STOW-RS")
    assert counts(site)["confirmed"] == 0
    site.database.run(lambda c: c.execute("update hapacs.task set due_at = now()"))
    run_until(service, lambda: counts(site)["confirmed"] == 3, "the confirmations")
    assert set(sent) <= set(received(peer))
    (sop, content), *_ = sent.items()
    (of_sent, missing) = (asked(content), replace(asked(content), sop=f"{sop}.1"))
    at = WebDestination.model_validate(destination(peer, confirm="query"))
    assert query.listed(at, [of_sent, missing], access) == {sop}
    assert query.listed(at, [replace(missing, study="1.2.3")], access) == set()
    with pytest.raises(QueryError, match="HTTP status 401"):
        query.listed(at.model_copy(update={"credentials": "wrong"}), [of_sent], access)
