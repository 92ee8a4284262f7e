"""Images are copied to a second site, and confirmed by what its archive is read to have."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http import HTTPStatus
from io import BytesIO
from pathlib import Path
from uuid import UUID

import pytest
from pydicom import dcmread
from typer.testing import CliRunner

from hapacs_node.catalog import outbox, replication, ruleset, tombstones
from hapacs_node.catalog.outbox import Selection
from hapacs_node.catalog.replication import LANE, Lag
from hapacs_node.cli import app
from hapacs_node.node import Node
from hapacs_node.replication.model import Outgoing
from hapacs_node.replication.names import CALLER, DESTINATION
from hapacs_node.routing.service import Service
from tests.storage.routed import ALL_CT, image, run_until, store
from tests.storage.servers import Postgres
from tests.support.second_site import SecondSite

pytestmark = pytest.mark.timeout(200)


def switch_on(node: Node, second: SecondSite, *, timeout_s: int = 20, past: bool = False, rules: bool = False) -> None:
    document: dict[str, object] = {
        "second_site": {"name": "dr", "url": second.url, "timeout_s": timeout_s, "past": past, "connections": 1}
    }
    if rules:
        peer = {"ae_title": "PEER", "host": "127.0.0.1", "port": 1}
        document |= {"destinations": {"peer": peer}, "rules": [ALL_CT]}
    Outgoing.model_validate(document)
    node.database.run(lambda c: ruleset.load(c, document, [LANE, tombstones.LANE], active=True, by="test"))
    node.database.run(lambda c: replication.switch(c, on=True))


def lag(node: Node) -> Lag:
    found = node.database.run(replication.lag)
    assert found is not None
    return found


def rows(postgres: Postgres) -> dict[str, tuple[str, int, str]]:
    """Return state, attempts and reason of each image's task."""
    with postgres.connect() as connection:
        found = connection.execute(
            "select sop, state, attempts, reason from hapacs.task where kind = 'replicate' order by id"
        ).fetchall()
    return {str(row[0]): (str(row[1]), int(str(row[2])), str(row[3])) for row in found}


def again(node: Node) -> None:
    """Let what waits, and the second site itself, be tried now."""
    node.database.run(lambda c: c.execute("update hapacs.task set due_at = now() where state = 'waiting'"))
    node.database.run(lambda c: c.execute("update hapacs.destination set retry_at = null"))


def repeated(node: Node, condition: Callable[[], bool]) -> Callable[[], bool]:
    """Return a condition that is looked at after everything that waits is made due."""

    def look() -> bool:
        again(node)
        return condition()

    return look


def test_images_are_copied_byte_for_byte_and_confirmed_many_in_a_request(
    site: Node, service: Service, second: SecondSite, postgres: Postgres
) -> None:
    switch_on(site, second)
    sent = dict(image() for _ in range(12))
    for content in sent.values():
        store(site, postgres, content)
    assert lag(site).unplanned == 12
    assert lag(site).rpo_s > 0
    run_until(service, lambda: lag(site).confirmed == 12, "the confirmations")
    assert second.kept == sent
    assert set(second.came.values()) == {1}
    assert len(second.requests) < 12
    found = lag(site)
    assert (found.images, found.unplanned, found.rpo_s) == (0, 0, 0)
    assert found.confirmed_bytes == sum(map(len, sent.values()))
    # Nothing is counted as unmatched where there is no rule.
    assert site.database.run(outbox.unmatched_today) == 0


def test_rules_and_copies_do_not_disturb_each_other(
    site: Node, service: Service, second: SecondSite, postgres: Postgres
) -> None:
    switch_on(site, second, rules=True)
    (ct, content), (mr, other) = image(), image("MR")
    for one in (content, other):
        store(site, postgres, one)
    run_until(service, lambda: lag(site).confirmed == 2, "the confirmations")
    assert set(second.kept) == {ct, mr}
    with postgres.connect() as connection:
        found = connection.execute("select sop, destination from hapacs.task where kind = 'route'").fetchall()
    assert found == [(ct, "peer")]
    assert site.database.run(outbox.unmatched_today) == 1
    # A second site that is away refuses no caller.
    site.database.run(lambda c: c.execute("update hapacs.task set state = 'waiting', ended_at = null"))
    site.database.run(lambda c: c.execute("delete from hapacs.task where kind = 'route'"))
    assert site.database.run(outbox.oldest_waiting_s) == 0


def test_a_bad_image_is_set_aside_with_its_reason_and_blocks_no_other(
    site: Node, service: Service, second: SecondSite, postgres: Postgres
) -> None:
    switch_on(site, second)
    images = dict(image() for _ in range(8))
    refused, altered, forgotten, *good = images
    second.refused[refused] = 0xC000
    second.altered.add(altered)
    second.forgotten.add(forgotten)
    for content in images.values():
        store(site, postgres, content)
    run_until(service, lambda: lag(site).confirmed == len(good), "the good images")
    assert all(rows(postgres)[sop][0] == "confirmed" for sop in good)
    run_until(service, repeated(site, lambda: lag(site).dead == 3), "the bad ones")
    found = rows(postgres)
    assert found[refused] == ("dead", 3, "status 0xC000")
    assert found[altered][:2] == found[forgotten][:2] == ("dead", 5)
    assert "other bytes are there" in found[altered][2]
    assert found[forgotten][2] == "sent 5 times, and it is not there"
    # They are still missing, and an operator can have them tried again.
    assert lag(site).images == 3
    assert lag(site).rpo_s > 0
    for faults in (second.refused, second.altered, second.forgotten):
        faults.clear()
    site.database.run(lambda c: outbox.intervene(c, "retry", Selection(DESTINATION), "op", "the disk was changed"))
    run_until(service, lambda: lag(site).confirmed == 8, "all images")
    assert second.kept == images


def test_after_a_lost_answer_the_archive_is_asked_and_nothing_is_sent_twice(
    site: Node, service: Service, second: SecondSite, postgres: Postgres
) -> None:
    switch_on(site, second)
    second.lost = 1
    sop, content = image()
    store(site, postgres, content)
    run_until(service, lambda: lag(site).failures == 1, "the failure")
    assert rows(postgres)[sop][0] == "waiting"
    run_until(service, repeated(site, lambda: lag(site).confirmed == 1), "the confirmation")
    assert second.came == {sop: 1}
    assert lag(site).failures == 0


def test_without_an_answer_about_the_archive_no_image_is_confirmed(
    site: Node, service: Service, second: SecondSite, postgres: Postgres
) -> None:
    switch_on(site, second)
    second.silent = 1
    sop, content = image()
    store(site, postgres, content)
    run_until(service, lambda: lag(site).failures == 1, "the failure")
    state, _, reason = rows(postgres)[sop]
    assert (state, second.kept) == ("waiting", {sop: content})
    assert reason.startswith("sent; ")
    run_until(service, repeated(site, lambda: lag(site).confirmed == 1), "the confirmation")
    assert second.came == {sop: 1}


def test_a_copy_that_is_not_locked_or_not_whole_is_not_confirmed_until_it_is(
    site: Node, service: Service, second: SecondSite, postgres: Postgres
) -> None:
    switch_on(site, second)
    second.unlocked = True
    sop, content = image()
    store(site, postgres, content)
    run_until(service, lambda: "not locked" in rows(postgres).get(sop, ("", 0, ""))[2], "the missing lock")
    second.unlocked = False
    second.problems[sop] = "1 of 2 copies are whole"
    run_until(service, repeated(site, lambda: "1 of 2 copies" in rows(postgres)[sop][2]), "the missing copy")
    assert lag(site).confirmed == 0
    second.problems.clear()
    run_until(service, repeated(site, lambda: lag(site).confirmed == 1), "the confirmation")
    assert second.came == {sop: 1}


def test_a_second_site_that_hangs_or_is_down_is_tried_again_and_loses_nothing(
    site: Node, service: Service, second: SecondSite, postgres: Postgres
) -> None:
    switch_on(site, second, timeout_s=1)
    second.hangs = threading.Event()
    images = dict(image() for _ in range(3))
    for content in images.values():
        store(site, postgres, content)
    run_until(service, lambda: lag(site).failures >= 1, "the failure")
    assert "does not answer" in lag(site).error
    second.hangs.set()
    second.hangs = None
    second.status = HTTPStatus.SERVICE_UNAVAILABLE
    run_until(service, repeated(site, lambda: "503" in lag(site).error), "the other failure")
    second.status = None
    run_until(service, repeated(site, lambda: lag(site).confirmed == 3), "the confirmations")
    assert second.kept == images
    assert lag(site).failures == 0


def test_a_site_without_the_certificate_of_copies_sends_nothing(
    site: Node, services: Callable[..., Service], second: SecondSite, postgres: Postgres
) -> None:
    switch_on(site, second)
    store(site, postgres, image()[1])
    service = services(None, None)
    run_until(service, lambda: lag(site).failures == 1, "the failure")
    assert "this node has no certificate" in lag(site).error
    assert second.came == {}


def removed(postgres: Postgres, uuid: UUID) -> None:
    with postgres.connect() as connection:
        connection.execute(
            "update hapacs.object set tombstoned_at = clock_timestamp(), tombstoned_by = 'test' where uuid = %s", [uuid]
        )


def changed(content: bytes) -> bytes:
    """Return a newer version of an image, with the same UIDs."""
    dataset = dcmread(BytesIO(content))
    dataset.PatientComments = "corrected"
    output = BytesIO()
    dataset.save_as(output)
    return output.getvalue()


def test_an_image_that_was_removed_is_not_copied_and_does_not_count(
    site: Node, service: Service, second: SecondSite, postgres: Postgres
) -> None:
    switch_on(site, second)
    second.status = HTTPStatus.SERVICE_UNAVAILABLE
    sop, content = image()
    uuid = store(site, postgres, content)
    run_until(service, lambda: lag(site).failures == 1, "the failure")
    removed(postgres, uuid)
    second.status = None
    run_until(service, repeated(site, lambda: rows(postgres)[sop][0] == "dropped"), "the end")
    assert second.came == {}
    assert lag(site).rpo_s == 0


def test_an_older_version_that_came_late_is_followed_by_the_newer_one_again(
    site: Node, service: Service, second: SecondSite, postgres: Postgres
) -> None:
    switch_on(site, second)
    sop, old = image()
    first = store(site, postgres, old)
    second.lost = 1
    run_until(service, lambda: lag(site).failures == 1, "the lost answer")
    removed(postgres, first)
    new = changed(old)
    store(site, postgres, new)
    # The newer one is confirmed, and then the older one arrives after all.
    hold = "update hapacs.task set state = 'held' where uuid = %(uuid)s"
    site.database.run(lambda c: c.execute(hold, {"uuid": first}))
    run_until(service, repeated(site, lambda: lag(site).confirmed == 1), "the newer one")
    second.kept[sop] = old
    site.database.run(lambda c: c.execute("update hapacs.task set state = 'waiting' where state = 'held'"))
    run_until(service, repeated(site, lambda: second.kept[sop] == new), "the newer one again")
    run_until(service, lambda: lag(site).images == 0, "the end")
    with postgres.connect() as connection:
        states = connection.execute("select state from hapacs.task order by id").fetchall()
    assert states == [("dropped",), ("confirmed",)]


def test_the_newest_image_is_copied_first(
    site: Node, service: Service, second: SecondSite, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hapacs_node.routing.stow._MOST_IMAGES", 1)
    switch_on(site, second)
    second.status = HTTPStatus.SERVICE_UNAVAILABLE
    images = [image() for _ in range(4)]
    for _, content in images:
        store(site, postgres, content)
    run_until(service, lambda: lag(site).failures >= 1 and lag(site).images == 4, "the failure")
    second.status = None
    site.database.run(lambda c: c.execute("update hapacs.task set attempts = 0, taken_at = null"))
    run_until(service, repeated(site, lambda: lag(site).confirmed == 4), "the confirmations")
    assert list(second.came) == [sop for sop, _ in reversed(images)]


def test_past_images_follow_the_newest_first_and_only_once(
    site: Node, service: Service, second: SecondSite, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hapacs_node.routing.service._PAST_AT_ONCE", 2)
    site.database.run(
        lambda c: c.execute(
            "update hapacs.object set tombstoned_at = now(), tombstoned_by = 'test' where tombstoned_at is null"
        )
    )
    images = dict(image() for _ in range(5))
    for content in images.values():
        store(site, postgres, content)
    # One is there already, as after the catalog was made again: it is asked for, and not sent.
    there = list(images)[2]
    second.kept[there] = images[there]
    switch_on(site, second, past=True)
    service.step()
    # An image that was just stored without an event may not be in the index yet.
    assert lag(site).past_at is None
    site.database.run(lambda c: c.execute("update hapacs.replication set since = now() - interval '1 hour'"))
    run_until(service, lambda: lag(site).past_confirmed, "the past")
    assert second.kept == images
    assert second.came == {sop: 1 for sop in images if sop != there}
    assert next(iter(second.came)) == list(images)[-1]
    assert lag(site).rpo_s == 0
    # Switched off and on again, nothing that was confirmed is sent again.
    site.database.run(lambda c: replication.switch(c, on=False))
    assert site.database.run(replication.lag) is None
    switch_on(site, second, past=True)
    site.database.run(lambda c: c.execute("update hapacs.replication set since = now() - interval '1 hour'"))
    run_until(service, lambda: lag(site).past_confirmed, "the past again")
    assert second.came == {sop: 1 for sop in images if sop != there}


def test_copies_of_another_site_are_not_sent_on(
    site: Node, service: Service, second: SecondSite, postgres: Postgres
) -> None:
    switch_on(site, second)
    site.storage.create(str(UUID(int=5)), 1, image()[1], CALLER)
    sop, content = image()
    store(site, postgres, content)
    run_until(service, lambda: lag(site).confirmed == 1, "the other image")
    assert lag(site).unplanned == 0
    assert list(second.kept) == [sop]


def test_metrics_show_what_the_second_site_lacks(
    site: Node, service: Service, second: SecondSite, postgres: Postgres
) -> None:
    service.count()
    assert b"hapacs_replication_rpo_seconds{" not in service.metrics.text()
    switch_on(site, second)
    store(site, postgres, image()[1])
    service.count()
    value = service.metrics.registry.get_sample_value
    assert (value("hapacs_replication_rpo_seconds", {"destination": DESTINATION}) or 0) > 0
    run_until(service, lambda: lag(site).confirmed == 1, "the confirmation")
    service.count()
    assert value("hapacs_replication_rpo_seconds", {"destination": DESTINATION}) == 0
    assert value("hapacs_replication_missing_images", {"lane": "new"}) == 0
    assert value("hapacs_replication_images_total", {"end": "confirmed"}) == 1


def test_the_rules_switch_copies_on_and_off_and_the_command_shows_what_is_missing(
    site: Node, service: Service, second: SecondSite, postgres: Postgres, tmp_path: Path
) -> None:
    def command(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, [*words, "--config", str(tmp_path / "node.json")], env={"COLUMNS": "200"})
        return done.exit_code, done.stdout

    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps({"second_site": {"name": "dr", "url": second.url, "past": False}}))
    assert command("replication", "status") == (
        0, "no image is copied: there is no second site, or policy.replicate is off\n",
    )  # fmt: skip
    assert command("route", "load", str(rules))[0] == 0
    sop, content = image()
    second.refused[sop] = 0xC000
    store(site, postgres, content)
    run_until(service, repeated(site, lambda: lag(site).dead == 1), "the end")
    code, said = command("replication", "status")
    assert (code, "dr: the oldest is" in said, "1 set aside" in said) == (1, True, True)
    found = json.loads(command("replication", "status", "--json")[1])
    assert (found["ok"], found["second_site"], found["lag"]["images"]) == (False, "dr", 1)
    rules.write_text("{}")
    assert command("route", "load", str(rules))[0] == 0
    assert site.database.run(replication.lag) is None
    # Without a rule and a second site images have no event again.
    store(site, postgres, image()[1])
    assert site.database.run(outbox.unplanned) == 0
