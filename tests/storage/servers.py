"""A real PostgreSQL and a real SeaweedFS on loopback, that can be killed and started again."""

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import psycopg

BUCKET = "archive"
ACCESS_KEY, SECRET_KEY = "node", "node-secret-of-the-test"
PASSWORD = "pacs-password-of-the-test"
_IDENTITIES = """{"identities": [
  {"name": "admin", "credentials": [{"accessKey": "admin", "secretKey": "admin-secret-of-the-test"}],
   "actions": ["Admin", "Read", "List", "Tagging", "Write"]},
  {"name": "node", "credentials": [{"accessKey": "%s", "secretKey": "%s"}],
   "actions": ["Read:%s", "List:%s", "Write:%s"]}]}"""


def free_ports(count: int, *, weed: bool = False) -> list[int]:
    """Find unused ports; for `weed` also with the ports 10000 above unused, which it uses for gRPC.

    Those of `weed` are below the ports that the kernel gives to connections: it takes them a while later.
    """
    found: list[int] = []
    while len(found) < count:
        if weed:
            port = 11000 + secrets.randbelow(11000)
            candidates = [port, port + 10000]
        else:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                candidates = [probe.getsockname()[1]]
        if candidates[0] not in found and all(map(_is_free, candidates)):
            found.append(candidates[0])
    return found


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
    """Poll a condition until it holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} took longer than {timeout_s:g} s")
        time.sleep(0.1)


def postgres_programs() -> Path | None:
    """Return the directory of PostgreSQL's programs, or None when they are not installed."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    if debian:
        return debian[-1]
    found = shutil.which("initdb")
    return Path(found).parent if found else None


@dataclass
class Process:
    """One server process in a session of its own, so that it can be killed with its children."""

    command: Sequence[str]
    log: Path
    directory: Path
    user: str | None = None
    handle: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        command = list(self.command)
        if self.user is not None and os.geteuid() == 0:
            command = ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups", *command]
        with self.log.open("ab") as log:
            self.handle = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.directory, start_new_session=True
            )

    def signal(self, number: signal.Signals) -> None:
        assert self.handle is not None
        os.killpg(self.handle.pid, number)

    def kill(self) -> None:
        """Kill it, as a loss of power would."""
        if self.handle is not None and self.running:
            self.signal(signal.SIGKILL)
            self.handle.wait(timeout=30)

    def pause(self) -> None:
        """Make it hang, like a machine with a stuck disk."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        if self.running:
            self.signal(signal.SIGCONT)

    @property
    def running(self) -> bool:
        return self.handle is not None and self.handle.poll() is None


class Postgres:
    """A server with the role and database `pacs`."""

    def __init__(self, directory: Path, address: str = "127.0.0.1", port: int | None = None) -> None:
        self.address = address
        self.port = port or free_ports(1)[0]
        self.data = directory / f"postgres-{address}"
        self.data.mkdir()
        binaries = postgres_programs()
        assert binaries is not None
        self._binaries = binaries
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user is not None:
            record = pwd.getpwnam(self._user)
            os.chown(self.data, record.pw_uid, record.pw_gid)
        self.data.chmod(0o700)
        password_file = directory / f"postgres-{address}.password"
        password_file.write_text(PASSWORD)
        password_file.chmod(0o644)
        log = directory / f"postgres-{address}.log"
        initdb = ["initdb", "-D", str(self.data), "-U", "pacs", "-A", "scram-sha-256", f"--pwfile={password_file}"]
        self._run(*initdb, "-E", "UTF8", "--locale=C", log=log)
        settings = {
            "listen_addresses": address,
            "port": self.port,
            "unix_socket_directories": "",
            "shared_buffers": "32MB",
            "max_connections": "60",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [str(self._binaries / "postgres"), "-D", str(self.data), *options]
        self.process = Process(command, log, self.data, self._user)

    def start(self) -> None:
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        self.process.start()
        wait_until(self._answers, "the start of PostgreSQL")

    def kill(self) -> None:
        self.process.kill()

    def resume(self) -> None:
        """Make sure that it runs, also after a test that killed or suspended it."""
        self.process.resume()
        if not self.process.running:
            self.start()

    def connect(self, database: str = "pacs") -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host=self.address, port=self.port, user="pacs", password=PASSWORD, dbname=database, autocommit=True
        )

    def _answers(self) -> bool:
        assert self.process.running, self.process.log.read_text()
        try:
            with self.connect("postgres") as connection:
                if connection.execute("select from pg_database where datname = 'pacs'").fetchone() is None:
                    connection.execute("create database pacs")
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, program: str, *arguments: str, log: Path) -> None:
        process = Process([str(self._binaries / program), *arguments], log, self.data, self._user)
        process.start()
        assert process.handle is not None
        assert process.handle.wait(timeout=60) == 0, log.read_text()


class SeaweedFS:
    """One master with volumes and filer, and two S3 gateways in front of it."""

    def __init__(self, directory: Path, *, volumes: int = 20, volume_mb: int = 256) -> None:
        self.directory = directory / "seaweedfs"
        self.directory.mkdir()
        weed = str(Path(sys.executable).parent / "weed")
        master, volume, filer, *gateways = free_ports(5, weed=True)
        identities = self.directory / "s3.json"
        identities.write_text(_IDENTITIES % (ACCESS_KEY, SECRET_KEY, BUCKET, BUCKET, BUCKET))
        self.urls = [f"http://127.0.0.1:{port}" for port in gateways]
        server = [weed, "-logtostderr", "server", f"-dir={self.directory}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
        server += [f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}", "-filer"]
        server += [
            "-master.telemetry=false",
            f"-volume.max={volumes}",
            f"-master.volumeSizeLimitMB={volume_mb}",
            "-iam=false",
        ]
        self.server = Process(server, directory / "weed-server.log", self.directory)
        self.gateways = []
        for port in gateways:
            gateway = [weed, "-logtostderr", "s3", f"-filer=127.0.0.1:{filer}", f"-port={port}", "-ip.bind=127.0.0.1"]
            gateway += [f"-config={identities}", "-port.iceberg=0", "-port.lance=0", "-iam=false"]
            gateway += ["-autoCreateBucket=false", "-allowDeleteBucketNotEmpty=false"]
            self.gateways.append(Process(gateway, directory / f"weed-s3-{port}.log", self.directory))

    def start(self) -> None:
        if not self.server.running:
            self.server.start()
        for gateway in self.gateways:
            if not gateway.running:
                gateway.start()
        for url in self.urls:
            wait_until(partial(_http_answers, url), f"the start of the gateway {url}")

    def client(self, gateway: int = 0, key: str = ACCESS_KEY, secret: str = SECRET_KEY) -> Any:
        """Return a client of one gateway, with the key of the nodes unless another one is given."""
        return boto3.client(
            "s3", endpoint_url=self.urls[gateway], aws_access_key_id=key, aws_secret_access_key=secret,
            region_name="us-east-1",
        )  # fmt: skip

    def resume(self) -> None:
        """Make sure that all of it runs, also after a test that killed or suspended a part."""
        for process in (self.server, *self.gateways):
            process.resume()
        self.start()

    def kill(self) -> None:
        for process in (*self.gateways, self.server):
            process.kill()


def _http_answers(url: str) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=2):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
