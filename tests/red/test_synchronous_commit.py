"""Without quorum commit an acknowledged row is lost when the leader dies with its disk: the patch shows it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from hapacs.deployment import PROJECT
from tests.storage.servers import PASSWORD, Postgres, Process, free_ports, postgres_programs, wait_until

PATCH = Path(__file__).parent / "patches" / "synchronous-commit.patch"
# What a node does with a catalog row, by its own connections. The exit code says whether it was acknowledged.
STORE = """
import sys
from pathlib import Path
from hapacs_node import settings
from hapacs_node.catalog.database import Database
from hapacs_node.errors import CatalogUnavailableError
from hapacs_node.metrics import Metrics

port, password = int(sys.argv[1]), Path(sys.argv[2])
chosen = settings.Database(
    hosts=["127.0.0.1"], port=port, name="pacs", user="pacs", password_file=password, statement_timeout_s=2,
    deadline_s=4,
)
with Database(chosen, Metrics()) as database:
    try:
        database.run(lambda connection: connection.execute("insert into kept values (1)"))
    except CatalogUnavailableError:
        sys.exit(75)
"""
REFUSED = 75


@dataclass
class Pair:
    """A leader and a standby that has to confirm each commit."""

    leader: Postgres
    standby: Process
    standby_port: int
    password: Path

    def store(self, plugins: Path) -> bool:
        """Store one row with the node's code at `plugins`; return whether it was acknowledged."""
        words = [sys.executable, "-c", STORE, str(self.leader.port), str(self.password)]
        done = subprocess.run(
            words,
            env=os.environ | {"PYTHONPATH": str(plugins)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode in {0, REFUSED}, done.stderr
        return done.returncode == 0

    def fail_over(self) -> list[object]:
        """Kill the leader, remove its disk, promote the standby, and return the rows that are left."""
        self.leader.kill()
        shutil.rmtree(self.leader.data)
        if not self.standby.running:
            (self.standby.directory / "postmaster.pid").unlink(missing_ok=True)
            self.standby.start()
        wait_until(self._answers, "the start of the standby")
        with self._connect() as connection:
            connection.execute("select pg_promote()")
            return [number for (number,) in connection.execute("select number from kept")]

    def leave_leader_alone(self) -> None:
        """End the standby. What the leader writes from now on reaches no other machine."""
        self.standby.kill()
        wait_until(lambda: not self.streams(), "the end of the stream")

    def streams(self) -> bool:
        with self.leader.connect() as connection:
            found = connection.execute(
                "select count(*) from pg_stat_replication where sync_state in ('sync', 'quorum')"
            )
            return found.fetchone() == (1,)

    def _answers(self) -> bool:
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host="127.0.0.1", port=self.standby_port, user="pacs", password=PASSWORD, dbname="pacs", autocommit=True
        )


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that the user of PostgreSQL may enter."""
    path = Path(tempfile.mkdtemp(prefix="hapacs-red-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def pair(directory: Path) -> Iterator[Pair]:
    programs = postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL's programs are not installed: `apt-get install postgresql`")
    leader = Postgres(directory)
    leader.start()
    with leader.connect() as connection:
        connection.execute("create table kept (number int)")
    data, (port,) = directory / "standby", free_ports(1)
    user = "postgres" if os.geteuid() == 0 else None
    data.mkdir(mode=0o700)
    if user is not None:
        shutil.chown(data, user, user)
    address = f"host=127.0.0.1 port={leader.port} user=pacs password={PASSWORD}"
    copy = Process(
        [str(programs / "pg_basebackup"), "-D", str(data), "-R", "-c", "fast", "-d", address],
        directory / "copy.log", data, user,
    )  # fmt: skip
    copy.start()
    assert copy.handle is not None
    assert copy.handle.wait(timeout=120) == 0, copy.log.read_text()
    options = [f"--port={port}", "--listen_addresses=127.0.0.1", "--unix_socket_directories=", "--shared_buffers=32MB"]
    command = [str(programs / "postgres"), "-D", str(data), *options]
    password = directory / "password"
    password.write_text(PASSWORD)
    made = Pair(leader, Process(command, directory / "standby.log", data, user), port, password)
    try:
        made.standby.start()
        with leader.connect() as connection:
            connection.execute("alter system set synchronous_standby_names = 'ANY 1 (*)'")
            connection.execute("select pg_reload_conf()")
        wait_until(made.streams, "the standby to stream")
        yield made
    finally:
        made.standby.kill()
        leader.kill()


@pytest.fixture
def patched(tmp_path: Path) -> Path:
    """The node's code with the patch."""
    shutil.copytree(PROJECT / "plugins" / "hapacs_node", tmp_path / "plugins" / "hapacs_node")
    subprocess.run(["git", "apply", str(PATCH)], cwd=tmp_path, check=True)
    return tmp_path / "plugins"


def test_row_that_no_standby_has_is_refused(pair: Pair) -> None:
    pair.leave_leader_alone()
    assert not pair.store(PROJECT / "plugins")


def test_acknowledged_row_is_there_after_the_leader_died(pair: Pair) -> None:
    assert pair.store(PROJECT / "plugins")
    assert pair.fail_over() == [1]


def test_patch_loses_an_acknowledged_row(pair: Pair, patched: Path) -> None:
    pair.leave_leader_alone()
    assert pair.store(patched), "the patch has to acknowledge what only the leader has"
    assert pair.fail_over() == []
