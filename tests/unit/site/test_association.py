"""A C-ECHO without pynetdicom, tried on pynetdicom's own server and on peers that do not answer well."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined] # made at import time

from hapacs.site.association import Ends, problem

ACCEPTED = bytes.fromhex("02000000000400010000")
REFUSED = bytes.fromhex("03000000000400010103")
FULL = bytes.fromhex("03000000000400020302")
ABORTED = bytes.fromhex("07000000000400000000")


@pytest.fixture
def server() -> Iterator[Callable[[int], Ends]]:
    """Start an application entity that answers a C-ECHO with a status."""
    started = []

    def start(status: int) -> Ends:
        entity = AE("STORE")
        entity.require_calling_aet = ["CALLER"]
        entity.add_supported_context(Verification)
        running = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_ECHO, lambda _: status)])
        assert running is not None
        started.append(running)
        return Ends("127.0.0.1", running.server_address[1], "STORE", "CALLER")

    yield start
    for one in started:
        one.shutdown()


@contextmanager
def peer(*answers: bytes, stays: bool = False) -> Iterator[Ends]:
    """Run a peer that gives one answer for each request, then ends the connection or stays silent."""
    end = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                for answer in answers:
                    connection.recv(4096)
                    connection.sendall(answer)
                connection.recv(4096)
                if stays:
                    end.wait(10)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield Ends("127.0.0.1", listener.getsockname()[1], "STORE", "CALLER")
        end.set()
        thread.join(10)


def test_answered_echo_is_no_problem(server: Callable[[int], Ends]) -> None:
    assert problem(server(0x0000), 10) == ""


def test_status_of_a_failed_echo_is_named(server: Callable[[int], Ends]) -> None:
    assert problem(server(0x0122), 10) == "C-ECHO was answered with status 0x0122"


def test_caller_that_is_not_known_is_refused(server: Callable[[int], Ends]) -> None:
    ends = server(0x0000)
    stranger = Ends(ends.host, ends.port, ends.called, "STRANGER")
    assert problem(stranger, 10) == "the association was refused (result 1, source 1, reason 3)"


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ((REFUSED,), "the association was refused (result 1, source 1, reason 3)"),
        ((FULL,), "the association was refused: the caller has as many open associations as it may have"),
        ((ABORTED,), "the association was aborted"),
        ((ACCEPTED, ABORTED), "the association was aborted"),
        ((), "the connection was closed without an answer"),
        ((ACCEPTED,), "the connection was closed without an answer"),
    ],
)
def test_peer_that_does_not_complete_the_echo_is_a_problem(answers: tuple[bytes, ...], message: str) -> None:
    with peer(*answers) as ends:
        assert problem(ends, 10) == message


@pytest.mark.parametrize("answers", [(), (ACCEPTED,)], ids=["no answer", "silent after the acceptance"])
def test_silent_peer_is_given_up_at_the_deadline(answers: tuple[bytes, ...]) -> None:
    with peer(*answers, stays=True) as ends:
        begun = time.monotonic()
        assert problem(ends, 0.5) == "no answer within 0.5 s"
        assert time.monotonic() - begun < 3


def test_closed_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert problem(Ends("127.0.0.1", port, "STORE", "CALLER"), 5) == "Connection refused"
