"""Signs of life of a process, and a process whose threads all wait for Python's lock."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hapacs_node.watchdog import Watchdog

PATIENCE_S = 0.3
# PyDLL keeps Python's lock while the foreign function runs, as Orthanc's Python plugin does when it calls Orthanc.
PROCESS = """
import ctypes, sys, time
from hapacs_node.watchdog import Watchdog

Watchdog.of_the_service().start()
sys.stdin.readline()
print("hangs", flush=True)
ctypes.PyDLL(None).sleep(600)
"""


@contextmanager
def manager(name: str) -> Iterator[socket.socket]:
    """The side of systemd that waits for signs of life."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name)
        listening.settimeout(10)
        yield listening


def heard(listening: socket.socket, for_s: float) -> int:
    """Count the signs of life within a time."""
    count, end = 0, time.monotonic() + for_s
    while (left := end - time.monotonic()) > 0:
        listening.settimeout(left)
        try:
            assert listening.recv(64) == b"WATCHDOG=1"
        except TimeoutError:
            break
        count += 1
    return count


@pytest.mark.parametrize("abstract", [False, True])
def test_signs_of_life_come_until_it_is_stopped(tmp_path: Path, abstract: bool) -> None:
    bound = f"\0{tmp_path}" if abstract else str(tmp_path / "notify")
    with manager(bound) as listening:
        watchdog = Watchdog(bound.replace("\0", "@"), PATIENCE_S)
        watchdog.start()
        assert [listening.recv(64) for _ in range(4)] == [b"WATCHDOG=1"] * 4
        watchdog.stop()
        heard(listening, PATIENCE_S)
        assert heard(listening, 2 * PATIENCE_S) == 0


def test_it_goes_on_when_the_service_manager_is_away_for_a_moment(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = tmp_path / "notify"
    watchdog = Watchdog(str(name), PATIENCE_S)
    watchdog.start()
    while "sign_of_life_failed" not in caplog.text:
        time.sleep(0.01)
    with manager(str(name)) as listening:
        assert listening.recv(64) == b"WATCHDOG=1"
    watchdog.stop()


def test_nothing_is_sent_where_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    monkeypatch.setenv("NOTIFY_SOCKET", "/nonexistent")
    before = set(threading.enumerate())
    Watchdog.of_the_service().start()
    assert set(threading.enumerate()) <= before


def test_a_process_whose_python_lock_is_held_for_ever_is_silent(tmp_path: Path) -> None:
    name = tmp_path / "notify"
    environment = os.environ | {"NOTIFY_SOCKET": str(name), "WATCHDOG_USEC": str(int(PATIENCE_S * 1e6))}
    with (
        manager(str(name)) as listening,
        subprocess.Popen(
            [sys.executable, "-c", PROCESS], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process,
    ):
        try:
            assert listening.recv(64) == b"WATCHDOG=1"
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "hangs\n"
            heard(listening, PATIENCE_S)
            assert heard(listening, 2 * PATIENCE_S) == 0
            assert process.poll() is None
        finally:
            process.send_signal(signal.SIGKILL)
