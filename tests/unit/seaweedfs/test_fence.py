"""Which daemon of the archive counts as hung, and that only such a one is killed."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.unit.ansible.loading import load_script

fence = load_script("seaweedfs/files/seaweedfs-fence")


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """A port whose kernel takes connections, as that of a stopped process does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def daemon() -> Iterator[int]:
    """A port that answers every page with 404 or 501, as a daemon's does that has no such page."""
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_daemon_that_takes_the_connection_and_is_silent_does_not_answer(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fence, "ANSWER_S", 0.2)
    assert not fence.answers(listening.getsockname()[1])


def test_error_page_is_an_answer(daemon: int) -> None:
    assert fence.answers(daemon)


def test_refused_connection_is_an_answer(listening: socket.socket) -> None:
    port = listening.getsockname()[1]
    listening.close()
    assert fence.answers(port)


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(fence, "kill", found.append)
    return found


def watched(answers: str, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Watch a daemon that answers (1) or not (0), and return how long was waited before each request."""
    given = iter(answers)
    waits: list[float] = []

    def stop(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) > len(answers)

    monkeypatch.setattr(fence, "answers", lambda _: next(given) == "1")
    fence.watch("seaweedfs-master", 1, stop)
    return waits


@pytest.mark.parametrize(
    ("answers", "kills"), [("1" * 20, 0), ("1000100010001", 0), ("10000", 1), ("100001111", 1), ("00000000", 2)]
)
def test_four_requests_in_a_row_without_an_answer_end_it(
    answers: str, kills: int, killed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    watched(answers, monkeypatch)
    assert killed == ["seaweedfs-master"] * kills


def test_next_request_follows_a_silent_one_at_once(killed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert watched("1001", monkeypatch) == [1, 1, 0, 0, 1]
    assert killed == []


def test_unit_is_killed_as_a_whole_and_a_failure_is_reported(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FileNotFoundError):
        fence.kill("seaweedfs-master")
    ran: list[list[str]] = []

    class Done:
        returncode, stderr = 1, "Unit not loaded.\n"

    def run(command: list[str], **_: object) -> Done:
        ran.append(command)
        return Done()

    monkeypatch.setattr(fence.subprocess, "run", run)
    fence.kill("seaweedfs-master")
    assert ran == [["systemctl", "kill", "--signal=KILL", "seaweedfs-master.service"]]
    assert "seaweedfs-master can't be killed: Unit not loaded." in capfd.readouterr().err


def test_wrong_words_end_it_with_its_usage(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["seaweedfs-fence", "seaweedfs-master"])
    assert fence.main() == 2
    assert "UNIT=PORT" in capfd.readouterr().err
