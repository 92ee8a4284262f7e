"""A copy is confirmed by the digest and the lock that the second site reads, never by the answer to the transfer."""

from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from uuid import UUID

import pytest

from hapacs_node.catalog.objects import StoredObject
from hapacs_node.catalog.tasks import Task
from hapacs_node.outbox.answers import Ended
from hapacs_node.replication import confirm, model
from hapacs_node.replication.confirm import Replica
from hapacs_node.routing import stow
from hapacs_node.routing.peer import PeerError
from tests.support.second_site import second_site

RIGHT, WRONG = "ab" * 32, "cd" * 32
ROW = StoredObject(UUID(int=1), RIGHT, 12, 1, "cas", f"sha256/{RIGHT}", 0, 12, "pacs1")
LATER = datetime(2999, 1, 1, tzinfo=UTC)


def task(attempts: int = 1, taken_s: float | None = None) -> Task:
    return Task(7, ROW.uuid, "1", "1.1", "1.1.1", "", "", 12, "other site", None, attempts, taken_s)


def replica(digest: str = RIGHT, size: int = 12, locked_until: datetime | None = LATER, problem: str = "") -> Replica:
    return Replica(digest=digest, size=size, locked_until=locked_until, problem=problem)


def test_a_whole_and_locked_copy_with_the_same_digest_confirms() -> None:
    ended = confirm.judge(task(), ROW, [replica(WRONG), replica()], sent=True)
    assert ended == Ended(7, "confirmed")


def test_a_copy_that_was_there_before_confirms_without_an_attempt() -> None:
    assert confirm.judge(task(2), ROW, [replica()], sent=False) == Ended(7, "confirmed", asked=True)


@pytest.mark.parametrize("other", [replica(WRONG), replica(size=13)])
def test_other_bytes_never_confirm_and_are_set_aside_in_the_end(other: Replica) -> None:
    first = confirm.judge(task(), ROW, [other], sent=True)
    assert first is not None
    assert (first.state, first.taken) == ("waiting", False)
    last = confirm.judge(task(5), ROW, [other], sent=True)
    assert last is not None
    assert last.state == "dead"
    assert "other bytes are there" in last.reason


def test_an_image_that_is_said_to_be_stored_and_is_not_there_is_set_aside_in_the_end() -> None:
    last = confirm.judge(task(5), ROW, [], sent=True)
    assert last is not None
    assert (last.state, last.reason) == ("dead", "sent 5 times, and it is not there")


def test_what_is_not_there_is_sent() -> None:
    assert confirm.judge(task(2), ROW, [], sent=False) is None
    assert confirm.judge(task(2), ROW, [replica(WRONG)], sent=False) is None


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (replica(problem="1 of 2 copies are whole"), "1 of 2 copies are whole"),
        (replica(locked_until=None), "its archive object is not locked"),
    ],
)
def test_a_copy_that_is_not_whole_or_not_locked_waits_and_is_not_sent_again(bad: Replica, why: str) -> None:
    ended = confirm.judge(task(), ROW, [bad], sent=True)
    assert ended is not None
    assert (ended.state, ended.taken, ended.reason) == ("waiting", True, f"there, but {why}")
    later = confirm.judge(task(2, taken_s=400), ROW, [bad], sent=False)
    assert later is not None
    assert (later.state, later.taken, later.pause_s, later.asked) == ("waiting", None, 200, True)


def test_a_refusal_is_tried_alone_before_the_image_is_set_aside() -> None:
    dead = Ended(7, "dead", "status 0xC000")
    first = confirm.refused(task(1), dead)
    assert first is not None
    assert first.state == "waiting"
    assert confirm.refused(task(3), dead) == dead


def test_out_of_resources_waits_and_any_other_answer_is_checked_by_the_archive() -> None:
    full = Ended(7, "waiting", "status 0xA700", 15)
    assert confirm.refused(task(), full) == full
    assert confirm.refused(task(), Ended(7, "waiting", "status 0xB000", 15)) is None
    assert confirm.refused(task(), Ended(7, "waiting", "HTTP status 200: the answer does not name the image")) is None
    assert confirm.refused(task(), Ended(7, "confirmed")) is None


def test_an_answer_without_sense_is_a_failure_of_the_second_site(tmp_path: Path) -> None:
    with second_site(tmp_path) as site:
        second = model.SecondSite(name="dr", url=site.url, timeout_s=5)
        with stow.connect(second.entry, site.access) as entry:
            assert confirm.ask(entry, ["1.2.3"]) == {"1.2.3": ()}
            site.status = HTTPStatus.SERVICE_UNAVAILABLE
            with pytest.raises(PeerError, match="does not say what it keeps: HTTP status 503"):
                confirm.ask(entry, ["1.2.3"])


def test_a_limit_holds_in_its_hours_only() -> None:
    document = {"name": "dr", "url": "https://192.0.2.1:8407", "mb_per_s": 40, "limited": "daily 06:00-18:00"}
    second = model.SecondSite.model_validate(document)
    assert second.rate(datetime(2026, 1, 1, 12, tzinfo=UTC)) == 20e6
    assert second.rate(datetime(2026, 1, 1, 20, tzinfo=UTC)) is None
    always = model.SecondSite.model_validate(document | {"limited": None, "connections": 4})
    assert always.rate(datetime(2026, 1, 1, 20, tzinfo=UTC)) == 10e6
