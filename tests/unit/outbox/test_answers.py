import pytest

from hapacs_node.outbox import answers


def test_success_confirms() -> None:
    assert answers.judge(7, 1, 0x0000) == answers.Ended(7, "confirmed")


@pytest.mark.parametrize("status", [0xA900, 0xA9FF, 0xC000, 0xC123, 0x0122, 0x0124, 0x0117])
def test_a_refusal_of_the_image_is_a_dead_letter_with_its_status(status: int) -> None:
    ended = answers.judge(7, 1, status, "wrong class")
    assert ended.state == "dead"
    assert ended.reason == f"status 0x{status:04X}: wrong class"


@pytest.mark.parametrize("status", [0xA700, 0xA7FF, 0x0110, 0x0210, 0x0213])
def test_a_lack_of_resources_is_tried_again_however_often(status: int) -> None:
    for attempts in (1, 2, 50, 5000):
        ended = answers.judge(7, attempts, status)
        assert ended.state == "waiting"
        assert 0 < ended.pause_s <= 3600


@pytest.mark.parametrize("status", [0xB000, 0xB006, 0xB007, 0x0107])
def test_a_warning_is_tried_again_twice_then_confirmed_with_its_reason(status: int) -> None:
    assert [answers.judge(7, attempts, status).state for attempts in (1, 2, 3)] == ["waiting", "waiting", "confirmed"]
    assert answers.judge(7, 3, status).reason == f"status 0x{status:04X}"


def test_an_image_that_was_not_sent_keeps_its_attempts() -> None:
    assert not answers.untried(7).tried
    assert answers.unanswered(7, 1, "connection lost").tried


def test_an_image_that_has_to_be_listed_is_not_confirmed_by_its_status() -> None:
    ended = answers.taken(answers.judge(7, 3, 0xB000))
    assert (ended.state, ended.taken) == ("waiting", True)
    assert ended.reason == "taken with status 0xB000; not listed yet"


@pytest.mark.parametrize(("taken_s", "pause_s"), [(0, 5), (6, 5), (60, 30), (600, 300), (1800, 600), (3600, 600)])
def test_a_destination_is_asked_less_and_less_often(taken_s: float, pause_s: float) -> None:
    ended = answers.unlisted(7, 1, taken_s)
    assert (ended.state, ended.pause_s, ended.taken, ended.asked) == ("waiting", pause_s, None, True)


@pytest.mark.parametrize(("sent", "hours"), [(1, 1), (2, 2), (4, 8), (5, 16), (6, 24), (7, 24), (5000, 24)])
def test_an_image_is_sent_again_when_it_is_not_listed_for_long_and_each_time_later(sent: int, hours: int) -> None:
    assert answers.unlisted(7, sent, hours * 3600).taken is None
    again = answers.unlisted(7, sent, hours * 3600 + 1)
    assert (again.state, again.taken, again.pause_s) == ("waiting", False, 0)


def test_an_image_is_not_sent_again_when_the_destination_does_not_say_what_it_lists() -> None:
    ended = answers.unlisted(7, 1, 1e6, why="no answer to a query")
    assert (ended.state, ended.taken, ended.reason) == ("waiting", None, "taken; no answer to a query")


def test_an_image_that_is_there_is_confirmed_and_one_that_may_be_waits_and_neither_counts_as_sent() -> None:
    there, unknown = answers.present(7), answers.unknown(7, "no answer to a query")
    assert (there.state, there.reason, there.asked) == ("confirmed", "not sent: the destination has it already", True)
    assert (unknown.state, unknown.reason, unknown.asked) == ("waiting", "not sent: no answer to a query", True)
    assert unknown.pause_s > 0
