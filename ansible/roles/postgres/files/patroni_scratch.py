"""A cluster that only its own program reaches, over a socket in its own directory, while it is restored."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

# The index of ten million images is read in hours.
RECOVERY_S = 24 * 3600
# WAL comes from another site: with none for so long there is no more.
SILENT_S = 10.0
_LAST = re.compile(r"last completed transaction was at log time (.*)")


class UnfinishedError(Exception):
    """A step of a restore was not done; what to do is in the message."""


class Scratch:
    """A cluster that is started by hand.

    Parameters
    ----------
    cluster
        Its data.
    directory
        Of socket and log; nobody else may enter it.
    binaries
        PostgreSQL's programs.
    """

    def __init__(self, cluster: Path, directory: Path, binaries: Path) -> None:
        self._cluster, self._directory, self._binaries = cluster, directory, binaries
        self._log = directory / "log"

    def start(self, more: dict[str, str]) -> None:
        """Start it with settings that go before those of its files.

        Raises
        ------
        UnfinishedError
            When it does not start.
        """
        hba = self._directory / "pg_hba.conf"
        hba.write_text("local all all trust\n")
        self._log.unlink(missing_ok=True)
        options = {
            "listen_addresses": "",
            "port": "5432",
            "unix_socket_directories": str(self._directory),
            "hba_file": str(hba),
            "ssl": "off",
            "shared_buffers": "64MB",
            "archive_mode": "off",
            "synchronous_standby_names": "",
            "primary_conninfo": "",
            "primary_slot_name": "",
            # A part of WAL that is not there yet is asked for again soon.
            "wal_retrieve_retry_interval": "1s",
        } | more
        words = " ".join(f"-c {name}='{value}'" for name, value in options.items())
        command = [str(self._binaries / "pg_ctl"), "start", f"--pgdata={self._cluster}", f"--log={self._log}", "--wait"]
        done = subprocess.run(
            [*command, f"--timeout={RECOVERY_S}", f"--options={words}"], stdout=subprocess.DEVNULL, check=False
        )
        if done.returncode:
            raise UnfinishedError(self._why())

    def ask(self, database: str, statement: str) -> str:
        """Return what a statement gives.

        Raises
        ------
        UnfinishedError
            When the cluster has ended.
        """
        command = [str(self._binaries / "psql"), "--no-psqlrc", "--quiet", "--tuples-only", "--no-align"]
        where = [f"--host={self._directory}", "--username=postgres", "--port=5432", f"--dbname={database}"]
        done = subprocess.run(
            [*command, *where, f"--command={statement}"], capture_output=True, text=True, check=False, timeout=600
        )
        if done.returncode:
            raise UnfinishedError(self._why() or done.stderr.strip())
        return done.stdout.strip()

    def paused(self) -> None:
        """Wait until it has read WAL up to its target."""
        self._until(lambda: self.ask("postgres", "select pg_get_wal_replay_pause_state()") == "paused")

    def promoted(self) -> None:
        """Wait until it takes writes."""
        self._until(lambda: self.ask("postgres", "select pg_is_in_recovery()") == "f")

    def through(self) -> None:
        """Wait until it has read all WAL that there is."""
        at, since = "", time.monotonic()

        def silent() -> bool:
            nonlocal at, since
            if (now := self.ask("postgres", "select pg_last_wal_replay_lsn()")) != at:
                at, since = now, time.monotonic()
            return time.monotonic() - since > SILENT_S

        self._until(silent)

    def stop(self, mode: str = "fast") -> None:
        """Stop it, if it runs."""
        command = [str(self._binaries / "pg_ctl"), "stop", f"--pgdata={self._cluster}", f"--mode={mode}", "--silent"]
        subprocess.run([*command, "--timeout=600"], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def _until(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + RECOVERY_S
        while not done():
            if time.monotonic() > deadline:
                raise UnfinishedError("the restored cluster still reads WAL after a day")
            time.sleep(1)

    def _why(self) -> str:
        said = self._log.read_text(errors="replace") if self._log.exists() else ""
        fatal = [line.split("FATAL:", 1)[1].strip() for line in said.splitlines() if "FATAL:" in line]
        if any("before configured recovery target" in line for line in fatal):
            last = _LAST.findall(said)
            until = f"; its last transaction was at {last[-1]}" if last else ""
            return f"the archived WAL ends before that time{until}. Restore to a time before, or to the newest WAL"
        return "; ".join(fatal[-3:])
