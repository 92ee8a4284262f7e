"""Real processes that wait for servers that never answer, and are interrupted."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hapacs.deployment import PROJECT
from hapacs.errors import ExitCode

# Under `nohup` SIGHUP is ignored, which a command inherits and respects.
HAPACS = ("env", "--default-signal=HUP", sys.executable, "-c", "from hapacs.cli import main; main()")
DEADLINE_S = 120
"""Generous, for a busy machine; what is tested waits for minutes without an interruption."""
ENDED_S = 20
"""Longer than the promised two seconds, since the machine may be busy, and far shorter than the command runs."""


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port of loopback that accepts connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        yield listening.getsockname()[1]


@pytest.fixture
def environment(silent_port: int, tmp_path: Path) -> dict[str, str]:
    """The variables with which the lab's nodes and doors all are the silent port."""
    contract = json.loads((PROJECT / "tests" / "contract" / "lab.json").read_text(encoding="utf-8"))
    for site in contract["sites"].values():
        site["vip"]["address"] = "127.0.0.1"
        site["dicom"]["port"] = site["https_port"] = silent_port
        for node in site["nodes"].values():
            node |= {"address": "127.0.0.1", "management_address": "127.0.0.1", "ssh_port": silent_port}
    state = tmp_path / "state" / "lab"
    state.mkdir(parents=True)
    (state / "inventory.json").write_text(json.dumps(contract), encoding="utf-8")
    return os.environ | {"HAPACS_STATE_DIR": str(tmp_path / "state"), "HAPACS_CACHE_DIR": str(tmp_path / "cache")}


def until(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def connections(port: int) -> int:
    """Count the connections that wait at a port."""
    lines = Path("/proc/net/tcp").read_text(encoding="utf-8").splitlines()[1:]
    remote = f":{port:04X}"
    return sum(fields[2].endswith(remote) and fields[3] == "01" for fields in map(str.split, lines))


def command_lines(needle: str) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if needle in text:
            found.append(text)
    return found


@pytest.mark.parametrize(
    ("words", "sentence", "number"),
    [
        ("status lab", "Nothing was changed.", signal.SIGTERM),
        ("status lab --json", "Nothing was changed.", signal.SIGHUP),
        ("verify lab --only services", "The verification has no result", signal.SIGINT),
        ("verify lab --only c-echo --json", "The verification has no result", signal.SIGINT),
    ],
)
def test_a_command_that_waits_for_silent_nodes_ends_soon_and_says_what_is_true(
    environment: dict[str, str], silent_port: int, words: str, sentence: str, number: signal.Signals
) -> None:
    with subprocess.Popen(
        [*HAPACS, *words.split()], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        until(lambda: connections(silent_port) > 0, process)
        process.send_signal(number)
        out, err = process.communicate(timeout=ENDED_S)
    assert process.returncode == ExitCode.INTERRUPTED, (out, err)
    assert err.count(sentence) == 1
    assert "Traceback" not in err
    # A check that was stopped has not failed.
    assert "✗" not in out + err
    assert not command_lines(f"Port={silent_port}")


def test_a_command_that_has_not_read_its_words_yet_says_so(environment: dict[str, str]) -> None:
    slow = "import signal, sys; from hapacs import cli; cli._run = signal.pause; cli.main()"
    with subprocess.Popen(
        [sys.executable, "-c", slow], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        until(lambda: _handles(process), process)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=ENDED_S)
    assert process.returncode == ExitCode.INTERRUPTED
    assert "Interrupted before anything was begun." in err


EARLY = """
import os, signal, threading
from hapacs import interruption
class Thread(threading.Thread):
    def start(self):
        os.kill(os.getpid(), signal.SIGINT)
        super().start()
threading.Thread = Thread
with interruption.guard(lambda: "The sentence."):
    signal.pause()
"""


def test_a_signal_before_the_thread_that_watches_runs_ends_the_command_too() -> None:
    done = subprocess.run([sys.executable, "-c", EARLY], capture_output=True, text=True, timeout=ENDED_S, check=False)
    assert done.returncode == ExitCode.INTERRUPTED
    assert done.stderr.strip() == "The sentence."


def _handles(process: subprocess.Popen[str]) -> bool:
    """Return whether the process has a handler for SIGTERM: Python itself has none."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    caught = int(next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt")), 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


STUBBORN = """
import subprocess, sys, threading
from hapacs import interruption
deaf = "trap '' INT TERM HUP; echo begun; sleep 300.25 & wait; sleep 300.25"
with interruption.guard(lambda: "The sentence."):
    child = subprocess.Popen(["setsid", "--wait", "sh", "-c", deaf], stdout=subprocess.PIPE, text=True)
    child.stdout.readline()
    try:
        print("ready", flush=True)
        child.wait()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        child.wait()
"""


def test_child_processes_that_ignore_signals_are_killed_with_their_own_children() -> None:
    with subprocess.Popen([sys.executable, "-c", STUBBORN], text=True, stdout=-1, stderr=-1) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=ENDED_S)
    assert process.returncode == ExitCode.INTERRUPTED
    assert err.strip() == "The sentence."
    assert not command_lines("300.25")


def test_a_second_signal_ends_it_at_once() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STUBBORN.replace("interruption\n", "interruption; interruption.GRACE_S = 300\n", 1)],
        text=True, stdout=-1, stderr=-1,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=ENDED_S)
    assert process.returncode == ExitCode.INTERRUPTED
    assert not command_lines("300.25")


def test_ctrl_c_at_a_terminal_shows_no_failed_check_and_gives_the_cursor_back(
    environment: dict[str, str], silent_port: int
) -> None:
    child, terminal = pty.fork()
    if child == 0:
        os.execvpe(HAPACS[0], [*HAPACS, "verify", "lab", "--only", "services"], environment | {"TERM": "xterm"})  # noqa: S606
    deadline = time.monotonic() + DEADLINE_S
    while not connections(silent_port):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.write(terminal, b"\x03")
    shown = b""
    while True:
        try:
            shown += os.read(terminal, 4096)
        except OSError:
            break
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    text = shown.decode()
    assert os.waitstatus_to_exitcode(status) == ExitCode.INTERRUPTED
    assert "The verification has no result" in text
    assert "✗" not in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


def test_handlers_are_restored_when_nothing_was_interrupted() -> None:
    from hapacs import interruption  # noqa: PLC0415

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with interruption.guard(str):
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
    assert not interruption.requested()
