"""Priors of a new study's patient come to the online copy, and go to a destination that does not have them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian

from hapacs_node.catalog import outbox, ruleset
from hapacs_node.catalog.outbox import Selection
from hapacs_node.catalog.tasks import Lane
from hapacs_node.node import Node
from hapacs_node.routing.model import Routing
from hapacs_node.routing.service import Service
from tests.storage.routed import image, run_until, store
from tests.storage.servers import Postgres, free_ports
from tests.support.dcmqrscp import PROGRAM, DcmQrScp

pytestmark = [pytest.mark.skipif(PROGRAM is None, reason="dcmtk is not installed"), pytest.mark.timeout(200)]
HAD = "not sent: the destination has it already"


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[DcmQrScp]:
    server = DcmQrScp(free_ports(1)[0], tmp_path / "dcmqrscp")
    server.start()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def empty(postgres: Postgres, site: Node) -> None:
    """Forget the studies of other tests: all are of the same patient."""
    assert site.settings.node
    with postgres.connect() as connection:
        connection.execute("truncate hapacs.study, hapacs.series, hapacs.instance, hapacs.prefetch")


def load(node: Node, port: int, **wish: Any) -> None:
    """Want priors, with a destination that no rule names."""
    document = {
        "destinations": {
            "reading": {
                "ae_title": "PEER", "host": "127.0.0.1", "port": port, "timeout_s": 20, "query_ae": "PEER",
            }
        },
        "prefetch": [{"name": "priors"} | wish],
    }  # fmt: skip
    Routing.model_validate(document)
    node.database.run(lambda c: ruleset.load(c, document, [Lane("route", "reading")], active=True, by="test"))


def stored(
    node: Node, postgres: Postgres, date: str, *, modality: str = "CT", part: str = "CHEST", **more: str
) -> tuple[str, UUID]:
    """Store a study of one image; return its SOP Instance UID and its attachment."""
    dataset = dcmread(BytesIO(image(modality)[1]))
    dataset.StudyDate, dataset.BodyPartExamined = date, part
    for keyword, value in more.items():
        setattr(dataset, keyword, value)
    output = BytesIO()
    dataset.save_as(output)
    uuid = store(node, postgres, output.getvalue())
    with postgres.connect() as connection:
        connection.execute(
            "insert into metadata select id, 9, %s, 0 from attachedfiles where uuid = %s",
            [str(ExplicitVRLittleEndian), str(uuid)],
        )
    return str(dataset.SOPInstanceUID), uuid


def found(postgres: Postgres) -> list[list[UUID]]:
    with postgres.connect() as connection:
        rows = connection.execute("select images from hapacs.prefetch order by id").fetchall()
    return [cast("list[UUID]", row[0]) for row in rows]


def looked(service: Service, postgres: Postgres, studies: int = 1) -> list[UUID]:
    """Let priors be looked for; return those of the last study."""
    run_until(service, lambda: len(found(postgres)) == studies, "the look for priors")
    return found(postgres)[-1]


def evicted(node: Node, uuid: UUID) -> Path:
    """Remove the online copy of an image; return its place."""
    digest = node.storage.reader.row(uuid).digest
    (place,) = Path(node.settings.das.root).rglob(f"{digest}*")
    place.unlink()
    return place


def test_the_newest_priors_with_the_modality_or_the_body_part_are_found(
    site: Node, services: Callable[[], Service], postgres: Postgres
) -> None:
    stored(site, postgres, "20200101")
    _, second = stored(site, postgres, "20210101")
    stored(site, postgres, "20220101", modality="MR", part="KNEE")
    _, newest = stored(site, postgres, "20230101", modality="MR", part="CHEST")
    stored(site, postgres, "20240101", PatientID="P2")
    stored(site, postgres, "20250101", IssuerOfPatientID="ANOTHER HOSPITAL")
    load(site, free_ports(1)[0], newest=2)
    stored(site, postgres, "20260101")
    assert set(looked(services(), postgres)) == {newest, second}


def test_only_the_modality_counts_when_it_is_wished(
    site: Node, services: Callable[[], Service], postgres: Postgres
) -> None:
    _, same = stored(site, postgres, "20200101", part="KNEE")
    stored(site, postgres, "20230101", modality="MR", part="CHEST")
    load(site, free_ports(1)[0], same=["modality"])
    stored(site, postgres, "20260101")
    assert looked(services(), postgres) == [same]


def test_a_prior_that_was_evicted_comes_back_to_the_online_copy(
    site: Node, services: Callable[[], Service], postgres: Postgres
) -> None:
    _, prior = stored(site, postgres, "20200101")
    place = evicted(site, prior)
    load(site, free_ports(1)[0])
    stored(site, postgres, "20260101")
    service = services()
    assert looked(service, postgres) == [prior]
    run_until(service, place.exists, "the online copy")


def test_a_study_that_the_wish_does_not_mean_wants_no_priors(
    site: Node, services: Callable[[], Service], postgres: Postgres
) -> None:
    _, prior = stored(site, postgres, "20200101")
    load(site, free_ports(1)[0], when=[{"attribute": "Modality", "equals": "CT"}])
    stored(site, postgres, "20250101", modality="MR", part="KNEE")
    stored(site, postgres, "20260101")
    assert looked(services(), postgres) == [prior]


def test_the_destination_gets_the_priors_that_it_does_not_have_also_a_second_time(
    site: Node, services: Callable[[], Service], postgres: Postgres, peer: DcmQrScp
) -> None:
    sop, prior = stored(site, postgres, "20200101")
    evicted(site, prior)
    load(site, peer.port, destinations=["reading"])

    def ended() -> list[tuple[str, int, str]]:
        given = site.database.run(lambda c: outbox.tasks(c, Selection("reading"), "confirmed", 10))
        return [(task.sop, task.attempts, task.reason) for task in given]

    service = services()
    stored(site, postgres, "20250101")
    looked(service, postgres)
    run_until(service, lambda: ended() == [(sop, 1, "")], "the prior")
    second, _ = stored(site, postgres, "20260101")
    looked(service, postgres, 2)
    run_until(service, lambda: len(ended()) == 2, "the priors of the next study")
    assert (sop, 0, HAD) in ended()
    assert second not in [name for name, *_ in ended()]
