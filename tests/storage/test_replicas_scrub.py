"""The archive's own scrub finds a flipped byte on a volume server, and nothing else."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.storage.conftest import archive
from tests.storage.servers import BUCKET, SeaweedFS
from tests.unit.ansible.loading import load_script

scrub = load_script("seaweedfs/files/seaweedfs-scrub")


@pytest.fixture
def seaweedfs(tmp_path: Path) -> Iterator[SeaweedFS]:
    """An archive of its own: other tests damage the volumes of the shared one."""
    with archive(tmp_path) as server:
        yield server


def test_flipped_byte_of_a_replica_is_found(
    seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    command = " ".join(seaweedfs.server.command)
    ports = {name: int(found) for name, found in re.findall(r"-(master|volume)\.port=(\d+)", command)}
    monkeypatch.setattr(scrub, "WEED", seaweedfs.server.command[0])
    monkeypatch.setattr(scrub, "CONFIGURATION", str(tmp_path))
    monkeypatch.setattr(scrub, "PORT", ports["volume"])
    content = secrets.token_bytes(3000)
    seaweedfs.client().put_object(Bucket=BUCKET, Key="replicas/scrub", Body=content)
    (file,) = [path for path in seaweedfs.directory.glob("*.dat") if content[:1000] in path.read_bytes()]
    volume = file.stem.rpartition("_")[2]

    def is_whole() -> bool:
        return bool(scrub.is_whole("127.0.0.1", f"127.0.0.1:{ports['master']}", volume))

    def flip() -> None:
        held = bytearray(file.read_bytes())
        held[held.index(content[:100]) + 500] ^= 1
        file.write_bytes(held)

    assert is_whole()
    flip()
    assert not is_whole()
    flip()
    assert is_whole()
