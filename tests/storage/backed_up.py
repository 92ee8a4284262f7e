"""A database and the host of its backups on loopback, configured by the templates of the role pgbackrest.

They have users of their own, by number, as on nodes: the owner of the backups and the server that database nodes reach.
"""

from __future__ import annotations

import json
import os
import pwd
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hapacs.pki import Authority, Subject
from tests.storage.servers import Process, free_ports, postgres_programs, wait_until

ROLE = Path(__file__).resolve().parents[2] / "ansible/roles/pgbackrest"
STANZA = "test-primary"
OWNER, SERVER, SCRATCH, GROUP = 64001, 64002, 64003, 64000
ADDRESS = "127.0.0.1"
DAY = timedelta(days=1)


def as_user(user: int, group: int, command: Sequence[str]) -> list[str]:
    """Return a command that runs with the rights of a user only."""
    return ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", *command]


class BackedUp:
    """One database node `db` and one host `keeper`.

    Parameters
    ----------
    directory
        Every user may enter it.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        record = pwd.getpwnam("postgres")
        self.postgres = (record.pw_uid, record.pw_gid)
        binaries = postgres_programs()
        assert binaries is not None
        self.binaries = binaries
        self.port, self._database_port, self._repository_port = free_ports(3)
        self.data = self._make("data", self.postgres)
        self.socket = self._make("socket", self.postgres)
        self.repository = self._make("repository", (OWNER, GROUP))
        self.locks = {
            "backup": self._make("locks-backup", (OWNER, GROUP)),
            "server": self._make("locks", (SERVER, GROUP)),
        }
        self._certificates()
        self._configurations()
        (directory / "stanzas").write_text(f"{STANZA} 2\n")
        self._configure_postgres()
        at = directory / "log"
        self.database = Process([str(binaries / "postgres"), "-D", str(self.data)], at, directory, "postgres")
        served = ["pgbackrest", f"--config={directory}/repository.conf", "server"]
        self.server = Process(as_user(SERVER, GROUP, served), at, directory)
        reading = ["pgbackrest", f"--config={directory}/database.conf", "server"]
        self.reader = Process(as_user(*self.postgres, reading), at, directory)

    def start(self) -> None:
        """Start the database and both servers."""
        for process in (self.server, self.reader, self.database):
            process.start()
        wait_until(self._answers, "the start of PostgreSQL")

    def stop(self) -> None:
        """End everything."""
        for process in (self.database, self.reader, self.server):
            process.kill()

    def connect(self, host: Path | None = None, port: int | None = None) -> psycopg.Connection[Any]:
        """Log in as superuser over the socket."""
        return psycopg.connect(
            host=str(host or self.socket), port=port or self.port, user="postgres", dbname="postgres", autocommit=True
        )

    def on_database_node(self, *words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run pgBackRest with all rights that a database node has at the host."""
        command = ["pgbackrest", f"--config={self.directory}/database.conf", *words]
        return subprocess.run(
            as_user(*self.postgres, command), input=given, capture_output=True, check=False, timeout=60
        )

    @contextmanager
    def without_power(self) -> Iterator[str]:
        """Give the address of a database node that answers nothing, not even that nobody listens."""
        with socket.socket() as full, ExitStack() as waiting:
            full.bind(("127.0.0.9", self._database_port))
            # The kernel drops what a full queue can't take.
            full.listen(0)
            for _ in range(4):
                client = waiting.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(full.getsockname())
            yield "127.0.0.9"

    def joined_by(self, address: str) -> str:
        """Return the host's configuration, with another database node before the one that there is."""
        text = (self.directory / "backup.conf").read_text()
        stanza = [line for line in text.splitlines() if line.startswith("pg1-")]
        there = [line.replace("pg1-", "pg2-", 1) for line in stanza]
        text = text.replace(f"pg1-host={ADDRESS}\n", f"pg1-host={address}\n")
        return text + "\n".join(there) + "\n"

    def back_up(self, kind: str = "", configuration: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run the program of the timer on the host."""
        given = configuration or self.directory / "backup.conf"
        program = [str(ROLE / "files/pgbackrest-backup"), str(given), f"{self.directory}/stanzas"]
        command = as_user(OWNER, GROUP, [*program, *([kind] if kind else [])])
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd=self.directory)

    def backed_up_at(self) -> int:
        """Return when the newest backup ended, in seconds since 1970."""
        command = ["pgbackrest", f"--config={self.directory}/backup.conf", "--output=json", "info"]
        done = subprocess.run(as_user(OWNER, GROUP, command), capture_output=True, text=True, check=True, timeout=60)
        (stanza,) = json.loads(done.stdout)
        return int(stanza["backup"][-1]["timestamp"]["stop"])

    def push(self, file: str, reserve_bytes: int, configuration: Path) -> subprocess.CompletedProcess[str]:
        """Run the program that PostgreSQL archives with."""
        command = [str(ROLE / "files/pgbackrest-push"), STANZA, file, str(reserve_bytes)]
        return subprocess.run(
            as_user(*self.postgres, command), capture_output=True, text=True, check=False, timeout=120, cwd=self.data,
            env=os.environ | {"HAPACS_PGBACKREST": str(configuration)},
        )  # fmt: skip

    def segments(self) -> list[Path]:
        """Return the WAL files in the repository, oldest first."""
        found = (self.repository / "archive" / STANZA).glob("*/*/0*")
        return sorted(path for path in found if not path.name.endswith(".pgbackrest.tmp"))

    def _make(self, name: str, owner: tuple[int, int]) -> Path:
        path = self.directory / name
        path.mkdir(mode=0o750)
        os.chown(path, *owner)
        return path

    def _certificates(self) -> None:
        authority = Authority(self.directory / "pki", "backup", "passphrase-of-the-test")
        authority.ensure()
        for node, (user, group) in {"db": self.postgres, "keeper": (0, GROUP), "stranger": self.postgres}.items():
            directory = self.directory / node
            directory.mkdir()
            (directory / "ca-backup.crt").write_bytes(authority.certificate_file.read_bytes())
            authority.issue(directory / "node", Subject(node, [f"DNS:{ADDRESS}"]), 2 * DAY, DAY)
            key = directory / "node.key"
            os.chown(key, user, group)
            key.chmod(0o640 if user == 0 else 0o600)

    def _configurations(self) -> None:
        variables = {
            "pgbackrest_address": ADDRESS,
            "pgbackrest_node": "db",
            "pgbackrest_stanza": STANZA,
            "pgbackrest_repository_node": "keeper",
            "pgbackrest_repository_address": ADDRESS,
            "pgbackrest_kept": [
                {"stanza": STANZA, "members": [{"name": "db", "address": ADDRESS}], "keep_full": 2, "hour": 2}
            ],
            "pgbackrest_repository_directory": str(self.repository),
            "pgbackrest_postgres_directory": str(self.data),
            "pgbackrest_database_port": self._database_port,
            "pgbackrest_repository_port": self._repository_port,
            "pgbackrest_passphrase": "passphrase-of-the-test",
            "__pgbackrest_database_tls": str(self.directory / "db"),
            "__pgbackrest_repository_tls": str(self.directory / "keeper"),
            "ansible_managed": "by the test",
        }
        self._write("database.conf", "database.conf.j2", variables, self.postgres[1])
        locks = {"backup.conf": self.locks["backup"], "repository.conf": self.locks["server"]}
        for name, lock in locks.items():
            self._write(name, "repository.conf.j2", variables | {"lock_directory": str(lock)}, GROUP)
        stranger = variables | {"__pgbackrest_database_tls": str(self.directory / "stranger")}
        self._write("stranger.conf", "database.conf.j2", stranger, self.postgres[1])

    def _write(self, name: str, template: str, variables: dict[str, Any], group: int) -> None:
        environment = Environment(loader=FileSystemLoader(ROLE / "templates"), undefined=StrictUndefined)  # noqa: S701 - no HTML
        environment.filters["comment"] = lambda text: f"# {text}"
        text = environment.get_template(template).render(variables)
        text = text.replace("/run/postgresql/pgbackrest", f"{self.socket}/locks").replace(
            "/run/postgresql", str(self.socket)
        )
        text = text.replace("/etc/pgbackrest", str(self.directory)).replace(
            "[test-primary]", f"[test-primary]\npg1-port={self.port}"
        )
        # Releases before 2.54, such as Debian 12's, know `y` and `n` only.
        text = text.replace("backup-standby=prefer\n", "")
        path = self.directory / name
        path.write_text(text)
        os.chown(path, 0, group)
        path.chmod(0o640)

    def _configure_postgres(self) -> None:
        initdb = [
            str(self.binaries / "initdb"),
            "-D",
            str(self.data),
            "-U",
            "postgres",
            "-A",
            "trust",
            "--data-checksums",
        ]
        subprocess.run(as_user(*self.postgres, initdb), check=True, capture_output=True, cwd=self.directory)
        command = f"HAPACS_PGBACKREST={self.directory}/database.conf {ROLE}/files/pgbackrest-push {STANZA} %p 1"
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(
                f"port = {self.port}\nlisten_addresses = ''\nunix_socket_directories = '{self.socket}'\n"
                f"archive_mode = on\narchive_command = '{command}'\n"
            )

    def _answers(self) -> bool:
        assert self.database.running, self.database.log.read_text()
        try:
            with self.connect() as connection:
                return connection.execute("select 1").fetchone() == (1,)
        except psycopg.OperationalError:
            return False
