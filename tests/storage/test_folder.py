"""Stored images leave for a folder on a file system of its own, which is full for a while and missing for a while."""

import os
import subprocess
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydicom import dcmread

from hapacs_node.catalog import outbox
from hapacs_node.catalog.outbox import Selection
from hapacs_node.node import Node
from hapacs_node.routing.service import Service
from tests.storage.routed import ALL_CT, counts, image, load_peer, run_until, store
from tests.storage.servers import Postgres

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system below /mnt"),
    pytest.mark.timeout(400),
]


@pytest.fixture
def share() -> Iterator[Path]:
    path = Path(f"/mnt/hapacs-test-{uuid4().hex[:8]}")
    path.mkdir()
    mount(path)
    yield path
    subprocess.run(["umount", "--lazy", "--quiet", str(path)], check=False)
    path.rmdir()


def mount(path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(path)], check=True)


def destination(share: Path) -> dict[str, Any]:
    return {"kind": "folder", "path": str(share)}


def written(share: Path) -> dict[str, bytes]:
    return {path.stem: path.read_bytes() for path in share.rglob("*.dcm")}


def failure(node: Node) -> str:
    (status,) = node.database.run(lambda c: outbox.status(c, "route"))
    return status.error


def retry(node: Node) -> None:
    """Try now what waits for its pause."""
    node.database.run(lambda c: c.execute("update hapacs.task set due_at = now() where state = 'waiting'"))
    node.database.run(lambda c: outbox.intervene(c, "retry", Selection("peer"), "op", "there is room"))


def test_images_that_a_full_folder_did_not_take_are_written_when_it_has_room(
    site: Node, services: Callable[[], Service], share: Path, postgres: Postgres
) -> None:
    load_peer(site, destination(share), ALL_CT)
    (share / "other").write_bytes(bytes(256 << 10))
    sent = dict(image() for _ in range(5))
    for content in sent.values():
        store(site, postgres, content)
    service = services()
    run_until(service, lambda: "No space left" in failure(site), "the failure")
    run_until(service, lambda: counts(site)["waiting"] == 5, "the end of the attempt")
    assert counts(site)["dead"] == counts(site)["confirmed"] == 0
    (share / "other").unlink()
    retry(site)
    run_until(service, lambda: counts(site)["confirmed"] == 5, "the confirmations")
    assert written(share) == sent
    assert {path.suffix for path in share.rglob("*") if path.is_file()} == {".dcm"}


def test_nothing_is_written_to_the_systems_disk_while_the_share_is_not_mounted(
    site: Node, services: Callable[[], Service], share: Path, postgres: Postgres
) -> None:
    subprocess.run(["umount", str(share)], check=True)
    load_peer(site, destination(share), ALL_CT)
    sop, content = image()
    store(site, postgres, content)
    service = services()
    run_until(service, lambda: "is not mounted" in failure(site), "the failure")
    (task,) = site.database.run(lambda c: outbox.tasks(c, Selection("peer"), None, 10))
    assert (task.state, task.attempts) == ("waiting", 0)
    assert list(share.iterdir()) == []
    mount(share)
    retry(site)
    run_until(service, lambda: counts(site)["confirmed"] == 1, "the confirmation")
    assert written(share) == {sop: content}


def test_a_file_that_is_there_is_not_written_again_when_only_absent_images_are_sent(
    site: Node, services: Callable[[], Service], share: Path, postgres: Postgres
) -> None:
    load_peer(site, destination(share), ALL_CT | {"only_if_absent": True})
    (had, content), (new, other) = image(), image()
    dataset = dcmread(BytesIO(content))
    place = share / dataset.StudyInstanceUID / dataset.SeriesInstanceUID / f"{had}.dcm"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"from elsewhere")
    for one in (content, other):
        store(site, postgres, one)
    run_until(services(), lambda: counts(site)["confirmed"] == 2, "the confirmations")
    assert written(share) == {had: b"from elsewhere", new: other}
    with postgres.connect() as connection:
        found = connection.execute("select attempts, reason from hapacs.task where sop = %s", [had]).fetchall()
    assert found == [(0, "not sent: the destination has it already")]


def test_the_same_image_by_a_second_task_is_the_same_file(
    site: Node, services: Callable[[], Service], share: Path, postgres: Postgres
) -> None:
    load_peer(site, destination(share), ALL_CT)
    sop, content = image()
    for _ in range(2):
        store(site, postgres, content)
    run_until(services(), lambda: counts(site)["confirmed"] == 2, "the confirmations")
    assert written(share) == {sop: content}
