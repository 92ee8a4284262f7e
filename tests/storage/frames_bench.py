"""Frames and a whole series of a CT by WADO-RS, from this source and from another version of it, in turns.

Each version answers from a process of its own, with an emptied DAS (cold) and a filled one (warm). Index and catalog
are in a PostgreSQL, the archive in a SeaweedFS of this machine; balancer and Orthanc are left out. Run it by hand, with
a checkout of the version to compare with: ``.venv/bin/python -m tests.storage.frames_bench ../before/plugins``.
"""

import http.client
import json
import logging
import os
import resource
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np
import psycopg

from hapacs.pki import Authority
from hapacs_node import settings
from hapacs_node.catalog import schema
from hapacs_node.https import Listener
from hapacs_node.journal import JournalHandler
from hapacs_node.log import ROOT
from hapacs_node.node import Node
from hapacs_node.storage import names
from tests.storage import index
from tests.storage.conftest import archive
from tests.storage.servers import ACCESS_KEY, BUCKET, PASSWORD, SECRET_KEY, Postgres, Process, SeaweedFS
from tests.support.images import ct
from tests.unit.node.certificates import certificate

IMAGES, ROWS, CONNECTIONS, ROUNDS = 200, 512, 6, 3
STUDY = "1.2.826.1"
# What was read ahead is not read ahead again within a minute, so each round has a series of its own.
SERIES = [f"{STUDY}.{number}" for number in range(1, ROUNDS + 1)]
SOPS = {series: [f"{series}.{number}" for number in range(1, IMAGES + 1)] for series in SERIES}
_PATH = f"/dicom-web/studies/{STUDY}/series"
_FRAME = "multipart/related; type=application/octet-stream; transfer-syntax=*"
_FILES = 'multipart/related; type="application/dicom"; transfer-syntax=*'
# Those of Orthanc that are used here.
_INDEXES = """
create index on dicomidentifiers (taggroup, tagelement, value);
create index on resources (parentid);
create index on attachedfiles (uuid);
truncate resources, dicomidentifiers, metadata, attachedfiles cascade;
"""
_OTHERS = """
insert into resources (internalid, resourcetype, publicid, parentid)
select n, 1, md5(n::text), null from generate_series(1, 1000) n union all
select 1000 + n, 2, md5((1000 + n)::text), n from generate_series(1, 1000) n union all
select 10000 + n, 3, md5((10000 + n)::text), 1001 + mod(n, 999) from generate_series(1, 100000) n;
insert into dicomidentifiers
select n, 32, 13, '9.' || n from generate_series(1, 999) n union all select 1000, 32, 13, %(study)s union all
select 1000 + n, 32, 14, '9.9.' || n from generate_series(1, 1000) n union all
select 10000 + n, 8, 24, '9.9.9.' || n from generate_series(1, 100000) n;
insert into metadata select 10000 + n, 9, '1.2.840.10008.1.2.1', 0 from generate_series(1, 100000) n;
insert into attachedfiles
select 10000 + n, 1, gen_random_uuid()::text, 9, 9, 1, '', '', 0 from generate_series(1, 100000) n;
"""
_SERIES = """
with made as (
    insert into resources (internalid, resourcetype, publicid, parentid) values (%(number)s, 2, %(uid)s, 1000))
insert into dicomidentifiers values (%(number)s, 32, 14, %(uid)s)
"""
_IMAGE = """
with made as (
    insert into resources (internalid, resourcetype, publicid, parentid) values (%(number)s, 3, %(name)s, %(series)s)),
named as (insert into dicomidentifiers values (%(number)s, 8, 24, %(sop)s)),
syntax as (insert into metadata values (%(number)s, 9, '1.2.840.10008.1.2.1', 0))
insert into attachedfiles values (%(number)s, 1, %(name)s, 9, 9, 1, '', '', 0)
"""


def serve(configuration: Path) -> None:
    """Answer until the standard input ends; a line of it is answered with the processor time."""
    log = logging.getLogger(ROOT)
    log.setLevel(logging.INFO)
    log.addHandler(JournalHandler(configuration.parent / "journal"))
    node = Node.build(settings.load(configuration), "query")
    files = (configuration.parent / name for name in ("server.crt", "server.key", "ca.crt"))
    _say(node.retrieval.start(Listener("127.0.0.1", 0, *files)))
    for _ in sys.stdin:
        used = resource.getrusage(resource.RUSAGE_SELF)
        _say(used.ru_utime + used.ru_stime)
    os._exit(0)


def _say(what: object) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


@dataclass
class Version:
    """A process that answers with one version of the source."""

    name: str
    das: Path
    process: subprocess.Popen[str]
    port: int

    def cpu_s(self) -> float:
        """Return the processor time that it has taken."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


@contextmanager
def running(name: str, source: Path, configuration: Path, das: Path) -> Iterator[Version]:
    """Start a version."""
    command = [sys.executable, "-m", "tests.storage.frames_bench", "--serve", str(configuration)]
    environment = {**os.environ, "PYTHONPATH": f"{source}:{Path.cwd()}"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Version(name, das, process, int(process.stdout.readline()))
        finally:
            process.stdin.close()


def _get(connection: http.client.HTTPSConnection, path: str, accept: str) -> bytes:
    connection.request("GET", path, headers={"Accept": accept, "X-Hapacs-User": "anna", "X-Forwarded-For": "192.0.2.9"})
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 200, body
    return body


def frames(version: Version, tls: ssl.SSLContext, uid: str) -> None:
    """Ask for the frame of each image over a few connections, as a viewer does."""
    left, lock = iter(SOPS[uid]), threading.Lock()

    def work() -> None:
        connection = http.client.HTTPSConnection("127.0.0.1", version.port, context=tls)
        while True:
            with lock:
                sop = next(left, None)
            if sop is None:
                return connection.close()
            body = _get(connection, f"{_PATH}/{uid}/instances/{sop}/frames/1", _FRAME)
            assert len(body) > 2 * ROWS * ROWS

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for done in [pool.submit(work) for _ in range(CONNECTIONS)]:
            done.result()


def series(version: Version, tls: ssl.SSLContext, uid: str) -> None:
    """Ask for the whole series."""
    connection = http.client.HTTPSConnection("127.0.0.1", version.port, context=tls)
    assert len(_get(connection, f"{_PATH}/{uid}", _FILES)) > IMAGES * 2 * ROWS * ROWS
    connection.close()


def _cpu_s(servers: Sequence[Process]) -> float:
    """Return the processor time of servers and of their children that live."""
    mains, ticks = {server.handle.pid for server in servers if server.handle is not None}, 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            number, _, rest = stat.read_text().partition(" ")
        except OSError:
            continue
        fields = rest.rpartition(")")[2].split()
        if mains & {int(number), int(fields[1])}:
            ticks += sum(map(int, fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _drain(journal: socket.socket) -> None:
    while True:
        journal.recv(65536)


def main(other: Path) -> None:
    """Write a line for each measurement."""
    directory = Path(tempfile.mkdtemp(prefix="hapacs-frames-"))
    directory.chmod(0o755)
    postgres = Postgres(directory)
    try:
        postgres.start()
        with archive(directory, volume_mb=1024) as seaweedfs:
            _measure(directory, postgres, seaweedfs, other)
    finally:
        postgres.kill()
        shutil.rmtree(directory)


def _measure(directory: Path, postgres: Postgres, seaweedfs: SeaweedFS, other: Path) -> None:
    journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    journal.bind(str(directory / "journal"))
    threading.Thread(target=_drain, args=[journal], daemon=True).start()
    authority = Authority(directory / "pki", "pacs", "passphrase")
    authority.ensure()
    certificate(authority, directory, "server", "server")
    shutil.copy(authority.certificate_file, directory / "ca.crt")
    tls = ssl.create_default_context(cafile=str(authority.certificate_file))
    tls.load_cert_chain(*certificate(authority, directory, "balancer", "client"))
    (directory / "password").write_text(PASSWORD)
    (directory / "cas.json").write_text(json.dumps({"access_key": ACCESS_KEY, "secret_key": SECRET_KEY}))

    def configure(name: str) -> Path:
        das = directory / name
        das.mkdir()
        document = {
            "node": "pacs1", "site": "main",
            "database": {"hosts": ["127.0.0.1"], "port": postgres.port, "password_file": str(directory / "password")},
            "das": {"root": str(das), "minimum_free_bytes": 0, "must_be_mount": False},
            "cas": {"gateways": seaweedfs.urls, "bucket": BUCKET, "credentials_file": str(directory / "cas.json")},
        }  # fmt: skip
        path = directory / f"{name}.json"
        path.write_text(json.dumps(document))
        return path

    node = Node.build(settings.load(configure("stored")), "store")
    schema.migrate(node.database)
    _store(node, postgres)
    with (
        running("before", other, configure("before"), directory / "before") as before,
        running("after", Path.cwd() / "plugins", configure("after"), directory / "after") as after,
    ):
        for what, ask in (("frames", frames), ("series", series)):
            for version in (before, after):
                shutil.rmtree(version.das / names.OBJECTS, ignore_errors=True)
            # After the cold rounds the DAS has all series.
            for temperature in ("cold", "warm"):
                took: dict[str, list[tuple[float, ...]]] = {}
                for turn, uid in enumerate(SERIES):
                    for version in (before, after) if turn % 2 else (after, before):
                        began = _now(version, postgres, seaweedfs)
                        ask(version, tls, uid)
                        spent = zip(began, _now(version, postgres, seaweedfs), strict=True)
                        took.setdefault(version.name, []).append(tuple(ended - soon for soon, ended in spent))
                _report(f"{what}, {temperature}", took)


def _now(version: Version, postgres: Postgres, seaweedfs: SeaweedFS) -> tuple[float, ...]:
    """Return the time, and the processor times of all who take part."""
    objects = _cpu_s([seaweedfs.server, *seaweedfs.gateways])
    return time.perf_counter(), version.cpu_s(), _cpu_s([postgres.process]), objects


def _report(what: str, took: dict[str, list[tuple[float, ...]]]) -> None:
    medians = {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in took.items()}
    for name, median in medians.items():
        wall, plugin, database, objects = (f"{seconds / IMAGES * 1e3:6.2f}" for seconds in median)
        _say(
            f"{what:13} {name:6} {wall} ms an image; processor {plugin} plugin, {database} database, {objects} archive"
        )
    before, after = (sum(medians[name][1:]) for name in ("before", "after"))
    _say(f"{what:13} {medians['before'][0] / medians['after'][0]:.2f} times as fast; processor {before / after:.2f}")


def _store(node: Node, postgres: Postgres) -> None:
    """Store series as a modality with several associations does, beside the rows of a hundred thousand images."""
    random = np.random.default_rng(1)
    uuids = {sop: str(uuid4()) for uid in SERIES for sop in SOPS[uid]}

    def store(uid: str, sop: str) -> None:
        pixels = random.integers(0, 4096, ROWS * ROWS, dtype=np.uint16).tobytes()
        uids = {"StudyInstanceUID": STUDY, "SeriesInstanceUID": uid, "SOPInstanceUID": sop}
        node.storage.create(uuids[sop], 1, ct(**uids, Rows=ROWS, Columns=ROWS, PixelData=pixels))

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(store, uid, sop) for uid in SERIES for sop in SOPS[uid]]:
            done.result()
    with postgres.connect() as connection:
        connection.execute(index.INDEX)
        connection.execute(_INDEXES)
        psycopg.ClientCursor(connection).execute(_OTHERS, {"study": STUDY})
        for place, uid in enumerate(SERIES, 2001):
            connection.execute(_SERIES, {"number": place, "uid": uid})
            for number, sop in enumerate(SOPS[uid], place * 1000):
                connection.execute(_IMAGE, {"number": number, "series": place, "sop": sop, "name": uuids[sop]})
        connection.execute("vacuum analyze")


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve(Path(sys.argv[2]))
    else:
        main(Path(sys.argv[1]).resolve())
