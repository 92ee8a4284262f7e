"""Stored images leave for dcmtk's storescp by rules: from the storing transaction to the confirmed task."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import MRImageStorage

from hapacs_node.catalog import outbox, ruleset
from hapacs_node.catalog.outbox import Selection
from hapacs_node.node import Node
from hapacs_node.routing.service import Service
from tests.storage.routed import ALL_CT, counts, image, load, run_until, store
from tests.storage.servers import Postgres, free_ports, wait_until
from tests.support.storescp import PROGRAM, StoreScp

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="dcmtk is not installed")


@pytest.fixture
def scp(tmp_path: Path) -> Iterator[StoreScp]:
    server = StoreScp(free_ports(1)[0], tmp_path / "received")
    yield server
    server.stop()


@pytest.mark.timeout(400)
def test_a_stored_image_leaves_by_a_rule_byte_for_byte_and_others_are_counted(
    site: Node, services: Callable[[], Service], scp: StoreScp, postgres: Postgres
) -> None:
    before = image()[1]
    store(site, postgres, before)
    load(site, scp, ALL_CT)
    scp.start()
    service = services()
    sent = dict(image() for _ in range(5))
    for content in sent.values():
        store(site, postgres, content)
    store(site, postgres, image("MR")[1])
    run_until(service, lambda: counts(site)["confirmed"] == 5, "the confirmations")
    received = scp.received()
    assert set(received) == set(sent)
    for sop, content in sent.items():
        own, peers = dcmread(BytesIO(content)), dcmread(received[sop], force=True)
        assert peers.PixelData == own.PixelData
        assert content.endswith(received[sop].read_bytes()[-3000:][-len(own.PixelData) - 200 :])
    assert site.database.run(outbox.unmatched_today) == 1


@pytest.mark.timeout(400)
def test_images_wait_for_a_destination_that_is_down_and_are_sent_when_it_returns(
    site: Node, services: Callable[[], Service], scp: StoreScp, postgres: Postgres
) -> None:
    load(site, scp, ALL_CT)
    service = services()
    sent = dict(image() for _ in range(3))
    for content in sent.values():
        store(site, postgres, content)

    def failed() -> bool:
        (status,) = site.database.run(lambda c: outbox.status(c, "route"))
        return status.failures >= 1 and status.tasks["waiting"] == 3

    run_until(service, failed, "the failure")
    (task, *_) = site.database.run(lambda c: outbox.tasks(c, Selection("peer"), None, 10))
    assert (task.state, task.attempts) == ("waiting", 0)
    scp.start()
    assert site.database.run(lambda c: outbox.intervene(c, "retry", Selection("peer"), "op", "it is back")) == 0
    run_until(service, lambda: counts(site)["confirmed"] == 3, "the confirmations")
    assert set(scp.received()) == set(sent)


@pytest.mark.timeout(400)
def test_the_copy_that_leaves_is_changed_and_the_stored_one_is_not(
    site: Node, services: Callable[[], Service], scp: StoreScp, postgres: Postgres
) -> None:
    change = [
        {"attribute": "PatientName", "replace": "RESEARCH"},
        {"attribute": "PatientID", "remove": True},
        {"attribute": "AccessionNumber", "prefix": "X-"},
    ]
    load(site, scp, ALL_CT | {"change": change})
    scp.start()
    sop, content = image()
    uuid = store(site, postgres, content)
    run_until(services(), lambda: counts(site)["confirmed"] == 1, "the confirmation")
    peers = dcmread(scp.received()[sop], force=True)
    assert (str(peers.PatientName), "PatientID" in peers, peers.AccessionNumber) == ("RESEARCH", False, "X-A7")
    assert peers.PixelData == dcmread(BytesIO(content)).PixelData
    assert site.storage.read(str(uuid), 1) == content


@pytest.mark.timeout(400)
def test_what_a_destination_refuses_is_dead_and_the_rest_goes_on(
    site: Node, services: Callable[[], Service], scp: StoreScp, postgres: Postgres
) -> None:
    # storescp accepts no presentation context of this private class.
    load(site, scp, {"name": "all", "destinations": ["peer"]})
    scp.start()
    good, content = image()
    _, other = image("MR")
    unknown = other.replace(MRImageStorage.encode(), b"1.2.840.10008.5.1.4.9.9.9"[: len(MRImageStorage)])
    store(site, postgres, unknown)
    store(site, postgres, content)
    run_until(
        services(), lambda: counts(site) | {"waiting": 0} == counts(site) and counts(site)["dead"] == 1, "the end"
    )
    assert counts(site)["confirmed"] == 1
    assert set(scp.received()) == {good}
    (dead,) = site.database.run(lambda c: outbox.tasks(c, Selection("peer"), "dead", 10))
    assert "is not accepted" in dead.reason


@pytest.mark.timeout(400)
def test_a_held_destination_gets_nothing_until_it_is_released(
    site: Node, services: Callable[[], Service], scp: StoreScp, postgres: Postgres
) -> None:
    load(site, scp, ALL_CT)
    scp.start()
    service = services()
    held = site.database.run(lambda c: outbox.intervene(c, "hold", Selection("peer"), "op", "maintenance"))
    assert held == 1
    store(site, postgres, image()[1])
    run_until(service, lambda: counts(site)["waiting"] == 1, "the plan")
    for _ in range(3):
        service.step()
        time.sleep(0.2)
    assert counts(site)["confirmed"] == 0
    site.database.run(lambda c: outbox.intervene(c, "release", Selection("peer"), "op", "done"))
    run_until(service, lambda: counts(site)["confirmed"] == 1, "the confirmation")
    with postgres.connect() as connection:
        kept = connection.execute("select action, operator, reason from hapacs.intervention order by id").fetchall()
    assert kept == [("hold", "op", "maintenance"), ("release", "op", "done")]


@pytest.mark.timeout(400)
def test_new_rules_are_taken_up_without_a_restart_and_bad_ones_keep_the_old(
    site: Node, services: Callable[[], Service], scp: StoreScp, postgres: Postgres
) -> None:
    load(site, scp, ALL_CT)
    scp.start()
    service = services()
    service.step()
    site.database.run(lambda c: ruleset.load(c, {"rules": [{"nonsense": 1}]}, [], active=True, by="test"))
    store(site, postgres, image()[1])
    run_until(service, lambda: counts(site)["confirmed"] == 1, "the confirmation")
    assert service.metrics.registry.get_sample_value("hapacs_routing_rules_invalid") == 1
    load(site, scp, {"name": "all", "destinations": ["peer"]})
    store(site, postgres, image("MR")[1])
    run_until(service, lambda: counts(site)["confirmed"] == 2, "the confirmation")
    assert service.metrics.registry.get_sample_value("hapacs_routing_rules_invalid") == 0


# As `few_folders` of the fixtures, in another process.
START = "from hapacs_node.storage import das; das._SPREAD = ['00']; from hapacs_node.cli import main; main()"


def program(node_file: Path, name: str) -> subprocess.Popen[bytes]:
    """Start the service as its unit does, on a node of this name."""
    document = json.loads(node_file.read_text()) | {"node": name}
    config = node_file.with_name(f"{name}.json")
    config.write_text(json.dumps(document))
    unused = str(node_file.with_name("unused.pem"))
    options = ["--certificate", unused, "--key", unused, "--authority", unused, "--config", str(config)]
    return subprocess.Popen(
        [sys.executable, "-c", START, "route", "run", "--metrics-port", str(free_ports(1)[0]), *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.timeout(900)
def test_nothing_is_lost_or_sent_twice_without_a_record_when_the_service_is_killed(
    site: Node, scp: StoreScp, postgres: Postgres, tmp_path: Path
) -> None:
    # A file for each time that an image arrives.
    scp.options = ("+uf",)
    scp.start()
    load(site, scp, ALL_CT, mb_per_s=0.02)
    sent = dict(image() for _ in range(30))
    for content in sent.values():
        store(site, postgres, content)

    def arrived() -> Counter[str]:
        return Counter(str(dcmread(path, force=True).SOPInstanceUID) for path in scp.directory.iterdir())

    first = program(tmp_path / "node.json", "pacs1")
    try:
        wait_until(lambda: len(list(scp.directory.iterdir())) >= 5, "the first images", 240)
    finally:
        first.kill()
        first.wait()
    assert counts(site)["in flight"] > 0
    second = program(tmp_path / "node.json", "pacs2")
    try:
        wait_until(lambda: counts(site)["confirmed"] == len(sent), "the confirmations", 300)
    finally:
        second.terminate()
        assert second.wait(timeout=60) == 0
    attempts = {
        task.sop: task.attempts for task in site.database.run(lambda c: outbox.tasks(c, Selection(), "confirmed", 100))
    }
    times = arrived()
    assert set(times) == set(attempts) == set(sent)
    assert all(times[sop] <= attempts[sop] for sop in sent)
