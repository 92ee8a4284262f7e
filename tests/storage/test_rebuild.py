"""Index and catalog are lost, and come back from a real archive; the index is a real PostgreSQL."""

import http.server
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any, LiteralString
from uuid import uuid4

import psycopg
import pytest
from pydicom import dcmread

from hapacs.pki import Authority
from hapacs_node.catalog import ruleset, schema
from hapacs_node.catalog.removals import Removal
from hapacs_node.errors import NodeError
from hapacs_node.manifest.run import Manifests
from hapacs_node.node import Node
from hapacs_node.rebuild.contents import Source
from hapacs_node.rebuild.progress import Counts, Kind, Progress
from hapacs_node.rebuild.run import Rebuild
from hapacs_node.storage import names
from hapacs_node.storage.archive import LARGEST_PACKED_BYTES
from hapacs_node.storage.packs import pack
from tests.storage.conftest import INDEX, archive
from tests.storage.servers import BUCKET, Postgres, SeaweedFS
from tests.support.images import ct
from tests.unit.node.certificates import certificate

DATABASE = "rebuilt"
_KILLED_AT = 10
# The program with smaller parts, and with certificates of the test.
_CHILD = """
from functools import partial
from pathlib import Path
from hapacs_node import cli, restore
from hapacs_node.rebuild import run
run._PART_OBJECTS = 2
restore.Orthanc.of = partial(restore.Orthanc.of, directory=Path({certificates!r}))
cli.main()
"""

pytestmark = pytest.mark.timeout(300)


class Site:
    """A node with a database and an archive of its own. `store` stands for Orthanc: storage area, then index."""

    def __init__(self, node: Node, postgres: Postgres, s3: SeaweedFS, progress: Path) -> None:
        self.node, self.postgres, self.progress = node, postgres, progress
        self.s3 = s3.client(key="admin", secret="admin-secret-of-the-test")
        self.lock = threading.Lock()
        self.manifests = Manifests("main", node.database, node.cas)

    def store(self, content: bytes) -> None:
        uuid = uuid4()
        dataset = dcmread(BytesIO(content))
        uids = dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID
        assert self.node.storage.create(str(uuid), 1, content) is not None
        with self.lock, self.postgres.connect(DATABASE) as connection:
            old = connection.execute(
                "select uuid, id from attachedfiles join dicomidentifiers using (id) where value = %s", [uids[2]]
            ).fetchall()
            for name, number in old:
                self.node.storage.remove(str(name), 1, Removal("replaced", None, *uids))
                connection.execute("delete from attachedfiles where uuid = %s", [name])
                connection.execute("delete from dicomidentifiers where id = %s", [number])
            number = count(connection, "select coalesce(max(internalid), 0) from resources")
            tags = ((1, None, (32, 13)), (2, number + 1, (32, 14)), (3, number + 2, (8, 24)))
            for (level, parent, tag), uid in zip(tags, uids, strict=True):
                new = number + level
                connection.execute("insert into resources values (%s, %s, %s, %s)", [new, level, f"r{new}", parent])
                connection.execute("insert into dicomidentifiers values (%s, %s, %s, %s)", [new, *tag, uid])
            connection.execute(
                "insert into attachedfiles values (%s, 1, %s, %s, %s, 1, '', '')",
                [number + 3, str(uuid), len(content), len(content)],
            )

    def store_packed(self, *contents: bytes) -> str:
        """Archive images in one pack, then store them; return its key."""
        packed, _ = pack({names.digest_of(content): content for content in contents})
        return self.node.cas.put_pack(packed)

    def lose(self) -> None:
        """Lose index and catalog."""
        make_database(self.postgres)
        schema.migrate(self.node.database)

    def rebuild(self, store: Callable[[bytes], None] | None = None) -> Counts:
        with Progress.open(self.progress) as progress:
            source = Source(self.node.cas, self.node.das)
            node, catalog = self.node.settings.node, self.node.storage.catalog
            Rebuild(node, catalog, source, progress, store or self.store, self.manifests, sleep=lambda _: None).run()
            self.problems = [(one.kind, one.key, one.digest, whole) for one, whole in progress.problems(100)]
            return progress.counts()

    def indexed_uuids(self) -> list[str]:
        with self.postgres.connect(DATABASE) as connection:
            return [str(uuid) for (uuid,) in connection.execute("select uuid from attachedfiles where filetype = 1")]

    def indexed(self) -> list[bytes]:
        """Read all images of the index, each checked by its digest."""
        return [self.node.storage.read(uuid, 1) for uuid in self.indexed_uuids()]

    def keys(self) -> set[str]:
        return {one["Key"] for one in self.s3.list_objects_v2(Bucket=BUCKET)["Contents"]} - {"first"}

    def leftovers(self) -> int:
        with self.postgres.connect(DATABASE) as connection:
            return count(connection, "select count(*) from hapacs.object where type = 0")


def count(connection: psycopg.Connection[Any], query: LiteralString) -> int:
    found = connection.execute(query).fetchone()
    assert found is not None
    return int(found[0])


@contextmanager
def orthanc_answers(directory: Path, store: Callable[[bytes], None]) -> Iterator[tuple[str, Path]]:
    """Answer `POST /instances` as Orthanc does; yield the URL, and the directory of a node's certificate."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            store(self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps({"Status": "Success"}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    authority = Authority(directory / "pki", "pacs", "passphrase")
    authority.ensure()
    own, key = certificate(authority, directory, "node", "server", "client")
    certificates = directory / "tls"
    certificates.mkdir()
    for file, name in ((own, "node.crt"), (key, "node.key"), (authority.certificate_file, "ca-pacs.crt")):
        shutil.copy(file, certificates / name)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(own, key)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_address[1]}", certificates
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def make_database(postgres: Postgres) -> None:
    with postgres.connect() as connection:
        connection.execute(f"drop database if exists {DATABASE} with (force)")
        connection.execute(f"create database {DATABASE}")
    with postgres.connect(DATABASE) as connection:
        connection.execute(INDEX)


@pytest.fixture
def seaweedfs(tmp_path: Path) -> Iterator[SeaweedFS]:
    """An archive that has only what the test stores."""
    with archive(tmp_path) as server:
        yield server


@pytest.fixture
def site(make_node: Callable[..., Node], postgres: Postgres, seaweedfs: SeaweedFS, tmp_path: Path) -> Site:
    make_database(postgres)
    return Site(make_node(database={"name": DATABASE}), postgres, seaweedfs, tmp_path / "rebuild.sqlite")


def test_all_images_come_back_byte_for_byte_and_nothing_is_archived_again(site: Site) -> None:
    packed = [ct(InstanceNumber=number) for number in range(8)]
    for some in (packed[:5], packed[5:]):
        site.store_packed(*some)
    alone = [ct(), ct(Rows=1024, Columns=1024, PixelData=os.urandom(LARGEST_PACKED_BYTES + 2))]
    for content in alone:
        site.store(content)
    archived = site.keys()
    assert len(archived) == 4
    site.lose()
    assert site.indexed() == []
    counts = site.rebuild()
    assert (counts.objects, counts.done, counts.images, counts.problems) == (4, 4, {"stored": 10}, {})
    assert sorted(site.indexed()) == sorted(packed + alone)
    assert site.keys() == archived
    assert site.leftovers() == 0
    assert site.rebuild().images == {"present": 10}
    assert len(site.indexed()) == 10


def test_of_several_versions_the_one_that_was_archived_last_is_in_the_index(site: Site) -> None:
    uids = {"SOPInstanceUID": "1.2.3", "StudyInstanceUID": "1", "SeriesInstanceUID": "1.2"}
    old, new = ct(**uids, StationName="OLD"), ct(**uids, StationName="NEW")
    site.store_packed(old, new)
    site.lose()
    assert site.rebuild().images == {"stored": 1, "superseded": 1}
    assert site.indexed() == [new]
    (kept,) = site.node.storage.catalog.removed("1").values()
    assert kept.digest == names.digest_of(old)
    assert site.node.storage.reader.read(kept.uuid) == old
    assert site.rebuild().images == {"present": 1, "removed": 1}


def test_damaged_and_alien_objects_are_reported_and_the_others_come_back(site: Site) -> None:
    whole, flipped, cut, online = ct(), ct(), ct(), ct()
    digests = {name: names.digest_of(one) for name, one in (("flipped", flipped), ("cut", cut), ("online", online))}
    packed, offsets = pack({names.digest_of(one): one for one in (flipped, whole, cut)})
    damaged = bytearray(packed[: offsets[digests["cut"]] + 20])
    damaged[offsets[digests["flipped"]] + 200] ^= 1
    key = site.node.cas.put_pack(bytes(damaged))
    other = names.cas_key(digests["online"])
    site.s3.put_object(Bucket=BUCKET, Key=other, Body=online[:-1] + b"x")
    site.node.das.write(digests["online"], online)
    for alien in ("packs/readme.txt", "sha256/00/11/x"):
        site.s3.put_object(Bucket=BUCKET, Key=alien, Body=b"alien")
    text = b"a note of a user"
    site.node.storage.create(str(uuid4()), 1024, text)
    site.lose()
    counts = site.rebuild()
    assert counts.images == {"stored": 2}
    assert sorted(site.indexed()) == sorted([whole, online])
    assert {(kind, at, digest) for kind, at, digest, _ in site.problems} == {
        (Kind.DAMAGED, key, digests["flipped"]),
        (Kind.DAMAGED, key, digests["cut"]),
        (Kind.DAMAGED, key, None),
        (Kind.DAMAGED, other, digests["online"]),
        (Kind.FOREIGN, "packs/readme.txt", None),
        (Kind.FOREIGN, "sha256/00/11/x", None),
        (Kind.NOT_DICOM, names.cas_key(names.digest_of(text)), names.digest_of(text)),
    }
    assert counts.lost == 3


def test_a_refused_image_does_not_end_the_run_and_is_tried_again(site: Site) -> None:
    bad, good = ct(), ct()
    site.store_packed(bad, good)
    site.lose()

    def refuse(content: bytes) -> None:
        if content == bad:
            raise NodeError("HTTP status 500")
        site.store(content)

    counts = site.rebuild(refuse)
    assert (counts.images, counts.problems, counts.lost) == ({"stored": 1}, {Kind.REFUSED: 1}, 1)
    assert site.indexed() == [good]
    counts = site.rebuild()
    assert (counts.images, counts.problems) == ({"stored": 1, "present": 1}, {})


def test_no_event_sends_rebuilt_images_away_and_a_new_image_has_one(site: Site) -> None:
    site.store_packed(ct())
    site.lose()
    document: dict[str, Any] = {"destinations": {}, "rules": []}
    site.node.database.run(lambda c: ruleset.load(c, document, [], active=True, by="test"))
    site.rebuild()
    with site.postgres.connect(DATABASE) as connection:
        assert count(connection, "select count(*) from hapacs.event") == 0
        site.store(ct())
        assert count(connection, "select count(*) from hapacs.event") == 1


def test_a_rebuild_that_is_killed_goes_on(site: Site, tmp_path: Path) -> None:
    packs = [[ct() for _ in range(3)] for _ in range(6)]
    for some in packs:
        site.store_packed(*some)
    archived = site.keys()
    site.lose()
    running: list[subprocess.Popen[bytes]] = []
    stored: list[bytes] = []

    def store(content: bytes) -> None:
        site.store(content)
        stored.append(content)
        if len(stored) >= _KILLED_AT and len(running) == 1:
            running[0].kill()

    with orthanc_answers(tmp_path, store) as (url, certificates):
        code = _CHILD.format(certificates=str(certificates))
        command = [sys.executable, "-c", code, "rebuild", "--from-archive", "--json", "--store", url]
        command += ["--config", str(tmp_path / "node.json"), "--progress", str(site.progress)]
        for _ in range(2):
            running.append(subprocess.Popen(command, stdout=subprocess.PIPE))
            output, _ = running[-1].communicate(timeout=200)
            if len(running) == 1:
                assert running[0].returncode == -signal.SIGKILL
                with Progress.open(site.progress) as progress:
                    # The parts before the one in work are done.
                    assert 0 < progress.counts().done < len(packs)
    assert running[1].returncode == 0
    document = json.loads(output)
    assert (document["ok"], document["found"], document["done"]) == (True, 18, 6)
    assert document["images"]["present"] > 0
    assert sorted(site.indexed()) == sorted(content for some in packs for content in some)
    assert (site.keys(), site.leftovers()) == (archived, 0)
