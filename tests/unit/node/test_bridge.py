"""How long a node stores without an online copy."""

import logging

import pytest

from hapacs_node.errors import DasError, DasFullError
from hapacs_node.metrics import Metrics
from hapacs_node.storage.bridge import LIMIT_S, Bridge

FULL = DasFullError("/srv/das has no space")


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def bridge(clock: Clock) -> Bridge:
    return Bridge(Metrics(), clock)


def test_failures_pass_until_the_limit_since_the_first(bridge: Bridge, clock: Clock) -> None:
    bridge.failed(FULL)
    clock.now_s += LIMIT_S
    bridge.failed(FULL)
    clock.now_s += 0.1
    with pytest.raises(DasFullError, match="no space"):
        bridge.failed(FULL)


def test_time_without_stores_counts_too(bridge: Bridge, clock: Clock) -> None:
    bridge.failed(FULL)
    clock.now_s += 3600
    with pytest.raises(DasError):
        bridge.failed(FULL)


def test_das_that_works_again_gets_the_whole_time_at_its_next_failure(bridge: Bridge, clock: Clock) -> None:
    bridge.failed(FULL)
    clock.now_s += LIMIT_S + 1
    bridge.written()
    bridge.failed(FULL)
    clock.now_s += LIMIT_S
    bridge.failed(FULL)


def test_begin_is_logged_once_and_each_image(bridge: Bridge, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        bridge.failed(FULL)
        bridge.stored("a" * 64)
        bridge.failed(FULL)
        bridge.stored("b" * 64)
    events = [record.message.split()[0] for record in caplog.records]
    assert events == ["event=das_bridged", "event=stored_without_online_copy", "event=stored_without_online_copy"]
    assert "no space" in caplog.records[0].message
