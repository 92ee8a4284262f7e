"""Ends a command soon after Ctrl-C, SIGTERM or SIGHUP, whatever its threads and child processes are waiting for.

The first signal raises `KeyboardInterrupt` in the main thread, so that the terminal and temporary files are restored,
and passes SIGINT to child processes. After `GRACE_S`, or at a second signal, child processes are killed and the process
ends. A thread watches for this because the main thread may wait in code that no signal interrupts.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

GRACE_S = 1.0
"""Seconds that child processes and clean-up get before the process ends."""
EXIT_CODE = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_POLL_S = 0.05
_requested = threading.Event()


def requested() -> bool:
    """Return whether the command is being ended: failures from now on are its consequence."""
    return _requested.is_set()


class Workers(ThreadPoolExecutor):
    """A thread pool that does not delay the end of an interrupted command."""

    def __exit__(self, *exception: object) -> bool | None:
        """Wait for all threads, unless the command is being ended."""
        self.shutdown(wait=not requested(), cancel_futures=requested())
        return None


@dataclass(frozen=True)
class Process:
    """A process; its start time distinguishes it from a later one with the same number."""

    pid: int
    parent: int
    started: int

    @classmethod
    def read(cls, pid: int) -> Process | None:
        """Return the process of that number, or None when it has ended."""
        try:
            # The name, in parentheses, may hold blanks.
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            return None
        state, parent, started = fields[0], fields[1], fields[19]
        return None if state == "Z" else cls(pid, int(parent), int(started))

    def lives(self) -> bool:
        """Return whether it still runs."""
        return (now := self.read(self.pid)) is not None and now.started == self.started

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs and we may."""
        if self.lives():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, number)


def descendants(root: int) -> set[Process]:
    """Return all descendants of a process."""
    children: dict[int, list[Process]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (process := Process.read(int(entry.name))):
            children.setdefault(process.parent, []).append(process)
    found: set[Process] = set()
    parents = [root]
    while parents:
        below = children.get(parents.pop(), [])
        found.update(below)
        parents += [process.pid for process in below]
    return found


def kill(processes: set[Process]) -> None:
    """Kill processes, and the descendants of this process."""
    stopped: set[Process] = set()
    # Stopped first: one that still ran could start another one when its child is killed.
    while remaining := (processes | descendants(os.getpid())) - stopped:
        for process in remaining:
            process.send(signal.SIGSTOP)
        stopped |= remaining
    for process in stopped:
        process.send(signal.SIGKILL)


class Guard:
    """Ends this process when a signal asks for it.

    Parameters
    ----------
    sentence
        Returns what to print at the end: what was stopped, what may still run, and what to do next.
    """

    def __init__(self, sentence: Callable[[], str]) -> None:
        self._sentence = sentence
        self._ending = threading.Lock()
        self._deadline = float("inf")
        self._interrupted = False
        self._processes: set[Process] = set()

    def interrupt(self, _number: int, _frame: FrameType | None) -> None:
        """Interrupt the main thread; a second signal is left to the watching thread."""
        if not self._interrupted:
            self._interrupted = True
            self._begin()
            raise KeyboardInterrupt

    def _begin(self) -> None:
        self._deadline = min(self._deadline, time.monotonic() + GRACE_S)
        _requested.set()

    def watch(self, reading: int) -> None:
        """Wait for a signal, pass it on, and end the process after the grace time or at a second signal."""
        while (number := os.read(reading, 1)) not in {bytes([one]) for one in _SIGNALS}:
            if not number:
                return
        self._begin()
        # Threads fail when their child processes end; their errors are not printed.
        threading.excepthook = lambda _: None
        self._pass_on(signal.Signals(number[0]))
        select.select([reading], [], [], GRACE_S)
        self._deadline = 0
        self.end()

    def _pass_on(self, number: signal.Signals) -> None:
        self._processes = descendants(os.getpid())
        by_terminal = number == signal.SIGINT and _in_foreground()
        for process in self._processes:
            if process.parent != os.getpid():
                continue
            with suppress(ProcessLookupError):
                # Programs such as pulumi abort at a second SIGINT without finishing their current step.
                if not (by_terminal and os.getpgid(process.pid) == os.getpgrp()):
                    process.send(signal.SIGINT)

    def end(self) -> NoReturn:
        """Kill child processes that outlast the grace time, print the sentence, and end the process."""
        self._ending.acquire()
        self._processes |= descendants(os.getpid())
        while time.monotonic() < self._deadline and any(process.lives() for process in self._processes):
            time.sleep(_POLL_S)
        kill(self._processes)
        # Written directly: a thread that was stopped may hold a lock of the console.
        restore = "\x1b[?25h" if os.isatty(2) else ""
        with suppress(OSError):
            os.write(2, f"{restore}\n{self._sentence()}\n".encode())
        os._exit(EXIT_CODE)


def _in_foreground() -> bool:
    """Return whether Ctrl-C at the terminal reaches this process group."""
    try:
        with Path("/dev/tty").open("rb") as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False


@contextmanager
def guard(sentence: Callable[[], str]) -> Iterator[None]:
    """End the process soon after a signal that comes meanwhile.

    Parameters
    ----------
    sentence
        Returns what to print at the end.
    """
    made = Guard(sentence)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    # A command started with `nohup` keeps ignoring SIGHUP.
    numbers = [one for one in _SIGNALS if one != signal.SIGHUP or signal.getsignal(one) != signal.SIG_IGN]
    former_fd = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    former = {number: signal.getsignal(number) for number in numbers}
    watching = threading.Thread(target=made.watch, args=(reading,), name="interruption", daemon=True)
    try:
        # A signal may come as soon as it is handled, and starting a thread takes long on a busy machine.
        for number in numbers:
            signal.signal(number, made.interrupt)
        watching.start()
        yield
    finally:
        if requested():
            with suppress(OSError, ValueError):
                sys.stdout.flush()
            made.end()
        for number, handler in former.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(former_fd)
        os.close(writing)
        watching.join()
        os.close(reading)
