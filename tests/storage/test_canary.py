"""Canaries: images of the probe that are copied each minute, and say whether copies work."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import UUID

import pytest
from typer.testing import CliRunner

from hapacs_node.catalog import canary, objects, outbox, removals, replication
from hapacs_node.catalog.canary import Canary
from hapacs_node.catalog.database import Connection
from hapacs_node.catalog.removals import Removal
from hapacs_node.cli import app
from hapacs_node.node import Node
from hapacs_node.probe.image import ProbeImage
from hapacs_node.probe.names import CANARY_CALLER, USER
from hapacs_node.probe.service import Probe
from hapacs_node.probe.settings import ProbeSettings
from hapacs_node.replication.names import DESTINATION
from hapacs_node.routing.service import Service
from tests.storage.routed import ALL_CT, image, load_peer, run_until, store
from tests.storage.servers import Postgres
from tests.storage.test_replication import again, lag, repeated, rows, switch_on
from tests.support.second_site import SecondSite

pytestmark = pytest.mark.timeout(200)
PROBE = {
    "site": "lab-primary",
    "node": "pacs1",
    "metrics_port": 9332,
    "dicom": {"host": "127.0.0.1", "port": 1, "store_ae": "HAPACS", "query_ae": "HAPACS_QR"},
    "nodes": {"targets": [], "store_port": 1, "query_port": 1},
}


@pytest.fixture
def probed(tmp_path: Path) -> ProbeImage:
    # Another test's rows are of another study.
    return ProbeImage(tmp_path.name, "pacs1", "dicom")


def resend(node: Node, postgres: Postgres, probed: ProbeImage, former: UUID) -> UUID:
    """Store the image of a probe again: Orthanc removes the attachment of before."""
    with postgres.connect() as connection:
        connection.execute("delete from attachedfiles where uuid = %s", [str(former)])
    uuid = store(node, postgres, probed.file, caller=CANARY_CALLER)
    node.storage.remove(str(former), 1, Removal("resent", CANARY_CALLER, probed.study, probed.series, probed.sop))
    return uuid


def found(node: Node) -> Canary:
    canaries = node.database.run(canary.find)
    assert canaries is not None
    return canaries


def known(node: Node, uuids: Sequence[UUID]) -> set[UUID]:
    """Return which attachments the catalog has."""
    return {row.uuid for row in node.database.run(lambda c: objects.find_all(c, uuids))}


def is_confirmed(node: Node) -> bool:
    return found(node).confirmed_at is not None


def older(node: Node, interval: str) -> None:
    """Let the canaries be stored, confirmed and replaced some time earlier."""
    node.database.run(
        lambda c: c.execute(
            f"update hapacs.task set stored_at = stored_at - interval '{interval}', "  # noqa: S608 - a constant
            f"ended_at = ended_at - interval '{interval}'"
        )
    )
    node.database.run(
        lambda c: c.execute(f"update hapacs.object set tombstoned_at = tombstoned_at - interval '{interval}'")  # noqa: S608
    )


def test_a_canary_is_sent_confirmed_and_timed(
    site: Node, service: Service, second: SecondSite, postgres: Postgres, probed: ProbeImage
) -> None:
    switch_on(site, second)
    assert (found(site).confirmed_at, found(site).canaries) == (None, 0)
    store(site, postgres, probed.file, caller=CANARY_CALLER)
    run_until(service, lambda: is_confirmed(site), "the canary")
    assert second.kept == {probed.sop: probed.file}
    seen = found(site)
    assert seen.seconds is not None
    assert 0 < seen.seconds < canary.IN_TIME_S
    assert (seen.canaries, seen.late, seen.age_s < canary.IN_TIME_S) == (1, 0, True)


def test_a_canary_is_no_image_of_the_site(
    site: Node, service: Service, second: SecondSite, postgres: Postgres, probed: ProbeImage
) -> None:
    switch_on(site, second, rules=True)
    second.unlocked = True
    store(site, postgres, probed.file, caller=CANARY_CALLER)

    def nothing_lacks() -> bool:
        seen = lag(site)
        return (seen.images, seen.unplanned, seen.rpo_s, seen.confirmed) == (0, 0, 0, 0)

    # While it has only its event, while it has its task, and at the end.
    assert nothing_lacks()
    run_until(service, lambda: "not locked" in rows(postgres).get(probed.sop, ("", 0, ""))[2], "the missing lock")
    assert nothing_lacks()
    assert site.database.run(lambda c: replication.missing(c, 10)) == []
    second.unlocked = False
    run_until(service, repeated(site, lambda: is_confirmed(site)), "the canary")
    assert nothing_lacks()
    assert service.metrics.registry.get_sample_value("hapacs_replication_images_total", {"end": "confirmed"}) is None
    # No rule was asked, also none that would want every image.
    assert site.database.run(outbox.unmatched_today) == 0
    assert [one.rule for one in site.database.run(_all)] == ["the canary"]


def _all(connection: Connection) -> list[outbox.Listed]:
    return [*outbox.tasks(connection, outbox.Selection(), "confirmed", 10)]


def test_the_same_bytes_travel_each_time(
    site: Node, service: Service, second: SecondSite, postgres: Postgres, probed: ProbeImage
) -> None:
    switch_on(site, second)
    uuid = store(site, postgres, probed.file, caller=CANARY_CALLER)
    for number in range(1, 4):
        run_until(service, ended(postgres, number), "the canary")
        assert _states(postgres) == ["confirmed"] * number
        assert second.came == {probed.sop: number}
        uuid = resend(site, postgres, probed, uuid)
    # All of them are one object of the archive.
    with postgres.connect() as connection:
        keys = connection.execute(
            "select distinct key from hapacs.object where digest = (select digest from hapacs.object where uuid = %s)",
            [uuid],
        ).fetchall()
    assert len(keys) == 1


def ended(postgres: Postgres, number: int) -> Callable[[], bool]:
    """Return the condition that so many canaries were planned, and all are at their end."""

    def look() -> bool:
        states = _states(postgres)
        return len(states) == number and set(states) <= {"confirmed", "dropped"}

    return look


def _states(postgres: Postgres) -> list[str]:
    with postgres.connect() as connection:
        return [str(state) for (state,) in connection.execute("select state from hapacs.task order by id")]


def test_a_copy_of_before_confirms_no_canary_that_the_other_site_refuses(
    site: Node, service: Service, second: SecondSite, postgres: Postgres, probed: ProbeImage
) -> None:
    switch_on(site, second)
    uuid = store(site, postgres, probed.file, caller=CANARY_CALLER)
    run_until(service, lambda: is_confirmed(site), "the first canary")
    confirmed_at = found(site).confirmed_at
    second.refused[probed.sop] = 0xC000
    resend(site, postgres, probed, uuid)
    run_until(service, repeated(site, lambda: "dead" in _states(postgres)), "the end of the second one")
    assert found(site).confirmed_at == confirmed_at
    assert (found(site).canaries, found(site).late) == (2, 1)
    # It is no image that an operator has to look after.
    assert lag(site).dead == 0


def test_a_canary_that_waits_is_late_and_gives_way_to_the_next_one(
    site: Node, service: Service, second: SecondSite, postgres: Postgres, probed: ProbeImage
) -> None:
    switch_on(site, second)
    second.problems[probed.sop] = "1 of 2 copies are whole"
    uuid = store(site, postgres, probed.file, caller=CANARY_CALLER)
    run_until(service, lambda: "1 of 2 copies" in rows(postgres).get(probed.sop, ("", 0, ""))[2], "the missing copy")
    assert found(site).late == 0
    older(site, "2 minutes")
    assert found(site).late == 1
    second.problems.clear()
    resend(site, postgres, probed, uuid)
    run_until(service, repeated(site, lambda: sorted(_states(postgres)) == ["confirmed", "dropped"]), "the next one")
    assert (found(site).canaries, found(site).late) == (2, 1)


def test_neither_rows_nor_tasks_of_canaries_grow(
    site: Node, service: Service, second: SecondSite, postgres: Postgres, probed: ProbeImage
) -> None:
    switch_on(site, second)
    uuids = [store(site, postgres, probed.file, caller=CANARY_CALLER)]
    for number in range(1, 4):
        run_until(service, ended(postgres, number), "the canary")
        uuids.append(resend(site, postgres, probed, uuids[-1]))
    run_until(service, ended(postgres, 4), "the last one")
    # That of another node or site cleans up too.
    other, database = Probe.build(site.settings, ProbeSettings.model_validate(PROBE | {"site": "lab-dr"}))
    with database:
        other.forget()
        assert known(site, uuids) == set(uuids), "what was replaced within an hour stays"
        older(site, "2 hours")
        other.forget()
    assert known(site, uuids) == {uuids[-1]}
    assert _states(postgres) == ["confirmed"]
    assert found(site).age_s > 3600, "the last confirmation is known"


def test_the_last_confirmed_canary_stays_when_it_was_replaced(
    site: Node, service: Service, second: SecondSite, postgres: Postgres, probed: ProbeImage
) -> None:
    switch_on(site, second)
    first = store(site, postgres, probed.file, caller=CANARY_CALLER)
    run_until(service, lambda: is_confirmed(site), "the canary")
    resend(site, postgres, probed, first)
    older(site, "2 hours")
    assert site.database.run(lambda c: canary.forget(c, probed.study, 3600)) == 0
    assert site.database.run(lambda c: removals.forget_resent(c, probed.study, 3600, 100)) == 0
    assert known(site, [first]) == {first}
    assert found(site).age_s > 3600


def test_only_images_that_the_probe_stores_by_dicom_are_canaries_and_only_while_copies_are_on(
    site: Node, second: SecondSite, postgres: Postgres, probed: ProbeImage
) -> None:
    load_peer(site, {"ae_title": "PEER", "host": "127.0.0.1", "port": 1}, ALL_CT)
    store(site, postgres, probed.file, caller=CANARY_CALLER)
    assert site.database.run(outbox.unplanned) == 0
    assert site.database.run(canary.find) is None
    switch_on(site, second)
    store(site, postgres, ProbeImage("other", "pacs1", "dicomweb").file, caller=f"user:{USER}")
    assert site.database.run(outbox.unplanned) == 0
    store(site, postgres, probed.file, caller=CANARY_CALLER)
    assert site.database.run(outbox.unplanned) == 1


def test_canaries_begin_when_the_rules_are_loaded_by_this_program(
    site: Node, second: SecondSite, postgres: Postgres, probed: ProbeImage
) -> None:
    switch_on(site, second)
    # As the migration leaves a site whose copies are on.
    site.database.run(lambda c: c.execute("update hapacs.replication set canary_since = null"))
    store(site, postgres, probed.file, caller=CANARY_CALLER)
    assert site.database.run(outbox.unplanned) == 0
    assert site.database.run(canary.find) is None
    site.database.run(lambda c: replication.switch(c, on=True))
    since = found(site).since
    site.database.run(lambda c: replication.switch(c, on=True))
    assert found(site).since == since


def test_an_image_after_a_canary_is_copied_too(
    site: Node, service: Service, second: SecondSite, postgres: Postgres, probed: ProbeImage
) -> None:
    switch_on(site, second)
    second.refused[probed.sop] = 0xC000
    sop, content = image()
    store(site, postgres, content)
    store(site, postgres, probed.file, caller=CANARY_CALLER)
    run_until(service, lambda: lag(site).confirmed == 1, "the image")
    assert second.kept == {sop: content}
    again(site)
    assert not is_confirmed(site)


def test_metrics_and_the_command_show_the_canary(
    site: Node, service: Service, second: SecondSite, postgres: Postgres, tmp_path: Path
) -> None:
    probed = ProbeImage(tmp_path.name, "pacs1", "dicom")

    def command(*words: str) -> str:
        config = ["--config", str(tmp_path / "node.json")]
        return CliRunner().invoke(app, ["replication", "status", *words, *config], env={"COLUMNS": "200"}).stdout

    def value(name: str) -> float | None:
        service.count()
        return service.metrics.registry.get_sample_value(f"hapacs_replication_{name}", {"destination": DESTINATION})

    assert value("canary_confirmed_time_seconds") is None
    switch_on(site, second)
    assert value("canary_confirmed_time_seconds") == pytest.approx(found(site).since.timestamp())
    assert value("canary_seconds") is None
    assert "canary: none was confirmed for " in command()
    store(site, postgres, probed.file, caller=CANARY_CALLER)
    run_until(service, lambda: is_confirmed(site), "the canary")
    seen = found(site)
    assert seen.confirmed_at is not None
    assert value("canary_confirmed_time_seconds") == pytest.approx(seen.confirmed_at.timestamp())
    assert value("canary_seconds") == pytest.approx(seen.seconds)
    assert value("canaries_late") == 0
    assert "canary: one was confirmed " in command()
    assert json.loads(command("--json"))["canary"]["canaries"] == 1
