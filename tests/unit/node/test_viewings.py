"""Events of viewers: the first frame of a series, and the number of those after it."""

import logging
import time
from collections.abc import Iterator

import pytest

from hapacs_node.log import Event
from hapacs_node.retrieve.viewings import PERIOD_S, Viewing, Viewings

ANNA = Viewing("1.2", "1.2.3", "anna", "192.0.2.9", "192.0.2.1")
BERT = ANNA._replace(user="bert")


class Clock:
    """A clock that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def viewings(clock: Clock) -> Iterator[Viewings]:
    made = Viewings(clock=clock)
    yield made
    made.end()


@pytest.fixture
def events(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "hapacs.retrieve")
    return caplog


def written(events: pytest.LogCaptureFixture) -> list[dict[str, str]]:
    return [record.msg.fields for record in events.records if isinstance(record.msg, Event)]


def test_the_first_frame_is_an_event_and_the_others_are_one_together(
    viewings: Viewings, clock: Clock, events: pytest.LogCaptureFixture
) -> None:
    assert [viewings.count(ANNA, 1, 500) for _ in range(4)] == [False, True, True, True]
    viewings.write_over()
    assert written(events) == []
    clock.now += PERIOD_S
    viewings.write_over()
    assert written(events) == [
        {
            "series": "1.2.3",
            "study": "1.2",
            "requests": "3",
            "objects": "3",
            "size": "1500",
            "seconds": "60.000",
            "outcome": "sent",
            "user": "anna",
            "address": "192.0.2.9",
            "via": "192.0.2.1",
        }
    ]
    # A new minute begins with an event again.
    assert [viewings.count(ANNA, 1, 500) for _ in range(2)] == [False, True]


def test_each_caller_and_each_series_is_counted_apart(
    viewings: Viewings, clock: Clock, events: pytest.LogCaptureFixture
) -> None:
    other = ANNA._replace(series="1.2.4")
    for viewing, frames in ((ANNA, 3), (BERT, 2), (other, 1)):
        assert [viewings.count(viewing, 1, 1) for _ in range(frames)] == [False, True, True][:frames]
    clock.now += PERIOD_S
    viewings.write_over()
    assert [(one["user"], one["series"], one["objects"]) for one in written(events)] == [
        ("anna", "1.2.3", "2"),
        ("bert", "1.2.3", "1"),
    ]


def test_what_was_counted_is_written_at_the_end(viewings: Viewings, events: pytest.LogCaptureFixture) -> None:
    viewings.count(ANNA, 1, 1)
    viewings.count(ANNA, 2, 1)
    viewings.end()
    assert [one["objects"] for one in written(events)] == ["2"]
    # Nothing would write what is counted after the end.
    assert [viewings.count(ANNA, 1, 1) for _ in range(2)] == [False, False]


def test_a_minute_that_is_over_takes_no_more(viewings: Viewings, clock: Clock) -> None:
    viewings.count(ANNA, 1, 1)
    clock.now += PERIOD_S
    assert viewings.count(ANNA, 1, 1) is False


def test_the_event_is_written_without_a_further_request(clock: Clock, events: pytest.LogCaptureFixture) -> None:
    viewings = Viewings(period_s=0.05, clock=clock)
    for viewing in (ANNA, BERT):
        viewings.count(viewing, 1, 1)
        assert viewings.count(viewing, 1, 1)
    clock.now += 1
    deadline = time.monotonic() + 10
    while len(written(events)) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [one["user"] for one in written(events)] == ["anna", "bert"]
    # No thread waits when nobody looks at anything.
    while viewings._timer is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert viewings._timer is None
