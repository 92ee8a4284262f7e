"""dcmtk's dcmqrscp: a small archive that takes images and lists them, and was not written here."""

from __future__ import annotations

import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.support.ports import listens

PROGRAM = shutil.which("dcmqrscp", path="/usr/bin:/usr/local/bin")


@dataclass
class DcmQrScp:
    """A dcmqrscp that keeps images of the title PEER.

    Parameters
    ----------
    port
        Where it listens, at all addresses.
    directory
        Where it keeps images and its index.
    """

    port: int
    directory: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self, timeout_s: float = 120) -> None:
        """Start it, and wait until it takes connections."""
        kept = self.directory / "kept"
        kept.mkdir(parents=True, exist_ok=True)
        config = self.directory / "dcmqrscp.cfg"
        config.write_text(
            f"NetworkTCPPort = {self.port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
            "HostTable BEGIN\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
            f"AETable BEGIN\nPEER {kept} RW (100, 64mb) ANY\nAETable END\n"
        )
        # Without its processes for each association, that of Debian 12 crashes at the first release.
        command = [str(PROGRAM), "--fork", "--config", str(config)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + timeout_s
        while not listens(self.port):
            assert self.process.poll() is None, f"dcmqrscp ended with {self.process.returncode}"
            assert time.monotonic() < end, "dcmqrscp takes no connection"
            time.sleep(0.1)

    def stop(self) -> None:
        """Kill it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(timeout=10)

    def forget(self) -> None:
        """Remove its index: it lists nothing of what it has taken."""
        (self.directory / "kept/index.dat").unlink()
