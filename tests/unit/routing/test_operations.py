"""Several C-STOREs that wait for their answers in one association: with peers that grant it, and with dcmtk's."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from uuid import UUID

import pytest

from hapacs_node.catalog.tasks import Task
from hapacs_node.outbox.answers import Ended
from hapacs_node.routing import pdus, send
from hapacs_node.routing.destination import DicomDestination
from hapacs_node.routing.image import Message
from hapacs_node.routing.peer import Access, PeerError, UnansweredError
from hapacs_node.routing.send import StoreSession
from tests.support.storescp import StoreScp
from tests.unit.routing.test_wire import CT, accept, free_port, image, peer, read_image, read_pdu, storescp
from tests.unit.routing.test_wire import _answer as answer
from tests.unit.routing.test_wire import _value as value

Loaded = list[tuple[Task, Message]]


def loaded(count: int, size: int = 10_000) -> Loaded:
    """Make images with their tasks."""
    images = [image(16) for _ in range(count)]
    return [
        (Task(number, UUID(int=0), "1", "1.2", one.sop, CT[0], CT[1], size, "rule", None, 1), one)
        for number, one in enumerate(images, 1)
    ]


def to(port: int, operations: int = 4) -> DicomDestination:
    return DicomDestination(ae_title="PEER", host="127.0.0.1", port=port, timeout_s=5, operations=operations)


def tasks_of(images: Loaded) -> list[Task]:
    return [task for task, _ in images]


def sent(port: int, images: Loaded, operations: int = 4) -> list[Ended]:
    """Send images as the service does."""
    ends: list[Ended] = []
    by_task = {task.id: message for task, message in images}
    with send.associate(to(port, operations), tasks_of(images), Access()) as session:
        for group in session.requests(tasks_of(images)):
            ends += session.send([(task, by_task[task.id]) for task in group])
    return ends


def granting(granted: int | None, talk: Callable[[socket.socket], None]) -> Callable[[socket.socket], None]:
    """Return a peer that grants so many operations; None: what it is asked for."""

    def serve(connection: socket.socket) -> None:
        if granted is None:
            accept(connection)
        else:
            accept(connection, operations=granted)
        talk(connection)

    return serve


def answering(*orders: Sequence[int]) -> Callable[[socket.socket], None]:
    """Return a peer that reads as many images as each order has, then answers them in this order."""

    def talk(connection: socket.socket) -> None:
        for order in orders:
            for _ in order:
                read_image(connection)
            connection.sendall(b"".join(value(1, 3, answer(number)) for number in order))
        read_pdu(connection)

    return talk


def test_answers_count_in_any_order() -> None:
    images = loaded(6)
    with peer(granting(None, answering((5, 3, 2, 4), (7, 6)))) as port:
        ends = sent(port, images)
    assert {end.id: end.state for end in ends} == {task.id: "confirmed" for task, _ in images}


def test_no_more_wait_than_the_peer_grants() -> None:
    with peer(granting(2, answering((3, 2), (5, 4)))) as port:
        assert len(sent(port, loaded(4))) == 4


def test_a_peer_without_a_limit_gets_as_many_as_the_settings_say() -> None:
    with peer(granting(0, answering((4, 3, 2), (5,)))) as port:
        assert len(sent(port, loaded(4), operations=3)) == 4


def test_large_images_wait_alone() -> None:
    with peer(granting(None, answering((2,), (3,)))) as port:
        assert len(sent(port, loaded(2, size=20 << 20))) == 2


@storescp
def test_a_peer_that_does_not_negotiate_gets_one_after_the_other(tmp_path: Path) -> None:
    scp = StoreScp(free_port(), tmp_path / "received")
    scp.start()
    try:
        images = loaded(5)
        with send.associate(to(scp.port), tasks_of(images), Access()) as session:
            assert [len(group) for group in session.requests(tasks_of(images))] == [1] * 5
        assert [end.state for end in sent(scp.port, images)] == ["confirmed"] * 5
        assert set(scp.received()) == {str(message.sop) for _, message in images}
    finally:
        scp.stop()


def test_nothing_is_negotiated_unless_the_settings_say_so() -> None:
    plain = pdus.association_request(to(104, operations=1), "HAPACS", [CT])
    asked = pdus.association_request(to(104, operations=8), "HAPACS", [CT])
    # The sub-item (PS3.7 D.3.3.3.1): type 53H, length 4, eight invoked and one performed.
    item = b"\x53\x00\x00\x04\x00\x08\x00\x01"
    assert item in asked
    assert b"\x53\x00\x00\x04" not in plain


@pytest.fixture
def half() -> Iterator[int]:
    """A peer that answers the first one of three images, and ends the connection."""

    def talk(connection: socket.socket) -> None:
        for _ in range(3):
            read_image(connection)
        connection.sendall(value(1, 3, answer(2)))

    with peer(granting(None, talk)) as port:
        yield port


def test_what_was_answered_counts_when_the_association_ends(half: int) -> None:
    images = loaded(3)
    with send.associate(to(half), tasks_of(images), Access()) as session:
        assert isinstance(session, StoreSession)
        ends = session.send(images)
        assert [(end.id, end.state) for end in ends] == [(1, "confirmed"), (2, "waiting"), (3, "waiting")]
        with pytest.raises(PeerError, match="no answer"):
            session.send(images[:1])


def test_without_any_answer_all_are_unanswered() -> None:
    def talk(connection: socket.socket) -> None:
        read_image(connection)

    images = loaded(3)
    with peer(granting(None, talk)) as port, pytest.raises(UnansweredError):
        sent(port, images)
