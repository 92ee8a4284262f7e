"""An image that is damaged in every copy: a reader gets an error within seconds."""

import os
import time
from collections.abc import Callable
from uuid import uuid4

import pytest

from hapacs_node.errors import CasDamagedError
from hapacs_node.node import Node
from hapacs_node.storage import names
from tests.storage.servers import SeaweedFS


def damage(seaweedfs: SeaweedFS, content: bytes) -> None:
    """Flip a byte of an object on the disk of the volume server."""
    mark = content[-1064:-1000]
    for volume in seaweedfs.directory.glob("*.dat"):
        at = volume.read_bytes().find(mark)
        if at >= 0:
            with volume.open("r+b") as file:
                file.seek(at)
                file.write(bytes([mark[0] ^ 1]))
            return
    pytest.fail("no volume has the object")


@pytest.mark.parametrize("size", [200_000, 20_000_000])
def test_damage_in_both_copies_is_reported_within_seconds(
    make_node: Callable[..., Node], seaweedfs: SeaweedFS, size: int
) -> None:
    node = make_node()
    uuid, content = str(uuid4()), os.urandom(size)
    digest = names.digest_of(content)
    node.storage.create(uuid, 1, content)
    damage(seaweedfs, content)
    path = node.das.settings.root / "sha256" / digest[:2] / digest[2:4] / digest
    path.write_bytes(content[:-1])
    for allowed_s in (10, 1):
        began = time.monotonic()
        with pytest.raises(CasDamagedError, match="the archive answers, but not with the object"):
            node.storage.read(uuid, 1)
        assert time.monotonic() - began < allowed_s
    path.write_bytes(content)
    assert node.storage.read(uuid, 1) == content
