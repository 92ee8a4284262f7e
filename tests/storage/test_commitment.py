"""Storage commitment on a real catalog and archive: what is committed, what is not, and who reports it."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from uuid import UUID

import pytest
from pydicom import dcmread
from pydicom.uid import CTImageStorage, MRImageStorage
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined] # made at import time
from typer.testing import CliRunner

from hapacs_node.catalog import commitment, objects
from hapacs_node.catalog.commitment import Referenced
from hapacs_node.cli import app
from hapacs_node.commitment import service as service_module
from hapacs_node.commitment.service import Service
from hapacs_node.commitment.settings import CommitmentSettings
from hapacs_node.node import Node
from tests.storage.routed import image, store
from tests.storage.servers import Postgres, SeaweedFS, free_ports
from tests.support.commitment import Modality, ask, associate

CT = str(CTImageStorage)
# Nothing listens there.
_NOBODY = "127.0.0.2"


def port(server: SeaweedFS, name: str) -> int:
    found = re.search(rf"-{name}\.port=(\d+)", " ".join(server.server.command))
    assert found is not None
    return int(found[1])


@pytest.fixture
def orthanc() -> Iterator[int]:
    """A storing service that accepts associations; return its port."""
    entity = AE(ae_title="HAPACS")
    for sop_class in (CTImageStorage, StorageCommitmentPushModel):
        entity.add_supported_context(sop_class)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda _: 0)])
    assert server is not None
    yield server.server_address[1]
    server.shutdown()


@pytest.fixture
def modality() -> Iterator[Modality]:
    with Modality(free_ports(1)[0]) as made:
        yield made


@pytest.fixture
def make_service(
    node: Node, seaweedfs: SeaweedFS, postgres: Postgres, orthanc: int, modality: Modality
) -> Iterator[Callable[..., Service]]:
    """Build the services of nodes on one database; the one volume server of the test stands for both racks."""
    made: list[Service] = []

    def build(name: str = "pacs1", *, second: str = "127.0.0.1") -> Service:
        settings = {
            "listen": {"host": "127.0.0.1", "port": free_ports(1)[0]},
            "store": {"host": "127.0.0.1", "port": orthanc},
            "metrics_port": free_ports(1)[0],
            "callers": [{"ae_title": "CT1", "host": "127.0.0.1", "port": modality.port}, {"ae_title": "OTHER"}],
            "archive": {
                "members": [
                    {"name": "pacs1", "address": "127.0.0.1", "zone": "r1"},
                    {"name": "pacs2", "address": second, "zone": "r2"},
                ],
                "filer_port": port(seaweedfs, "filer"),
                "volume_port": port(seaweedfs, "volume"),
                "replication": "010",
                "mode": "GOVERNANCE",
            },
        }
        known = node.settings.model_copy(update={"node": name})
        service = Service.build(known, CommitmentSettings.model_validate(settings))
        made.append(service)
        return service

    with postgres.connect() as connection:
        connection.execute("truncate hapacs.commitment, hapacs.committed")
    yield build
    for service in made:
        service.database.close()


def stored(node: Node, postgres: Postgres) -> tuple[str, UUID]:
    """Store a CT; return its SOP Instance UID and its file."""
    sop, content = image()
    uuid = store(node, postgres, content)
    with postgres.connect() as connection:
        connection.execute(
            "insert into metadata select id, 10, %s, 0 from attachedfiles where uuid = %s", [CT, str(uuid)]
        )
    return sop, uuid


def judged(service: Service, *images: Referenced) -> list[tuple[int | None, str]]:
    given = [replace(one, number=number) for number, one in enumerate(images, 1)]
    return [(one.failure, one.problem) for one in service.worker.copies.judge(given)]


def keep(service: Service, *sops: str, transaction: str = "1.2.9") -> None:
    wanted = [Referenced(CT, sop) for sop in sops]
    service.database.run(lambda c: commitment.add(c, "CT1", "HAPACS", transaction, wanted))


def states(service: Service) -> list[str]:
    return [one.state for one in service.database.run(lambda c: commitment.listing(c, only_open=False, limit=9))]


def due(postgres: Postgres) -> None:
    """Let the pauses of all requests end."""
    with postgres.connect() as connection:
        connection.execute("update hapacs.commitment set due_at = now()")


def test_image_is_committed_when_all_copies_are_whole_and_locked(
    node: Node, postgres: Postgres, make_service: Callable[..., Service]
) -> None:
    sop, _ = stored(node, postgres)
    assert judged(make_service(), Referenced(CT, sop)) == [(0, "")]


def test_image_is_not_committed_while_one_rack_does_not_answer(
    node: Node, postgres: Postgres, make_service: Callable[..., Service]
) -> None:
    sop, _ = stored(node, postgres)
    ((failure, problem),) = judged(make_service(second=_NOBODY), Referenced(CT, sop))
    assert failure is None
    assert problem == "1 of 2 copies are whole (pacs2: silent)"


def test_unknown_image_and_another_class_have_their_reasons(
    node: Node, postgres: Postgres, make_service: Callable[..., Service]
) -> None:
    sop, _ = stored(node, postgres)
    service = make_service()
    found = judged(service, Referenced(CT, "1.2.3.4"), Referenced(str(MRImageStorage), sop))
    assert [failure for failure, _ in found] == [0x0112, 0x0119]


def test_bytes_that_differ_from_the_catalog_are_not_committed(
    node: Node, postgres: Postgres, make_service: Callable[..., Service]
) -> None:
    sop, uuid = stored(node, postgres)
    with postgres.connect() as connection:
        connection.execute("update hapacs.object set digest = %s where uuid = %s", [b"\1" * 32, uuid])
    ((failure, problem),) = judged(make_service(), Referenced(CT, sop))
    assert failure is None
    assert "0 of 2 copies are whole (pacs1: damaged, pacs2: damaged)" in problem


def test_object_without_the_lock_of_the_site_is_not_committed(
    node: Node, postgres: Postgres, make_service: Callable[..., Service]
) -> None:
    sop, _ = stored(node, postgres)
    service = make_service()
    copies = service.worker.copies
    service.worker.copies = replace(copies, archive=copies.archive.model_copy(update={"mode": "COMPLIANCE"}))
    assert judged(service, Referenced(CT, sop)) == [(None, "its object has the lock GOVERNANCE instead of COMPLIANCE")]


def test_request_over_the_association_is_reported_on_a_new_one(
    node: Node, postgres: Postgres, make_service: Callable[..., Service], modality: Modality
) -> None:
    sop, _ = stored(node, postgres)
    service = make_service()
    thread = threading.Thread(target=service.run)
    thread.start()
    assert service.relay.wait(30)
    association = associate(service.relay.port, CTImageStorage)
    assert association.send_c_store(dcmread(BytesIO(image()[1]))).Status == 0
    transaction, status, _ = ask(association, (CT, sop), (CT, "1.2.3.4"))
    association.release()
    report = modality.reports.get(timeout=60)
    service.stop.set()
    thread.join(60)
    assert status == 0
    assert (report.calling, report.kind, report.transaction) == ("HAPACS", 2, transaction)
    assert (report.committed, report.failed) == ({sop}, {"1.2.3.4": 0x0112})


def test_caller_without_an_address_is_refused_and_nothing_is_kept(make_service: Callable[..., Service]) -> None:
    service = make_service()
    thread = threading.Thread(target=service.relay.run, args=(service.stop, 0.1))
    thread.start()
    assert service.relay.wait(30)
    association = associate(service.relay.port, calling="OTHER")
    _, status, comment = ask(association, (CT, "1.2.3"))
    association.release()
    service.stop.set()
    thread.join(30)
    assert (status, comment) == (0x0110, "the site has no address of yours for the report")
    assert states(service) == []


def test_another_node_reports_what_a_lost_node_took_and_had_claimed(
    node: Node, postgres: Postgres, make_service: Callable[..., Service], modality: Modality
) -> None:
    sop, _ = stored(node, postgres)
    lost, other = make_service("pacs1"), make_service("pacs2")
    keep(lost, sop)
    claim = lost.database.run(lambda c: commitment.claim(c, "pacs1:lost", 1.0))
    assert claim is not None
    # It was powered off with its claim.
    assert not other.worker.step()
    deadline = time.monotonic() + 60
    while not other.worker.step():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert other.worker.step()
    assert modality.reports.get(timeout=30).committed == {sop}
    assert states(other) == ["reported"]
    # What the lost node says when it returns changes nothing.
    lost.database.run(lambda c: commitment.again(c, claim.id, "pacs1:lost", "late", 0))
    assert states(other) == ["reported"]
    assert not other.worker.step()


def test_report_that_is_not_taken_is_sent_again_until_it_is(
    node: Node, postgres: Postgres, make_service: Callable[..., Service], modality: Modality
) -> None:
    sop, _ = stored(node, postgres)
    service = make_service()
    keep(service, sop)
    assert service.worker.step()
    modality.status = 0x0110
    assert service.worker.step()
    assert modality.reports.get(timeout=30).kind == 1
    assert states(service) == ["reporting"]
    assert not service.worker.step()
    modality.status = 0
    due(postgres)
    assert service.worker.step()
    assert modality.reports.get(timeout=30).committed == {sop}
    assert states(service) == ["reported"]


def test_report_is_given_up_after_days_and_that_is_shown(
    node: Node, postgres: Postgres, make_service: Callable[..., Service], modality: Modality, tmp_path: Path
) -> None:
    sop, _ = stored(node, postgres)
    service = make_service()
    keep(service, sop)
    assert service.worker.step()
    modality.status = 0x0110
    with postgres.connect() as connection:
        connection.execute("update hapacs.commitment set checked_at = now() - interval '8 days'")
    assert service.worker.step()
    assert states(service) == ["undelivered"]
    words = ["commitment", "list", "--json", "--config", str(tmp_path / "node.json")]
    # It waits for nothing any more.
    assert json.loads(CliRunner().invoke(app, words).stdout) == {"ok": True, "requests": []}
    shown = CliRunner().invoke(app, [*words, "--all"])
    assert shown.exit_code == 1
    (request,) = json.loads(shown.stdout)["requests"]
    assert (request["state"], request["images"], request["committed"]) == ("undelivered", 1, 1)
    assert "status 0x0110" in request["error"]


def test_images_that_wait_for_a_rack_are_checked_again_and_fail_in_the_end(
    node: Node, postgres: Postgres, make_service: Callable[..., Service], modality: Modality
) -> None:
    (first, _), (second, uuid) = stored(node, postgres), stored(node, postgres)
    service = make_service()
    keep(service, first, second)
    with postgres.connect() as connection:
        connection.execute("update hapacs.object set digest = %s where uuid = %s", [b"\1" * 32, uuid])
    assert service.worker.step()
    assert states(service) == ["checking"]
    assert not service.worker.step()
    # The copy that was found whole is not read again.
    with postgres.connect() as connection:
        connection.execute("update hapacs.commitment set requested_at = now() - interval '1 day', due_at = now()")
    assert service.worker.step()
    assert service.worker.step()
    report = modality.reports.get(timeout=30)
    assert (report.committed, report.failed) == ({first}, {second: 0x0110})


def test_request_of_several_batches_is_judged_whole(
    node: Node,
    postgres: Postgres,
    make_service: Callable[..., Service],
    modality: Modality,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service_module, "_BATCH", 2)
    sops = [stored(node, postgres)[0] for _ in range(5)]
    service = make_service()
    keep(service, *sops)
    assert service.worker.step()
    assert service.worker.step()
    assert modality.reports.get(timeout=30).committed == set(sops)


def test_repeated_request_is_answered_by_one_new_report(
    node: Node, postgres: Postgres, make_service: Callable[..., Service], modality: Modality
) -> None:
    sop, _ = stored(node, postgres)
    service = make_service()
    keep(service, sop, "1.2.3.4")
    keep(service, sop)
    assert service.worker.step()
    assert service.worker.step()
    assert not service.worker.step()
    report = modality.reports.get(timeout=30)
    assert (report.kind, report.committed) == (1, {sop})
    assert modality.reports.empty()


def test_another_site_is_told_digest_and_lock_of_whole_copies_and_the_problem_of_others(
    node: Node, postgres: Postgres, make_service: Callable[..., Service]
) -> None:
    sop, uuid = stored(node, postgres)
    (row,) = node.database.run(lambda c: objects.find_all(c, [uuid]))
    found = make_service().worker.copies.kept([sop, "1.2.3"])
    assert found["1.2.3"] == []
    (kept,) = found[sop]
    assert (kept.digest, kept.size, kept.problem) == (row.digest, row.size, "")
    assert kept.locked_until is not None
    assert kept.locked_until > datetime.now(UTC)
    (short,) = make_service(second=_NOBODY).worker.copies.kept([sop])[sop]
    assert short.problem.startswith("1 of 2 copies are whole")
