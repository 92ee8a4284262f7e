"""By `only_if_absent` a destination is asked first, and gets what it does not list: dcmtk's dcmqrscp by C-FIND."""

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from hapacs_node.catalog import outbox
from hapacs_node.catalog.outbox import Selection
from hapacs_node.node import Node
from hapacs_node.routing import session
from hapacs_node.routing.destination import DicomDestination
from hapacs_node.routing.peer import Access, PeerError
from hapacs_node.routing.service import Service
from tests.storage.routed import ALL_CT, counts, image, load_peer, run_until, store
from tests.storage.servers import Postgres, free_ports
from tests.support.dcmqrscp import PROGRAM, DcmQrScp
from tests.support.storescp import StoreScp

pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="dcmtk is not installed"),
    pytest.mark.timeout(200),
]
ABSENT_CT: dict[str, Any] = ALL_CT | {"only_if_absent": True}
HAD = "not sent: the destination has it already"


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


@pytest.fixture
def peer(port: int, tmp_path: Path) -> Iterator[DcmQrScp]:
    server = DcmQrScp(port, tmp_path / "dcmqrscp")
    server.start()
    yield server
    server.stop()


def destination(port: int, **more: Any) -> dict[str, Any]:
    return {"ae_title": "PEER", "host": "127.0.0.1", "port": port, "timeout_s": 20, "query_ae": "PEER"} | more


def kept(peer: DcmQrScp) -> dict[str, int]:
    """Return when each file was written that the peer keeps."""
    return {path.name: path.stat().st_mtime_ns for path in (peer.directory / "kept").glob("*") if path.suffix != ".dat"}


def tasks(postgres: Postgres) -> dict[str, tuple[object, ...]]:
    """Return state, number of attempts and reason of each image's task."""
    with postgres.connect() as connection:
        rows = connection.execute("select sop, state, attempts, reason from hapacs.task").fetchall()
    return {str(sop): tuple(rest) for sop, *rest in rows}


def ask_now(node: Node) -> None:
    node.database.run(lambda c: c.execute("update hapacs.task set due_at = now() where state = 'waiting'"))
    node.database.run(lambda c: outbox.intervene(c, "retry", Selection("peer"), "op", "it is back"))


def beside(content: bytes) -> tuple[str, bytes]:
    """Make another image of the same series."""
    dataset = dcmread(BytesIO(content))
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    output = BytesIO()
    dataset.save_as(output)
    return str(dataset.SOPInstanceUID), output.getvalue()


def test_images_that_the_destination_has_are_confirmed_without_being_sent_and_others_are_sent(
    site: Node, services: Callable[[], Service], peer: DcmQrScp, postgres: Postgres
) -> None:
    load_peer(site, destination(peer.port), ALL_CT)
    had = dict(image() for _ in range(3))
    for content in had.values():
        store(site, postgres, content)
    service = services()
    run_until(service, lambda: counts(site)["confirmed"] == 3, "the first images")
    before = kept(peer)
    site.database.run(lambda c: c.execute("truncate hapacs.task"))
    load_peer(site, destination(peer.port), ABSENT_CT)
    new = dict([beside(next(iter(had.values()))), image()])
    for content in (had | new).values():
        store(site, postgres, content)
    run_until(service, lambda: counts(site)["confirmed"] == 8, "the confirmations")
    assert tasks(postgres) == dict.fromkeys(had, ("confirmed", 0, HAD)) | dict.fromkeys(new, ("confirmed", 1, ""))
    sample = service.metrics.registry.get_sample_value
    assert sample("hapacs_routing_images_total", {"destination": "peer", "end": "present"}) == 3
    after = kept(peer)
    assert len(after) == 5
    assert {name: after[name] for name in before} == before


def test_a_destination_without_an_answer_keeps_these_images_waiting_and_gets_others(
    site: Node, services: Callable[[], Service], port: int, tmp_path: Path, postgres: Postgres
) -> None:
    scp = StoreScp(port, tmp_path / "received")
    scp.start()
    (asked, content), (other, plain) = image(), image("MR")
    try:
        mr = {"name": "mr", "when": [{"attribute": "Modality", "equals": "MR"}], "destinations": ["peer"]}
        load_peer(site, destination(port), ABSENT_CT, mr)
        service = services()
        for one in (content, plain):
            store(site, postgres, one)
        run_until(service, lambda: counts(site)["confirmed"] == 1, "the image that needs no question")
        run_until(service, lambda: "takes no C-FIND" in str(tasks(postgres)[asked]), "the question")
        assert tasks(postgres)[asked][:2] == ("waiting", 0)
        (status,) = site.database.run(lambda c: outbox.status(c, "route"))
        assert status.failures == 0
        assert set(scp.received()) == {other}
        with pytest.raises(PeerError, match="takes no C-FIND"):
            session.ping(DicomDestination.model_validate(destination(port)), Access())
    finally:
        scp.stop()
    archive = DcmQrScp(port, tmp_path / "dcmqrscp")
    archive.start()
    try:
        ask_now(site)
        run_until(service, lambda: tasks(postgres)[asked] == ("confirmed", 1, ""), "the end")
        assert len(kept(archive)) == 1
    finally:
        archive.stop()


def test_a_destination_that_is_down_fails_and_its_images_wait_without_an_attempt(
    site: Node, services: Callable[[], Service], port: int, postgres: Postgres
) -> None:
    load_peer(site, destination(port), ABSENT_CT)
    sop, content = image()
    store(site, postgres, content)

    def failures() -> int:
        (status,) = site.database.run(lambda c: outbox.status(c, "route"))
        return status.failures

    run_until(services(), lambda: failures() == 1 and counts(site)["waiting"] == 1, "the failure")
    assert tasks(postgres)[sop] == ("waiting", 0, "")


def test_another_title_is_asked_than_the_one_that_takes_images(peer: DcmQrScp) -> None:
    # dcmqrscp takes no association for a title that it does not have.
    at = DicomDestination.model_validate(destination(peer.port, query_ae="NOBODY"))
    with pytest.raises(PeerError, match=r"NOBODY at 127.0.0.1:[0-9]+ refuses an association"):
        session.ping(at, Access())
    assert session.ping(at.model_copy(update={"query_ae": "PEER"}), Access()) == "status 0x0000"
