"""A full DAS on a real file system of a fixed size, with a real archive and catalog."""

import itertools
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from hapacs_node.errors import DasFullError, NodeError
from hapacs_node.node import Node
from hapacs_node.storage import names
from hapacs_node.storage.bridge import LIMIT_S
from hapacs_node.storage.eviction import Eviction, Outcome
from tests.storage.servers import BUCKET, Postgres, SeaweedFS, wait_until

SIZE = 24_000_000
IMAGE = 500_000
DICOM, UNTIL_PIXEL_DATA = 1, 3
DAY_S = 86400
numbers = itertools.count(8_000_000)

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system of a fixed size"),
    pytest.mark.timeout(180),
]


@pytest.fixture
def das(tmp_path: Path) -> Iterator[Path]:
    """An empty file system."""
    path = tmp_path / "das"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE},noatime", "tmpfs", str(path)], check=True)
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.fixture
def node(make_node: Callable[..., Node], das: Path) -> Node:
    """A node that evicts below 8 MB up to 12 MB, and refuses stores below 2 MB."""
    evict = {"below_free_bytes": 8_000_000, "until_free_bytes": 12_000_000, "minimum_age_s": DAY_S}
    return make_node(das={"root": str(das), "must_be_mount": True, "minimum_free_bytes": 2_000_000, "evict": evict})


def store(node: Node, kept: dict[UUID, str]) -> str:
    content, uuid = os.urandom(IMAGE), uuid4()
    node.storage.create(str(uuid), DICOM, content)
    kept[uuid] = names.digest_of(content)
    return kept[uuid]


def file_of(node: Node, digest: str) -> Path:
    return node.settings.das.root.joinpath(*names.das_path(digest))


def age(node: Node, digest: str, days: float) -> None:
    moment = time.time() - days * DAY_S
    os.utime(file_of(node, digest), (moment, moment))


def make_room(node: Node) -> Outcome:
    assert isinstance(node.eviction, Eviction)
    outcome = node.eviction.run(node.eviction.needed_bytes())
    assert outcome is not None
    return outcome


def assert_all_there(node: Node, kept: dict[UUID, str]) -> None:
    assert kept
    for uuid, digest in kept.items():
        assert names.digest_of(node.storage.read(str(uuid), DICOM)) == digest


def test_stores_are_refused_at_the_watermark_and_continue_after_eviction(node: Node) -> None:
    kept: dict[UUID, str] = {}
    while node.das.free_bytes() > 2_000_000 + IMAGE + 100_000:
        store(node, kept)
    # For a short time the archive's copies are enough.
    archived: dict[UUID, str] = {}
    assert not file_of(node, store(node, archived)).exists()
    node.storage.bridge.clock = lambda: time.monotonic() + LIMIT_S
    with pytest.raises(DasFullError, match="must keep 2000000"):
        store(node, kept)
    node.health.refresh("das")
    assert not node.health.report()["ok"]
    # All copies are younger than the minimum age, so none can be evicted.
    outcome = make_room(node)
    assert (outcome.freed_bytes, outcome.wanted_bytes > 0) == (0, True)
    for days, digest in enumerate(kept.values(), 2):
        age(node, digest, days)
    outcome = make_room(node)
    assert outcome.freed_bytes >= outcome.wanted_bytes
    assert node.das.free_bytes() >= 12_000_000
    newest_that_went = min(days for days, digest in enumerate(kept.values(), 2) if not file_of(node, digest).exists())
    assert all(file_of(node, digest).exists() for digest in list(kept.values())[: newest_that_went - 2])
    node.health.refresh("das")
    store(node, kept)
    assert_all_there(node, kept | archived)


def test_a_disk_that_fills_up_during_stores_loses_no_acknowledged_image(
    make_node: Callable[..., Node], das: Path, postgres: Postgres
) -> None:
    node = make_node(das={"root": str(das), "must_be_mount": True, "minimum_free_bytes": 0})
    # The time without an online copy, 60 times as fast.
    node.storage.bridge.clock = lambda: 60 * time.monotonic()
    kept: dict[UUID, str] = {}
    refused: list[UUID] = []

    def send(number: int) -> None:
        while len(refused) < 12:
            content, uuid = os.urandom(IMAGE + number), uuid4()
            try:
                node.storage.create(str(uuid), DICOM, content)
            except NodeError:
                refused.append(uuid)
            else:
                kept[uuid] = names.digest_of(content)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(send, range(4)))
    assert list((das / "incoming").iterdir()) == []
    with postgres.connect() as connection:
        rows = connection.execute("select uuid from hapacs.object where uuid = any(%s)", [[*kept, *refused]])
        assert {row[0] for row in rows} == set(kept)
    assert_all_there(node, kept)


def test_eviction_during_stores_and_reads_prevents_refusals(node: Node) -> None:
    kept: dict[UUID, str] = {}
    assert isinstance(node.eviction, Eviction)
    node.eviction.limits = node.eviction.limits.model_copy(update={"minimum_age_s": 0})
    stop = threading.Event()
    keeper = threading.Thread(target=node.eviction.repeat, args=(stop, 0.05))
    keeper.start()
    try:
        # Three times the capacity.
        for number in range(3 * SIZE // IMAGE):
            store(node, kept)
            uuid = list(kept)[number // 2]
            assert names.digest_of(node.storage.read(str(uuid), DICOM)) == kept[uuid]
            wait_until(lambda: node.das.free_bytes() > 4_000_000, "room to be made", 30)
    finally:
        stop.set()
        keeper.join(30)
    assert node.metrics.registry.get_sample_value("hapacs_das_evicted_total", {"kind": "object"})
    assert_all_there(node, kept)


def test_a_copy_that_the_archive_lost_is_kept(node: Node, seaweedfs: SeaweedFS) -> None:
    kept: dict[UUID, str] = {}
    digests = [store(node, kept) for _ in range(4)]
    for digest in digests:
        age(node, digest, 9)
    admin = seaweedfs.client(key="admin", secret="admin-secret-of-the-test")
    for version in admin.list_object_versions(Bucket=BUCKET, Prefix=names.cas_key(digests[0]))["Versions"]:
        admin.delete_object(
            Bucket=BUCKET, Key=version["Key"], VersionId=version["VersionId"], BypassGovernanceRetention=True
        )
    assert isinstance(node.eviction, Eviction)
    outcome = node.eviction.run(SIZE)
    assert outcome is not None
    assert (outcome.objects, outcome.unconfirmed) == (3, 1)
    assert [file_of(node, digest).exists() for digest in digests] == [True, False, False, False]
    assert_all_there(node, kept)


def test_nothing_is_evicted_while_the_archive_is_down(
    make_node: Callable[..., Node], das: Path, seaweedfs: SeaweedFS
) -> None:
    evict = {"below_free_bytes": 1, "until_free_bytes": SIZE, "minimum_age_s": 0}
    node = make_node(
        das={"root": str(das), "must_be_mount": True, "minimum_free_bytes": 0, "evict": evict},
        cas={"connect_timeout_s": 1, "attempt_timeout_s": 1, "deadline_s": 2},
    )
    kept: dict[UUID, str] = {}
    digest = store(node, kept)
    for gateway in seaweedfs.gateways:
        gateway.kill()
    assert isinstance(node.eviction, Eviction)
    with pytest.raises(NodeError):
        node.eviction.run(SIZE)
    assert file_of(node, digest).exists()
    assert_all_there(node, kept)


def test_a_derived_attachment_is_evicted_and_rebuilt(node: Node, postgres: Postgres) -> None:
    content, dicom, header = os.urandom(IMAGE), uuid4(), uuid4()
    node.storage.create(str(dicom), DICOM, content)
    node.storage.create(str(header), UNTIL_PIXEL_DATA, content[:1000])
    identifier = next(numbers)
    with postgres.connect() as connection:
        for kind, uuid, size in ((DICOM, dicom, IMAGE), (UNTIL_PIXEL_DATA, header, 1000)):
            connection.execute(
                "insert into attachedfiles values (%s, %s, %s, %s, %s, 1, '', null)",
                [identifier, kind, str(uuid), size, size],
            )
    file = node.settings.das.root.joinpath(*names.derived_path(header))
    moment = time.time() - 9 * DAY_S
    os.utime(file, (moment, moment))
    assert isinstance(node.eviction, Eviction)
    outcome = node.eviction.run(SIZE)
    assert outcome is not None
    assert (outcome.derived, outcome.objects, outcome.unconfirmed) == (1, 0, 0)
    assert not file.exists()
    assert node.storage.read(str(header), UNTIL_PIXEL_DATA) == content[:1000]
    assert file.exists()
