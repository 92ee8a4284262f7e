"""With `confirm: commitment` an image is confirmed when the destination reports that it keeps it, on any node."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from hapacs_node.catalog import outbox
from hapacs_node.catalog.outbox import Listed, Selection
from hapacs_node.commitment.relay import Relay
from hapacs_node.commitment.settings import Address
from hapacs_node.metrics import Metrics
from hapacs_node.node import Node
from hapacs_node.routing import reported, session
from hapacs_node.routing.destination import DicomDestination
from hapacs_node.routing.peer import Access, PeerError
from hapacs_node.routing.service import Service
from tests.storage.routed import ALL_CT, counts, image, load_peer, run_until, store
from tests.storage.servers import Postgres, free_ports
from tests.support.committing import Committing, Request, report

pytestmark = pytest.mark.timeout(200)


@pytest.fixture
def peer() -> Iterator[Committing]:
    with Committing(free_ports(1)[0]) as made:
        yield made


@pytest.fixture
def relay(site: Node) -> Iterator[int]:
    """Run what takes reports at the virtual address, without a storing service behind it; return its port."""
    stop = threading.Event()
    nobody = Address(host="127.0.0.1", port=free_ports(1)[0])
    take = partial(reported.take, site.database)
    made = Relay(Address.model_construct(host="127.0.0.1", port=0), nobody, lambda *_: None, take, Metrics())
    thread = threading.Thread(target=made.run, args=(stop, 0.1))
    thread.start()
    assert made.wait(30)
    yield made.port
    stop.set()
    thread.join(60)
    assert not thread.is_alive()


def destination(port: int, **more: Any) -> dict[str, Any]:
    return {
        "ae_title": "PEER", "host": "127.0.0.1", "port": port, "timeout_s": 20, "confirm": "commitment",
    } | more  # fmt: skip


def tasks(node: Node) -> list[Listed]:
    return list(node.database.run(lambda c: outbox.tasks(c, Selection("peer"), None, 100)))


def ended(node: Node, state: str) -> list[Listed]:
    return list(node.database.run(lambda c: outbox.tasks(c, Selection("peer"), state, 100)))


def ask_now(node: Node) -> None:
    """Let the pause before the next request pass."""
    node.database.run(lambda c: c.execute("update hapacs.task set due_at = now() where state = 'waiting'"))


def requested(node: Node, service: Service, peer: Committing, number: int = 1) -> Request:
    """Let images be sent and asked for; return the request."""
    run_until(service, lambda: len([one for one in tasks(node) if "taken" in one.reason]) == number, "the C-STOREs")
    ask_now(node)
    run_until(service, lambda: not peer.requests.empty(), "the request")
    run_until(service, lambda: "in flight" not in {one.state for one in tasks(node)}, "the end of the association")
    return peer.requests.get()


def test_image_is_confirmed_by_the_report_and_not_before(
    site: Node, services: Callable[[], Service], peer: Committing, postgres: Postgres, relay: int
) -> None:
    load_peer(site, destination(peer.port), ALL_CT)
    sent = dict(image() for _ in range(3))
    for content in sent.values():
        store(site, postgres, content)
    request = requested(site, services(), peer, 3)
    assert {sop for _, sop in request.images} == set(sent)
    assert counts(site)["confirmed"] == 0
    assert {task.reason for task in tasks(site)} == {"taken; its storage commitment is requested"}
    assert report(relay, request) == 0
    assert counts(site) == dict.fromkeys(outbox.STATES, 0) | {"confirmed": 3}
    assert {(task.attempts, task.reason) for task in ended(site, "confirmed")} == {(1, "storage commitment")}
    # A report that comes twice changes and counts nothing.
    assert report(relay, request) == 0
    assert counts(site)["confirmed"] == 3
    assert len(peer.stored) == 3


def test_report_on_the_association_of_the_request_is_taken(
    site: Node, services: Callable[[], Service], peer: Committing, postgres: Postgres
) -> None:
    peer.same = True
    load_peer(site, destination(peer.port), ALL_CT)
    store(site, postgres, image()[1])
    service = services()
    run_until(service, lambda: bool(tasks(site)) and "taken" in tasks(site)[0].reason, "the C-STORE")
    ask_now(site)
    run_until(service, lambda: counts(site)["confirmed"] == 1, "the report")
    assert peer.answers.get(timeout=30) == 0


def test_report_reaches_the_tasks_of_a_node_that_was_powered_off(
    site: Node, services: Callable[[], Service], peer: Committing, postgres: Postgres, relay: int
) -> None:
    load_peer(site, destination(peer.port), ALL_CT)
    store(site, postgres, image()[1])
    lost = services()
    request = requested(site, lost, peer)
    lost.close()
    # It died with the association open: its lease is still there.
    with postgres.connect() as connection:
        connection.execute(
            "update hapacs.task set state = 'in flight', holder = 'pacs1:lost', leased_until = now() + interval '9 min'"
        )
    assert report(relay, request) == 0
    assert counts(site)["confirmed"] == 1


def test_only_images_that_were_not_kept_are_sent_again(
    site: Node, services: Callable[[], Service], peer: Committing, postgres: Postgres, relay: int
) -> None:
    load_peer(site, destination(peer.port), ALL_CT)
    (kept, one), (missing, other), (refused, third) = image(), image(), image()
    for content in (one, other, third):
        store(site, postgres, content)
    service = services()
    request = requested(site, service, peer, 3)
    assert report(relay, request, {missing: 0x0112, refused: 0x0122}) == 0
    assert counts(site)["confirmed"] == 1
    assert [task.sop for task in ended(site, "confirmed")] == [kept]
    (dead,) = ended(site, "dead")
    assert (dead.sop, dead.reason) == (refused, "storage commitment failed with reason 0x0122")
    (waiting,) = ended(site, "waiting")
    assert (waiting.sop, waiting.reason) == (missing, "storage commitment failed with reason 0x0112")
    ask_now(site)
    again = requested(site, service, peer)
    assert peer.stored.count(missing) == 2
    assert peer.stored.count(kept) == 1
    # The failure of before is no failure of what was sent since.
    assert report(relay, request, {missing: 0x0112, refused: 0x0122}) == 0
    assert "requested" in ended(site, "waiting")[0].reason
    assert report(relay, again) == 0
    assert counts(site)["confirmed"] == 2


def test_without_a_report_the_request_is_repeated_and_the_late_report_of_the_first_one_counts(
    site: Node, services: Callable[[], Service], peer: Committing, postgres: Postgres, relay: int
) -> None:
    load_peer(site, destination(peer.port), ALL_CT)
    store(site, postgres, image()[1])
    service = services()
    first = requested(site, service, peer)
    ask_now(site)
    run_until(service, lambda: not peer.requests.empty(), "the second request")
    assert peer.requests.get().transaction != first.transaction
    assert len(peer.stored) == 1
    assert report(relay, first) == 0
    assert counts(site)["confirmed"] == 1


def test_who_was_not_asked_confirms_nothing(
    site: Node, services: Callable[[], Service], peer: Committing, postgres: Postgres, relay: int
) -> None:
    load_peer(site, destination(peer.port), ALL_CT)
    store(site, postgres, image()[1])
    request = requested(site, services(), peer)
    assert report(relay, request, title="CT1") == 0x0115
    assert report(relay, Request("1.2.3", request.images)) == 0x0115
    assert counts(site)["confirmed"] == 0


@pytest.mark.parametrize("refusal", [{"status": 0x0110}, {"commits": False}], ids=["status", "context"])
def test_destination_that_takes_no_request_keeps_its_images_waiting_and_gets_them_once(
    site: Node, services: Callable[[], Service], postgres: Postgres, refusal: dict[str, Any]
) -> None:
    with Committing(free_ports(1)[0], **refusal) as peer:
        load_peer(site, destination(peer.port), ALL_CT)
        store(site, postgres, image()[1])
        service = services()
        run_until(service, lambda: bool(tasks(site)) and "taken" in tasks(site)[0].reason, "the C-STORE")
        ask_now(site)
        why = "status 0x0110" if "status" in refusal else "takes no storage commitment"
        run_until(service, lambda: why in tasks(site)[0].reason, "the answer")
        (state,) = site.database.run(lambda c: outbox.status(c, "route"))
        assert (state.failures, state.confirmed, tasks(site)[0].attempts) == (0, 0, 1)
        assert len(peer.stored) == 1


def test_ping_says_that_a_destination_takes_no_requests() -> None:
    with Committing(free_ports(1)[0], commits=False) as other, pytest.raises(PeerError, match="no storage commitment"):
        session.ping(DicomDestination.model_validate(destination(other.port)), Access())
