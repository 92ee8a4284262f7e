"""Kills each server under load: all acknowledged images are there, other stores failed, and storing resumes."""

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest

from hapacs_node.errors import NodeError
from hapacs_node.node import Node
from hapacs_node.storage import names
from tests.storage.servers import Postgres, SeaweedFS, wait_until

# Short enough for a test, long enough for a server that starts again.
LIMITS: dict[str, dict[str, object]] = {
    "database": {"statement_timeout_s": 1, "deadline_s": 2, "connect_timeout_s": 2},
    "cas": {"connect_timeout_s": 1, "attempt_timeout_s": 2, "deadline_s": 3},
}
SENDERS = 4
pytestmark = pytest.mark.usefixtures("active_rules")


@dataclass
class Ledger:
    """The acknowledgements and refusals that senders got."""

    acknowledged: dict[UUID, str] = field(default_factory=dict)
    refused: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def count(self) -> int:
        return len(self.acknowledged)

    def more_than(self, count: int) -> Callable[[], bool]:
        return lambda: self.count > count


@contextmanager
def sending(node: Node) -> Iterator[Ledger]:
    """Store images from several associations until the block ends."""
    ledger, stop = Ledger(), threading.Event()

    def send(_: int) -> None:
        while not stop.is_set():
            uuid, content = uuid4(), os.urandom(50_000)
            try:
                node.storage.create(str(uuid), 1, content)
            except NodeError:
                with ledger.lock:
                    ledger.refused += 1
                continue
            with ledger.lock:
                ledger.acknowledged[uuid] = names.digest_of(content)

    with ThreadPoolExecutor(SENDERS) as threads:
        sent = threads.map(send, range(SENDERS))
        try:
            yield ledger
        finally:
            stop.set()
        list(sent)  # a sender that broke in any other way fails the test here


def assert_all_there(node: Node, ledger: Ledger, postgres: Postgres) -> None:
    """Every acknowledged image is in the catalog exactly once, whole on DAS and in the archive."""
    with postgres.connect() as connection:
        found = connection.execute("select uuid, encode(digest, 'hex'), key, \"offset\", length from hapacs.object")
        places: dict[Any, list[Any]] = {uuid: place for uuid, *place in found.fetchall()}
        events = connection.execute(
            "select count(*) from hapacs.event where uuid = any(%s)", [list(ledger.acknowledged)]
        ).fetchone()
    assert {uuid: places[uuid][0] for uuid in ledger.acknowledged if uuid in places} == ledger.acknowledged
    assert events == (ledger.count,)
    for uuid, digest in ledger.acknowledged.items():
        _, key, offset, length = places[uuid]
        assert length == 50_000
        assert node.das.read(digest, length) == node.cas.get(key, digest, offset, length)


def test_killing_the_database_loses_no_acknowledged_image(make_node: Callable[..., Node], postgres: Postgres) -> None:
    node = make_node(**LIMITS)
    with sending(node) as ledger:
        wait_until(ledger.more_than(20), "the first images", 30)
        postgres.kill()
        time.sleep(0.5)  # stores in progress complete
        during = ledger.count
        wait_until(lambda: ledger.refused >= SENDERS, "the refusals", 30)
        assert ledger.count == during
        postgres.start()
        wait_until(ledger.more_than(during + 20), "storing to resume", 30)
    assert_all_there(node, ledger, postgres)


def test_killing_the_archive_loses_no_acknowledged_image(
    make_node: Callable[..., Node], postgres: Postgres, seaweedfs: SeaweedFS
) -> None:
    node = make_node(**LIMITS)
    with sending(node) as ledger:
        wait_until(ledger.more_than(20), "the first images", 30)
        seaweedfs.kill()
        time.sleep(0.5)
        during = ledger.count
        wait_until(lambda: ledger.refused >= SENDERS, "the refusals", 30)
        assert ledger.count == during
        seaweedfs.start()
        wait_until(ledger.more_than(during + 20), "storing to resume", 60)
    assert_all_there(node, ledger, postgres)


def test_killing_the_servers_behind_the_gateways_loses_no_acknowledged_image(
    make_node: Callable[..., Node], postgres: Postgres, seaweedfs: SeaweedFS
) -> None:
    node = make_node(**LIMITS)
    with sending(node) as ledger:
        wait_until(ledger.more_than(20), "the first images", 30)
        seaweedfs.server.kill()
        wait_until(lambda: ledger.refused >= SENDERS, "the refusals", 30)
        during = ledger.count
        seaweedfs.start()
        wait_until(ledger.more_than(during + 20), "storing to resume", 60)
    assert_all_there(node, ledger, postgres)


def test_gateways_die_in_turn_and_no_image_is_refused(
    make_node: Callable[..., Node], postgres: Postgres, seaweedfs: SeaweedFS
) -> None:
    node = make_node(database=LIMITS["database"])
    with sending(node) as ledger:
        for gateway in itertools.chain(seaweedfs.gateways):
            before = ledger.count
            wait_until(ledger.more_than(before + 20), "images before the loss", 30)
            gateway.kill()
            before = ledger.count
            wait_until(ledger.more_than(before + 20), "images after the loss", 30)
            seaweedfs.start()
    assert ledger.refused == 0
    assert_all_there(node, ledger, postgres)


def test_every_image_is_restored_after_the_das_is_lost(make_node: Callable[..., Node], postgres: Postgres) -> None:
    node = make_node(**LIMITS)
    with sending(node) as ledger:
        wait_until(ledger.more_than(30), "the images", 30)
    for file in (node.settings.das.root / "sha256").rglob("*/*/*"):
        file.unlink()
    for uuid, digest in ledger.acknowledged.items():
        assert names.digest_of(node.storage.read(str(uuid), 1)) == digest
    healed = node.metrics.registry.get_sample_value("hapacs_das_heals_total", {"reason": "missing"})
    assert healed == ledger.count
    assert_all_there(node, ledger, postgres)


@pytest.mark.parametrize("server", ["postgres", "seaweedfs"])
def test_health_follows_failures_of_database_and_archive(
    make_node: Callable[..., Node], postgres: Postgres, seaweedfs: SeaweedFS, *, server: str
) -> None:
    node = make_node(**LIMITS)
    checks = list(node.health.probes)

    def report() -> dict[str, bool]:
        for name in checks:
            node.health.refresh(name)
        found = node.health.report()["checks"]
        assert isinstance(found, dict)
        return {name: bool(check["ok"]) for name, check in found.items()}

    assert report() == dict.fromkeys(checks, True)
    killed, check = (postgres, "database") if server == "postgres" else (seaweedfs, "cas")
    killed.kill()
    assert report() == {name: name != check for name in checks}
    killed.start()
    wait_until(lambda: all(report().values()), "the health to come back", 60)
