"""What is deleted at one site is deleted at the other one, unless it is stored again."""

from __future__ import annotations

from io import BytesIO
from uuid import UUID

import pytest
from pydicom import dcmread

from hapacs_node.catalog import outbox, tombstones
from hapacs_node.catalog.outbox import Selection
from hapacs_node.catalog.removals import Removal
from hapacs_node.node import Node
from hapacs_node.replication import exchange
from hapacs_node.replication.names import CALLER, DESTINATION
from hapacs_node.routing.service import Service
from tests.storage.routed import image, run_until, store
from tests.storage.servers import Postgres
from tests.storage.test_replication import again, lag, repeated, rows, switch_on
from tests.storage.test_site import begin
from tests.support.second_site import SecondSite

pytestmark = pytest.mark.timeout(200)


def delete(node: Node, postgres: Postgres, uuid: UUID, content: bytes, caller: str | None = "user:op") -> None:
    """Delete an image as Orthanc does: the index, then the storage area."""
    with postgres.connect() as connection:
        connection.execute("delete from attachedfiles where uuid = %s", [str(uuid)])
    dataset = dcmread(BytesIO(content))
    uids = (str(dataset.StudyInstanceUID), str(dataset.SeriesInstanceUID), str(dataset.SOPInstanceUID))
    node.storage.remove(str(uuid), 1, Removal("removed", caller, *uids))


def told(postgres: Postgres) -> dict[str, tuple[str, str]]:
    """Return state and reason of each deletion's task."""
    with postgres.connect() as connection:
        found = connection.execute("select sop, state, reason from hapacs.task where kind = 'tombstone' order by id")
        return {str(sop): (str(state), str(reason)) for sop, state, reason in found.fetchall()}


def copied(site: Node, service: Service, postgres: Postgres, number: int = 1) -> list[tuple[UUID, str, bytes]]:
    """Store images, and wait until the other site has them."""
    made = [(store(site, postgres, content), sop, content) for sop, content in (image() for _ in range(number))]
    run_until(service, lambda: lag(site).confirmed == number, "the copies")
    return made


def test_a_deletion_is_told_and_followed(site: Node, service: Service, second: SecondSite, postgres: Postgres) -> None:
    switch_on(site, second)
    begin(site)
    made = copied(site, service, postgres, 45)
    for uuid, _, content in made[:42]:
        delete(site, postgres, uuid, content)
    assert lag(site).removals == 42
    said = site.database.run(exchange.own)
    assert said is not None
    assert said.removals == 42
    run_until(service, lambda: lag(site).removals == 0, "the deletions")
    assert set(second.kept) == {sop for _, sop, _ in made[42:]}
    assert {state for state, _ in told(postgres).values()} == {"confirmed"}
    # Each of them once, and no copy was sent again.
    assert sorted(second.deleted) == sorted(sop for _, sop, _ in made[:42])
    assert set(second.came.values()) == {1}
    assert lag(site).confirmed == 45


def test_a_deletion_by_the_other_site_is_not_told_back(
    site: Node, service: Service, second: SecondSite, postgres: Postgres
) -> None:
    switch_on(site, second)
    ((uuid, _, content),) = copied(site, service, postgres)
    delete(site, postgres, uuid, content, CALLER)
    assert told(postgres) == {}


def test_what_was_replaced_or_refused_is_no_deletion(
    site: Node, service: Service, second: SecondSite, postgres: Postgres
) -> None:
    switch_on(site, second)
    ((uuid, sop, _),) = copied(site, service, postgres)
    site.storage.remove(str(uuid), 1, Removal("resent", "title:CT1", "1.2", "1.3", sop))
    assert told(postgres) == {}


def test_a_site_that_copies_nothing_tells_nothing(site: Node, postgres: Postgres) -> None:
    _, content = image()
    delete(site, postgres, store(site, postgres, content), content)
    assert told(postgres) == {}


def test_a_deletion_waits_for_its_copy_that_is_under_way(
    site: Node, service: Service, second: SecondSite, postgres: Postgres
) -> None:
    switch_on(site, second)
    sop, content = image()
    # The copy is there, and its answer was lost: the task waits.
    second.lost = 1
    uuid = store(site, postgres, content)
    run_until(service, lambda: lag(site).failures == 1, "the failure")
    assert sop in second.kept
    delete(site, postgres, uuid, content)
    run_until(service, lambda: "under way" in told(postgres)[sop][1] or told(postgres)[sop][0] == "confirmed", "a look")
    run_until(service, repeated(site, lambda: told(postgres)[sop][0] == "confirmed"), "the deletion")
    assert second.kept == {}
    assert rows(postgres)[sop][0] == "dropped"


def test_what_is_stored_again_before_it_was_told_stays(
    site: Node, service: Service, second: SecondSite, postgres: Postgres
) -> None:
    switch_on(site, second)
    ((uuid, sop, content),) = copied(site, service, postgres)
    delete(site, postgres, uuid, content)
    store(site, postgres, content)
    run_until(service, lambda: lag(site).removals == 0, "a look")
    assert told(postgres)[sop] == ("dropped", "stored again at this site")
    assert second.deleted == []
    assert sop in second.kept


def test_what_is_stored_again_while_it_is_told_is_sent_again(
    site: Node, service: Service, second: SecondSite, postgres: Postgres
) -> None:
    switch_on(site, second)
    ((uuid, sop, content),) = copied(site, service, postgres)
    delete(site, postgres, uuid, content)

    def restored() -> None:
        second.meanwhile = None
        store(site, postgres, content)
        # Its copy is confirmed by the one that goes now.
        with postgres.connect() as connection:
            connection.execute("delete from hapacs.event")
            connection.execute(
                "insert into hapacs.task (kind, destination, uuid, study, series, sop, sop_class, transfer_syntax, "
                "size, node, rule, priority, state, stored_at) select 'replicate', 'other site', uuid, study, series, "
                "sop, '', '', 12, 'pacs1', 'new-images', 1, 'confirmed', now() from hapacs.instance where sop = %s",
                [sop],
            )

    second.meanwhile = restored
    run_until(service, lambda: second.came.get(sop) == 2, "the second copy")
    assert told(postgres)[sop][0] == "confirmed"
    assert second.kept == {sop: content}


def test_other_bytes_stay_and_the_deletion_is_set_aside(
    site: Node, service: Service, second: SecondSite, postgres: Postgres
) -> None:
    switch_on(site, second)
    ((uuid, sop, content),) = copied(site, service, postgres)
    second.kept[sop] = content + b"\0\0"
    delete(site, postgres, uuid, content)
    run_until(service, lambda: lag(site).removals_dead == 1, "the end")
    assert told(postgres)[sop] == ("dead", "other bytes are there, and stay")
    assert sop in second.kept
    # An operator has it told once more.
    second.kept[sop] = content
    site.database.run(lambda c: outbox.intervene(c, "retry", Selection(DESTINATION), "op", "it was put right"))
    run_until(service, repeated(site, lambda: told(postgres)[sop][0] == "confirmed"), "the deletion")
    assert second.kept == {}


def test_a_deletion_survives_an_absence_of_the_other_site(
    site: Node, service: Service, second: SecondSite, postgres: Postgres
) -> None:
    switch_on(site, second)
    ((uuid, sop, content),) = copied(site, service, postgres)
    url, second.url = second.url, "https://127.0.0.1:9"
    switch_on(site, second)
    delete(site, postgres, uuid, content)
    run_until(service, lambda: _failures(postgres) > 0, "a failure")
    assert told(postgres)[sop][0] in {"waiting", "in flight"}
    second.url = url
    switch_on(site, second)
    again(site)
    run_until(service, repeated(site, lambda: told(postgres)[sop][0] == "confirmed"), "the deletion")
    assert second.kept == {}


def test_an_image_that_is_taken_back_and_deleted_once_more_is_told_once_more(
    site: Node, service: Service, second: SecondSite, postgres: Postgres
) -> None:
    switch_on(site, second)
    ((uuid, sop, content),) = copied(site, service, postgres)
    delete(site, postgres, uuid, content)
    run_until(service, lambda: told(postgres)[sop][0] == "confirmed", "the deletion")
    second.kept[sop] = content
    with postgres.connect() as connection:
        connection.execute(
            "update hapacs.object set tombstoned_at = null, tombstoned_by = null where uuid = %s", [uuid]
        )
        connection.execute("delete from hapacs.removal where uuid = %s", [uuid])
    delete(site, postgres, uuid, content)
    run_until(service, lambda: second.deleted == [sop, sop], "the second one")
    assert second.kept == {}


def test_images_of_the_index_are_found_by_all_their_uids(site: Node, postgres: Postgres) -> None:
    sop, content = image()
    store(site, postgres, content)
    dataset = dcmread(BytesIO(content))
    study, series = str(dataset.StudyInstanceUID), str(dataset.SeriesInstanceUID)
    (found,) = site.database.run(lambda c: tombstones.indexed(c, study, series, sop))
    assert found.resource.startswith("r")
    assert len(found.digest) == 64
    assert site.database.run(lambda c: tombstones.indexed(c, study, "1.2.3", sop)) == []
    assert site.database.run(lambda c: tombstones.indexed(c, "1.2.3", series, sop)) == []


def _failures(postgres: Postgres) -> int:
    with postgres.connect() as connection:
        row = connection.execute("select failures from hapacs.destination where kind = 'tombstone'").fetchone()
    assert row is not None
    return int(str(row[0]))
