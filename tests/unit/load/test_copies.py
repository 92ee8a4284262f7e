"""What the archive has of a catalog row: copies by volume server, and the lock."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from hapacs.errors import HapacsError
from hapacs.load.copies import SiteCopies
from hapacs.load.evidence import Copies, Row
from hapacs.site.access import Node, NodeError, Site
from hapacs_node.storage import replicas

NODES = [Node(name, f"10.0.0.{number}", "", "hapacs", 22) for number, name in enumerate(("pacs1", "pacs2", "pacs3"))]
ROW = Row("d1", 10, "cas", "packs/p", 0, 10)
SECOND = Row("d2", 20, "cas", "packs/p", 10, 20)
ALONE = Row("d3", 30, "cas", "sha256/d3", 0, 30)


class Gateway:
    def __init__(self, world: World) -> None:
        self.world = world

    def head_object(self, **names: str) -> dict[str, Any]:
        if self.world.gateways_off:
            self.world.gateways_off -= 1
            raise EndpointConnectionError(endpoint_url="gateway")
        if names["Key"] in self.world.gone:
            raise ClientError({"Error": {"Code": "404"}}, "HeadObject")
        return {"VersionId": f"version of {names['Key']}"} | self.world.lock


class World:
    """A site whose volume servers give the answers of a test."""

    contract: ClassVar[dict[str, Any]] = {
        "policy": {"retention_mode": "COMPLIANCE", "cas_replication": "010"},
        "nodes": {node.name: {"zone": f"rack{number}"} for number, node in enumerate(NODES)},
    }

    def __init__(self) -> None:
        self.answers: dict[str, list[list[dict[str, str]]] | None] = {}
        self.gone: set[str] = set()
        self.gateways_off = 0
        self.off: set[str] = set()
        self.asked: list[Any] = []
        self.lock: dict[str, Any] = {
            "ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": datetime.now(UTC) + timedelta(days=1)
        }  # fmt: skip

    def members(self, _group: str) -> list[Node]:
        return NODES

    def s3(self, _node: str, identity: str) -> Gateway:
        assert identity == "reader"
        return Gateway(self)

    def run_script(self, node: Node, script: Path, arguments: Any, **_: Any) -> Any:
        assert script.name == "replicas.py"
        if node.name in self.off:
            raise NodeError(node.name, "no answer")
        self.asked.append(arguments)
        return [self.answers[one["path"].split(".versions/")[0].split("archive/")[1]] for one in arguments["objects"]]


@pytest.fixture
def world() -> World:
    return World()


def copies(world: World, *rows: Row, nodes: list[Node] = NODES) -> dict[Row, Copies]:
    return dict(SiteCopies(cast(Site, world), nodes).of(rows))


def part(*chunks: str) -> list[dict[str, str]]:
    """Return what the nodes have of the chunks of a part, from a word for each node."""
    return [dict(zip((node.name for node in NODES), chunk.split(), strict=True)) for chunk in chunks]


def test_images_of_one_object_are_asked_for_together(world: World) -> None:
    world.answers = {
        "packs/p": [part("whole whole missing"), part("damaged whole missing")],
        "sha256/d3": [part("missing whole damaged")],
    }
    found = copies(world, ROW, SECOND, ALONE)
    assert found == {
        ROW: Copies(["pacs1", "pacs2"], [], [], 2),
        SECOND: Copies(["pacs2"], ["pacs1"], [], 2),
        ALONE: Copies(["pacs2"], ["pacs3"], [], 2),
    }
    (asked,) = world.asked
    assert asked["objects"][0] == {
        "path": "/buckets/archive/packs/p.versions/v_version of packs/p", "parts": [[0, 10, "d1"], [10, 20, "d2"]],
    }  # fmt: skip
    assert asked["volumes"]["pacs1"] == "10.0.0.0:8080"
    assert asked["filers"][0] == "10.0.0.0:8888"


def test_object_that_is_gone_has_no_copies(world: World) -> None:
    world.gone = {"packs/p"}
    world.answers = {"sha256/d3": None}
    assert copies(world, ROW, ALONE) == {}


def test_chunks_of_an_image_may_lie_on_different_nodes(world: World) -> None:
    world.answers = {"sha256/d3": [part("whole whole missing", "whole missing whole", "missing whole whole")]}
    found = copies(world, ALONE)[ALONE]
    assert (len(found.whole), found.damaged, found.apart) == (2, [], True)


def test_chunk_with_the_fewest_copies_speaks_for_the_image(world: World) -> None:
    world.answers = {"sha256/d3": [part("whole whole missing", "whole missing missing", "damaged whole missing")]}
    assert copies(world, ALONE)[ALONE] == Copies(["pacs1"], ["pacs1"], [], 2, apart=False)


def test_copies_in_one_zone_are_not_apart(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(world.contract, "nodes", {node.name: {"zone": "rack1"} for node in NODES})
    world.answers = {"sha256/d3": [part("whole whole missing")]}
    assert not copies(world, ALONE)[ALONE].apart


def test_node_that_is_off_is_silent_and_another_one_hashes(world: World) -> None:
    world.answers = {"sha256/d3": [[{"pacs2": "whole", "pacs3": "silent"}]]}
    world.off = {"pacs2"}
    world.gateways_off = 1
    found = copies(world, ALONE, nodes=NODES[1:])
    assert found == {ALONE: Copies(["pacs2"], [], ["pacs1", "pacs3"], 2)}


@pytest.mark.parametrize(
    ("mode", "days", "problem"),
    [("COMPLIANCE", 1, ""), ("GOVERNANCE", 1, "retention GOVERNANCE instead"), ("COMPLIANCE", -1, "the lock ended at")],
)
def test_lock_has_the_mode_of_the_policy_and_lasts(world: World, mode: str, days: int, problem: str) -> None:
    world.answers = {"sha256/d3": [part("whole whole missing")]}
    world.lock = {"ObjectLockMode": mode, "ObjectLockRetainUntilDate": datetime.now(UTC) + timedelta(days=days)}
    lock = copies(world, ALONE)[ALONE].lock
    assert lock.startswith(problem)
    assert bool(lock) == bool(problem)


def test_object_without_a_lock_is_reported(world: World) -> None:
    world.answers = {"sha256/d3": [part("whole whole missing")]}
    world.lock = {}
    assert copies(world, ALONE)[ALONE].lock == "no retention"


def test_archive_that_does_not_answer_is_an_error(world: World) -> None:
    world.gateways_off = 3
    with pytest.raises(HapacsError, match="doesn't answer for sha256/d3"):
        copies(world, ALONE)
    world.off = {node.name for node in NODES}
    with pytest.raises(NodeError):
        copies(world, ALONE)


def content(*states: bytes | str) -> dict[str, bytes | str]:
    return dict(zip((node.name for node in NODES), states, strict=True))


def test_digest_says_which_of_different_bytes_are_right() -> None:
    part = replicas.Part(2, 6, hashlib.sha256(b"cdefgh").hexdigest())
    part.take(0, 4, content(b"abcX", b"abcd", "missing"))
    part.take(4, 4, content(b"efgh", "silent", b"Yfgh"))
    part.take(8, 4, content(b"ijkl", b"ijkl", b"ijkl"))
    assert part.copies() == [
        {"pacs1": "damaged", "pacs2": "whole", "pacs3": "missing"},
        {"pacs1": "whole", "pacs2": "silent", "pacs3": "damaged"},
    ]


def test_bytes_that_are_wrong_everywhere_are_damaged() -> None:
    part = replicas.Part(0, 4, hashlib.sha256(b"abcd").hexdigest())
    part.take(0, 4, content(b"abcX", b"abcX", "missing"))
    assert part.copies() == [{"pacs1": "damaged", "pacs2": "damaged", "pacs3": "missing"}]


def test_part_that_no_server_has_is_missing() -> None:
    part = replicas.Part(0, 8, hashlib.sha256(b"abcdefgh").hexdigest())
    part.take(0, 4, content("missing", "missing", "missing"))
    part.take(4, 4, content(b"efgh", b"efgh", "missing"))
    assert part.copies()[0] == {"pacs1": "missing", "pacs2": "missing", "pacs3": "missing"}
    assert set(part.copies()[1].values()) == {"damaged", "missing"}


def test_nothing_asked_is_nothing_found(world: World) -> None:
    assert copies(world) == {}
    assert world.asked == []
