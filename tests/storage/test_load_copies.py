"""Copies in the archive are read from the volume server itself, past the gateway, and a damaged one is found."""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Any

import pytest

from hapacs_node.storage import replicas
from tests.storage.servers import BUCKET, SeaweedFS

_NOBODY = "127.0.0.1:1"


def port(server: SeaweedFS, name: str) -> str:
    found = re.search(rf"-{name}\.port=(\d+)", " ".join(server.server.command))
    assert found is not None
    return f"127.0.0.1:{found[1]}"


@pytest.fixture
def stored() -> bytes:
    """Bytes of their own for each test, so that they are found on the disk."""
    return secrets.token_bytes(1024) + bytes(10_000_000)


@pytest.fixture
def wanted(seaweedfs: SeaweedFS, stored: bytes) -> dict[str, Any]:
    """An object of several chunks, with the parts of two images, and what is asked about it."""
    client = seaweedfs.client()
    client.put_object(Bucket=BUCKET, Key="packs/copies", Body=stored)
    version = client.head_object(Bucket=BUCKET, Key="packs/copies")["VersionId"]
    half = len(stored) // 2
    parts = [[start, half, hashlib.sha256(stored[start : start + half]).hexdigest()] for start in (0, half)]
    return {
        "filers": [_NOBODY, port(seaweedfs, "filer")],
        "volumes": {"pacs1": port(seaweedfs, "volume"), "pacs2": _NOBODY},
        "objects": [{"path": f"/buckets/{BUCKET}/packs/copies.versions/v_{version}", "parts": parts}],
    }


def look(wanted: dict[str, Any]) -> list[list[list[dict[str, str]]] | None]:
    return replicas.look(wanted, replicas.Servers(None), "")


def on_pacs1(wanted: dict[str, Any]) -> list[set[str]]:
    """Return the states of the chunks of each part on the one server that runs."""
    (parts,) = look(wanted)
    assert parts is not None
    assert {chunk["pacs2"] for part in parts for chunk in part} == {"silent"}
    return [{chunk["pacs1"] for chunk in part} for part in parts]


def test_each_image_of_an_object_is_hashed_on_each_server(wanted: dict[str, Any]) -> None:
    assert on_pacs1(wanted) == [{"whole"}, {"whole"}]


def test_other_bytes_of_one_image_are_found(wanted: dict[str, Any]) -> None:
    wanted["objects"][0]["parts"][1][2] = "0" * 64
    assert on_pacs1(wanted) == [{"whole"}, {"damaged"}]


def test_object_that_is_missing_has_no_copies(wanted: dict[str, Any]) -> None:
    wanted["objects"].append({"path": f"/buckets/{BUCKET}/packs/none.versions/v_0", "parts": []})
    assert look(wanted)[1] is None


def test_server_without_the_volume_has_no_copy(wanted: dict[str, Any]) -> None:
    servers = replicas.Servers(None)
    found = replicas.chunks(servers, wanted["filers"], "", wanted["objects"][0]["path"])
    assert found is not None
    assert len(found) > 1
    address = wanted["volumes"]["pacs1"]
    volumes = replicas.held(servers, address)
    assert volumes is not None
    content = replicas.read(servers, address, volumes, found[-1])
    assert isinstance(content, bytes)
    assert len(content) == found[-1]["size"]
    # It would pass a request for another volume on to the server that has it.
    volumes.remove(found[-1]["file_id"].partition(",")[0])
    assert replicas.read(servers, address, volumes, found[-1]) == "missing"
    assert replicas.read(servers, _NOBODY, {"1"}, {"file_id": "1,0", "size": 1}) == "silent"


def test_flipped_bit_on_the_disk_is_found(wanted: dict[str, Any], seaweedfs: SeaweedFS, stored: bytes) -> None:
    found = replicas.chunks(replicas.Servers(None), wanted["filers"], "", wanted["objects"][0]["path"])
    assert found is not None
    (file,) = seaweedfs.directory.glob(f"*_{found[0]['file_id'].partition(',')[0]}.dat")
    content = bytearray(file.read_bytes())
    place = content.index(stored[:1024]) + 512
    content[place] ^= 1
    file.write_bytes(content)
    # Its CRC is wrong, so the server returns nothing of this chunk; the others of the part are whole.
    assert on_pacs1(wanted) == [{"damaged"}, {"whole"}]
    content[place] ^= 1
    file.write_bytes(content)
    assert on_pacs1(wanted) == [{"whole"}, {"whole"}]


def test_no_filer_that_answers_is_an_error(wanted: dict[str, Any]) -> None:
    wanted["filers"] = [_NOBODY]
    with pytest.raises(OSError, match=re.escape(_NOBODY)):
        look(wanted)
