"""A PostgreSQL on the loopback address of this machine, for the time of a measurement."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from hapacs.errors import HapacsError

_START_S = 120
_DATABASE = "pacs"


@dataclass(frozen=True)
class Scratch:
    """The running server.

    Attributes
    ----------
    directory
        Where it and its user can write.
    port
        On 127.0.0.1.
    password_file
        Password of the user ``pacs``.
    """

    directory: Path
    port: int
    password_file: Path

    def connect(self, database: str = _DATABASE) -> psycopg.Connection[tuple[object, ...]]:
        """Open a connection that commits each statement."""
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="pacs",
            password=self.password_file.read_text(encoding="ascii"),
            dbname=database,
            autocommit=True,
        )

    def settings(self, database: str = _DATABASE) -> dict[str, object]:
        """Return the settings of a node for a database. Statements may take long: a measurement decides nothing."""
        return {
            "hosts": ["127.0.0.1"],
            "port": self.port,
            "name": database,
            "password_file": str(self.password_file),
            "statement_timeout_s": 300,
            "deadline_s": 600,
        }


@contextmanager
def postgres() -> Iterator[Scratch]:
    """Run a server with a database, and remove it at the end.

    Raises
    ------
    HapacsError
        When PostgreSQL's programs are not installed, or it does not start.
    """
    programs = _programs()
    user = "postgres" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="hapacs-bench-") as temporary:
        directory = Path(temporary)
        directory.chmod(0o755)
        data, password = directory / "data", directory / "password"
        data.mkdir(mode=0o700)
        password.write_text(secrets.token_urlsafe(24), encoding="ascii")
        if user is not None:
            record = pwd.getpwnam(user)
            for path in (data, password):
                os.chown(path, record.pw_uid, record.pw_gid)
        made = [programs / "initdb", "-D", data, "-U", "pacs", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C"]
        _run([*map(str, made), f"--pwfile={password}"], user)
        port = _free_port()
        options = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": ""}
        command = [str(programs / "postgres"), "-D", str(data)]
        command += [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with (directory / "log").open("wb") as log:
            server = subprocess.Popen(command, user=user, extra_groups=[], stdout=log, stderr=log, cwd="/")
        try:
            scratch = Scratch(directory, port, password)
            _await(scratch, server)
            yield scratch
        finally:
            server.terminate()
            server.wait(timeout=60)


def _programs() -> Path:
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    found = shutil.which("initdb")
    if debian or found:
        return debian[-1] if debian else Path(str(found)).parent
    raise HapacsError("PostgreSQL is not installed on this machine.", "`apt-get install postgresql` installs it.")


def _run(command: Sequence[str], user: str | None) -> None:
    done = subprocess.run(command, user=user, extra_groups=[], capture_output=True, text=True, cwd="/", check=False)
    if done.returncode != 0:
        raise HapacsError("initdb failed.", done.stderr.strip()[-500:])


def _await(scratch: Scratch, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            with scratch.connect("postgres") as connection:
                connection.execute("create database pacs")
        except psycopg.OperationalError as error:
            if server.poll() is not None or time.monotonic() > deadline:
                raise HapacsError("PostgreSQL does not start.", str(error)) from error
            time.sleep(0.2)
        else:
            return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
