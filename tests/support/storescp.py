"""dcmtk's storescp: a destination that was not written here."""

from __future__ import annotations

import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.support.ports import listens

# pynetdicom installs a program of the same name into the virtual environment.
PROGRAM = shutil.which("storescp", path="/usr/bin:/usr/local/bin")


@dataclass
class StoreScp:
    """A storescp that keeps what it receives.

    Parameters
    ----------
    port
        Where it listens, at all addresses.
    directory
        Where it writes.
    options
        More of its options.
    syntaxes
        The option that says which transfer syntaxes it accepts; all unless given.
    """

    port: int
    directory: Path
    options: tuple[str, ...] = ()
    syntaxes: str = "+xa"
    process: subprocess.Popen[bytes] | None = None

    def start(self, timeout_s: float = 120) -> None:
        """Start it, and wait until it takes connections."""
        self.directory.mkdir(exist_ok=True)
        # +B writes the data set as it came, without changes.
        command = [
            str(PROGRAM),
            self.syntaxes,
            "+B",
            "-od",
            str(self.directory),
            "-aet",
            "PEER",
            *self.options,
            str(self.port),
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + timeout_s
        while not listens(self.port):
            assert self.process.poll() is None, f"storescp ended with {self.process.returncode}"
            assert time.monotonic() < end, "storescp takes no connection"
            time.sleep(0.1)

    def stop(self) -> None:
        """Kill it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(timeout=10)

    def received(self) -> dict[str, Path]:
        """Return the files that it wrote, by SOP Instance UID."""
        return {path.name.partition(".")[2]: path for path in self.directory.iterdir()}
