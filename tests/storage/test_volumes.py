"""The filers' database is lost, and the metadata comes back from the volume files of a real SeaweedFS."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hapacs_node.storage import names
from hapacs_node.storage.packs import pack
from tests.storage.conftest import archive
from tests.storage.servers import BUCKET, SeaweedFS, wait_until
from tests.support.images import ct
from tests.unit.ansible.loading import ANSIBLE

PROGRAM = ANSIBLE / "roles" / "seaweedfs" / "files" / "seaweedfs-volumes"


@pytest.fixture
def seaweedfs(tmp_path: Path) -> Iterator[SeaweedFS]:
    """An archive of its own, whose metadata is lost."""
    with archive(tmp_path) as server:
        yield server


class Volumes:
    """The program, as it runs on a node of the archive."""

    def __init__(self, server: SeaweedFS, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        ports = dict(re.findall(r"-(master|filer)\.port=(\d+)", " ".join(server.server.command)))
        self.configuration = directory / "volumes.json"
        about = {
            "file": str(directory / "volumes.sqlite"),
            "volume_directory": str(server.directory),
            "bucket": BUCKET,
            "weed": server.server.command[0],
            "working_directory": str(directory),
            "masters": f"127.0.0.1:{ports['master']}",
            "filer": f"127.0.0.1:{ports['filer']}",
            "retention_mode": "GOVERNANCE",
            "retention_days": 1,
        }
        self.configuration.write_text(json.dumps(about))

    def run(self, work: str, text: bytes = b"") -> bytes:
        words = [sys.executable, str(PROGRAM), work, "--configuration", str(self.configuration)]
        done = subprocess.run(words, input=text, capture_output=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def counted(self, work: str, text: bytes = b"") -> dict[str, int]:
        return dict(json.loads(self.run(work, text)))


def filled(server: SeaweedFS) -> dict[str, bytes]:
    """Store images alone, a large one in several chunks, and a pack."""
    client, stored = server.client(), {}
    images = [ct() for _ in range(6)]
    for content in [*images[:3], secrets.token_bytes(9_000_000)]:
        digest = names.digest_of(content)
        key = names.cas_key(digest)
        client.put_object(Bucket=BUCKET, Key=key, Body=content, Metadata={"sha256": digest}, IfNoneMatch="*")
        stored[key] = content
    packed, _ = pack({names.digest_of(content): content for content in images[3:]})
    key = names.pack_key()
    client.put_object(Bucket=BUCKET, Key=key, Body=packed)
    return stored | {key: packed}


def locks(server: SeaweedFS, keys: list[str]) -> list[tuple[str, Any]]:
    client = server.client()
    heads = [client.head_object(Bucket=BUCKET, Key=key) for key in keys]
    return [(head["ObjectLockMode"], head["ObjectLockRetainUntilDate"]) for head in heads]


def listed(server: SeaweedFS) -> set[str]:
    client = server.client(key="admin", secret="admin-secret-of-the-test")
    return {one["Key"] for one in client.list_objects_v2(Bucket=BUCKET).get("Contents", [])} - {"first"}


def versions(server: SeaweedFS) -> int:
    client = server.client(key="admin", secret="admin-secret-of-the-test")
    return sum(one["Key"] != "first" for one in client.list_object_versions(Bucket=BUCKET)["Versions"])


def lose(server: SeaweedFS, *, flushed: bool) -> None:
    """Lose the filers' database; `flushed`: the filer had written its journal before."""
    if flushed:
        server.server.signal(signal.SIGTERM)
        assert server.server.handle is not None
        server.server.handle.wait(timeout=60)
    server.kill()
    shutil.rmtree(server.directory / "filerldb2")
    server.start()
    client = server.client(key="admin", secret="admin-secret-of-the-test")
    assert client.list_buckets()["Buckets"] == []


def contents(server: SeaweedFS, keys: list[str]) -> list[bytes]:
    """Read objects, when the gateways have heard again where the volumes are."""
    client = server.client()

    def answered() -> bool:
        try:
            client.get_object(Bucket=BUCKET, Key=keys[0])
        except client.exceptions.ClientError as error:
            return bool(error.response["Error"]["Code"] != "InternalError")
        return True

    wait_until(answered, "the gateways to know the volumes")
    return [client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys]


def test_journals_bring_each_object_back_with_its_key_and_its_lock(seaweedfs: SeaweedFS, tmp_path: Path) -> None:
    stored = filled(seaweedfs)
    keys, volumes = sorted(stored), Volumes(seaweedfs, tmp_path)
    before, versions_before = locks(seaweedfs, keys), versions(seaweedfs)
    lose(seaweedfs, flushed=True)
    # Another node reads the journals, and this one takes what it found.
    other = Volumes(seaweedfs, tmp_path / "other")
    assert other.counted("journal")["changes"] >= 3 * len(stored)
    assert volumes.counted("take", other.run("give"))["taken"] > len(stored)
    # Everything is in the journals, so no needle is looked at.
    named = volumes.run("fids")
    assert volumes.counted("needles", named)["objects"] == 0
    assert volumes.counted("load")["objects"] == len(stored) + 1
    assert listed(seaweedfs) == set(stored)
    assert contents(seaweedfs, keys) == [stored[key] for key in keys]
    assert locks(seaweedfs, keys) == before
    assert versions(seaweedfs) == versions_before
    # A second run finds nothing new, and changes nothing.
    assert other.counted("journal")["changes"] == 0
    volumes.run("load")
    assert versions(seaweedfs) == versions_before


def test_needles_that_no_journal_names_become_objects(seaweedfs: SeaweedFS, tmp_path: Path) -> None:
    stored = filled(seaweedfs)
    volumes = Volumes(seaweedfs, tmp_path)
    small = sorted(key for key in stored if key.startswith("sha256/") and len(stored[key]) < 4 << 20)
    (former,) = [key for key in stored if key.startswith("packs/")]
    before = locks(seaweedfs, [*small, former])
    lose(seaweedfs, flushed=False)
    assert volumes.counted("journal")["changes"] == 0
    found = volumes.counted("needles", volumes.run("fids"))
    # The parts of the large object are no images, and neither is the object that the bucket began with.
    assert (found["objects"], found["others"]) == (len(small) + 1, 4)
    volumes.run("load")
    (again,) = listed(seaweedfs) - set(small)
    assert re.fullmatch(r"packs/[0-9-]{10}/[0-9a-f-]{36}\.tar", again)
    assert listed(seaweedfs) == {*small, again}
    assert contents(seaweedfs, small) == [stored[key] for key in small]
    assert contents(seaweedfs, [again]) == [stored[former]]
    after = locks(seaweedfs, [*small, again])
    assert [mode for mode, _ in after] == [mode for mode, _ in before]
    assert all(abs((new - old).total_seconds()) <= 1 for (_, new), (_, old) in zip(after, before, strict=True))
    volumes.run("load")
    assert versions(seaweedfs) == len(small) + 1


def test_damaged_pack_and_torn_journal_are_left_alone(seaweedfs: SeaweedFS, tmp_path: Path) -> None:
    stored = filled(seaweedfs)
    (packed,) = [content for key, content in stored.items() if key.startswith("packs/")]
    volumes = Volumes(seaweedfs, tmp_path)
    lose(seaweedfs, flushed=False)
    (file,) = [path for path in seaweedfs.directory.glob("*.dat") if packed[:600] in path.read_bytes()]
    held = bytearray(file.read_bytes())
    held[held.index(packed[:600]) + 5000] ^= 1
    file.write_bytes(held)
    (seaweedfs.directory / "99.dat").write_bytes(bytes([3, 0, 0, 0, 0, 0, 0, 0]) + secrets.token_bytes(5000))
    assert volumes.counted("journal")["changes"] == 0
    assert volumes.counted("needles")["objects"] == 3
