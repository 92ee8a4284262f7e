"""With `confirm: query` an image is confirmed when the destination lists it: dcmtk's dcmqrscp by C-FIND."""

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from hapacs_node.catalog import outbox
from hapacs_node.catalog.outbox import Listed, Selection
from hapacs_node.node import Node
from hapacs_node.routing import query, session
from hapacs_node.routing.destination import DicomDestination
from hapacs_node.routing.peer import Access, PeerError
from hapacs_node.routing.service import Service
from tests.storage.routed import ALL_CT, asked, counts, image, load_peer, run_until, store
from tests.storage.servers import Postgres, free_ports
from tests.support.dcmqrscp import PROGRAM, DcmQrScp
from tests.support.storescp import StoreScp

pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="dcmtk is not installed"),
    pytest.mark.timeout(200),
]


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[DcmQrScp]:
    server = DcmQrScp(free_ports(1)[0], tmp_path / "dcmqrscp")
    server.start()
    yield server
    server.stop()


def destination(port: int, **more: Any) -> dict[str, Any]:
    return {
        "ae_title": "PEER", "host": "127.0.0.1", "port": port, "timeout_s": 20, "confirm": "query",
    } | more  # fmt: skip


def tasks(node: Node) -> list[Listed]:
    return list(node.database.run(lambda c: outbox.tasks(c, Selection("peer"), None, 100)))


def ask_now(node: Node) -> None:
    """Let the pause before the next question pass."""
    node.database.run(lambda c: c.execute("update hapacs.task set due_at = now() where state = 'waiting'"))


def let_pass(node: Node, hours: int) -> None:
    """Let hours pass since the destination took the images."""
    node.database.run(
        lambda c: c.execute("update hapacs.task set taken_at = taken_at - %s * interval '1 hour'", [hours])
    )
    ask_now(node)


def taken(node: Node, number: int) -> bool:
    return [task.reason for task in tasks(node) if task.state == "waiting"].count("taken; not listed yet") == number


def test_images_are_confirmed_once_the_destination_lists_them(
    site: Node, services: Callable[[], Service], peer: DcmQrScp, postgres: Postgres
) -> None:
    load_peer(site, destination(peer.port), ALL_CT)
    sent = dict(image() for _ in range(5))
    for content in sent.values():
        store(site, postgres, content)
    service = services()
    run_until(service, lambda: taken(site, 5), "the answers to C-STORE")
    assert counts(site)["confirmed"] == 0
    ask_now(site)
    run_until(service, lambda: counts(site)["confirmed"] == 5, "the confirmations")
    with postgres.connect() as connection:
        found = connection.execute("select state, attempts, reason from hapacs.task").fetchall()
    assert found == [("confirmed", 1, "")] * 5


def test_an_image_that_is_listed_late_is_not_sent_again_and_one_that_is_lost_is(
    site: Node, services: Callable[[], Service], peer: DcmQrScp, postgres: Postgres
) -> None:
    load_peer(site, destination(peer.port), ALL_CT)
    store(site, postgres, image()[1])
    service = services()
    run_until(service, lambda: taken(site, 1), "the answer to C-STORE")
    peer.forget()
    before = tasks(site)[0].due_at
    ask_now(site)
    run_until(service, lambda: taken(site, 1) and tasks(site)[0].due_at > before, "the first question")
    (task,) = tasks(site)
    assert (task.state, task.attempts) == ("waiting", 1)
    let_pass(site, 2)
    run_until(service, lambda: taken(site, 1) and tasks(site)[0].attempts == 2, "the second C-STORE")
    ask_now(site)
    run_until(service, lambda: counts(site)["confirmed"] == 1, "the confirmation")


def test_a_destination_without_c_find_keeps_its_images_waiting_and_still_gets_others(
    site: Node, services: Callable[[], Service], tmp_path: Path, postgres: Postgres
) -> None:
    scp = StoreScp(free_ports(1)[0], tmp_path / "received")
    scp.start()
    try:
        load_peer(site, destination(scp.port), ALL_CT)
        store(site, postgres, image()[1])
        service = services()
        run_until(service, lambda: taken(site, 1), "the answer to C-STORE")
        let_pass(site, 50)
        run_until(service, lambda: "takes no C-FIND" in tasks(site)[0].reason, "the question")
        (status,) = site.database.run(lambda c: outbox.status(c, "route"))
        assert (status.failures, status.confirmed, tasks(site)[0].attempts) == (0, 0, 1)
        store(site, postgres, image()[1])
        run_until(service, lambda: taken(site, 1) and len(scp.received()) == 2, "the second image")
        with pytest.raises(PeerError, match="takes no C-FIND"):
            session.ping(DicomDestination.model_validate(destination(scp.port)), Access())
        load_peer(site, destination(scp.port, confirm="response"), ALL_CT)
        ask_now(site)
        run_until(service, lambda: counts(site)["confirmed"] == 2, "the confirmations by the answers alone")
        assert len(scp.received()) == 2
    finally:
        scp.stop()


def beside(content: bytes) -> bytes:
    """Make another image of the same series."""
    first, dataset = dcmread(BytesIO(content)), dcmread(BytesIO(image()[1]))
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = first.StudyInstanceUID, first.SeriesInstanceUID
    output = BytesIO()
    dataset.save_as(output)
    return output.getvalue()


def test_of_several_series_those_images_are_returned_that_the_destination_lists(
    site: Node, services: Callable[[], Service], peer: DcmQrScp, postgres: Postgres
) -> None:
    load_peer(site, destination(peer.port, confirm="response"), ALL_CT)
    (_, one), (_, other) = image(), image()
    contents = [one, beside(one), beside(one), other]
    for content in contents:
        store(site, postgres, content)
    run_until(services(), lambda: counts(site)["confirmed"] == 4, "the confirmations")
    kept = [asked(content) for content in contents]
    missing = [asked(one, "1.2.3"), asked(other, "1.2.4"), asked(image()[1])]
    at = DicomDestination.model_validate(destination(peer.port))
    assert query.listed(at, [*missing, kept[0], kept[2], kept[3]], Access()) == {
        kept[number].sop for number in (0, 2, 3)
    }
