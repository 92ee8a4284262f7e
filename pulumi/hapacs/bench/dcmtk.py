"""dcmtk's storescp as a destination that keeps nothing, and its storescu as the reference for what sends to it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from hapacs.errors import HapacsError

CALLED, CALLING = "BENCH", "HAPACS"
"""AE titles of the destination and of who sends."""
_START_S = 30
# DCMTK leaves Nagle's algorithm on unless told so, and each answer would take storescu 40 ms.
_AT_ONCE = {"TCP_NODELAY": "1"}


def program(name: str) -> str:
    """Return the path of one of dcmtk's programs.

    Raises
    ------
    HapacsError
        When it is not installed.
    """
    # pynetdicom installs programs of the same names into the virtual environment.
    found = shutil.which(name, path="/usr/bin:/usr/local/bin")
    if found is None:
        raise HapacsError(f"dcmtk's {name} is not installed.", "`apt-get install dcmtk`")
    return found


def send(files: Sequence[Path], port: int) -> float:
    """Send the files of each directory by a storescu of its own, and return how many a second."""
    storescu = program("storescu")
    begun = time.perf_counter()
    running = [
        subprocess.Popen(
            [storescu, "-aet", CALLING, "-aec", CALLED, "+sd", "127.0.0.1", str(port), str(place)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=os.environ | _AT_ONCE,
        )
        for place in files
        if any(place.iterdir())
    ]
    said = [process.communicate()[1] for process in running]
    if any(process.returncode for process in running):
        raise HapacsError(f"storescu failed: {said[0].decode(errors='replace')[:200]}.", "Run the benchmark again.")
    return sum(len(list(place.iterdir())) for place in files) / (time.perf_counter() - begun)


class Destination:
    """A storescp that serves each association in a process of its own, and keeps nothing."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("", 0))
            self.port: int = probe.getsockname()[1]
        self._program = program("storescp")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        command = [self._program, "--fork", "--ignore", "-aet", CALLED, str(self.port)]
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | _AT_ONCE
        )
        end = time.monotonic() + _START_S
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > end:
                raise HapacsError(f"storescp does not listen at port {self.port}.", "Run the benchmark again.")
            time.sleep(0.1)

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=10)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
