from collections.abc import Callable
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hapacs_node.metrics import Metrics
from hapacs_node.storage.gateways import Gateway, Gateways


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(clock: Clock, metrics: Metrics) -> Callable[[int], Gateways[None]]:
    def build(count: int) -> Gateways[None]:
        members = [Gateway(f"g{number}", None) for number in range(count)]
        return Gateways(members, metrics, clock=clock, sleep=clock.sleep)

    return build


def urls(gateways: Gateways[None]) -> list[str]:
    return [gateway.url for gateway in gateways.round()]


def test_the_local_gateway_is_asked_first(make: Callable[[int], Gateways[None]]) -> None:
    assert urls(make(3)) == ["g0", "g1", "g2"]


def test_a_failed_gateway_is_suspended_for_a_while(make: Callable[[int], Gateways[None]], clock: Clock) -> None:
    gateways = make(2)
    gateways.failed(gateways.members[0], "time-out")
    assert urls(gateways) == ["g1"]
    clock.sleep(9)
    assert urls(gateways) == ["g1"]


def test_one_store_tries_a_due_gateway_and_the_others_do_not(
    make: Callable[[int], Gateways[None]], clock: Clock
) -> None:
    gateways = make(2)
    gateways.failed(gateways.members[0], "time-out")
    clock.sleep(11)
    assert urls(gateways) == ["g0", "g1"]
    assert urls(gateways) == ["g1"]


def test_a_gateway_that_works_again_is_in_use_again(
    make: Callable[[int], Gateways[None]], clock: Clock, metrics: Metrics
) -> None:
    gateways = make(2)
    gateways.failed(gateways.members[0], "time-out")
    assert metrics.registry.get_sample_value("hapacs_cas_gateway_up", {"gateway": "g0"}) == 0
    clock.sleep(11)
    gateways.worked(gateways.members[0])
    assert urls(gateways) == ["g0", "g1"]
    assert metrics.registry.get_sample_value("hapacs_cas_gateway_up", {"gateway": "g0"}) == 1


def test_when_all_gateways_are_suspended_the_longest_suspended_is_first(
    make: Callable[[int], Gateways[None]], clock: Clock
) -> None:
    gateways = make(2)
    gateways.failed(gateways.members[1], "down")
    clock.sleep(1)
    gateways.failed(gateways.members[0], "down")
    assert urls(gateways) == ["g1", "g0"]


@given(count=st.integers(1, 4), allowed_s=st.floats(0, 60))
def test_every_gateway_is_tried_and_the_rounds_end_before_the_deadline(count: int, allowed_s: float) -> None:
    clock = Clock()
    members = [Gateway(f"g{number}", None) for number in range(count)]
    gateways = Gateways(members, Metrics(), clock=clock, sleep=clock.sleep)
    deadline = clock() + allowed_s
    asked: list[str] = []
    for gateway in islice(gateways.until(deadline), 1000):
        assert not asked or clock() < deadline
        asked.append(gateway.url)
        gateways.failed(gateway, "down")
        clock.sleep(0.01)
    assert asked
    assert clock() <= deadline + 0.01
    if allowed_s > 1:
        assert set(asked) == {gateway.url for gateway in members}
    # Pauses grow: a dead archive is not hammered.
    assert len(asked) <= count * (allowed_s + 6)
