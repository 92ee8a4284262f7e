import resource
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from hapacs_node.errors import BusyError
from hapacs_node.retrieve.budget import Budget, allowed_bytes

WAIT_S = 10


def test_holds_never_exceed_the_budget() -> None:
    budget = Budget(100, WAIT_S)
    held, most, lock = 0, 0, threading.Lock()

    def use(_: int) -> None:
        nonlocal held, most
        with budget.hold(30):
            with lock:
                held += 30
                most = max(most, held)
            time.sleep(0.002)
            with lock:
                held -= 30

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, range(40)))
    assert most == 90


def test_a_hold_that_is_not_granted_in_time_raises() -> None:
    budget = Budget(100, 0.05)
    with budget.hold(60), pytest.raises(BusyError, match="60 of 100 bytes"), budget.hold(50):
        pass
    with budget.hold(100):
        pass


def test_a_hold_larger_than_the_budget_is_granted_alone() -> None:
    budget = Budget(100, 0.05)
    with budget.hold(1000), pytest.raises(BusyError), budget.hold(1):
        pass
    with budget.hold(1), pytest.raises(BusyError), budget.hold(1000):
        pass


def test_a_large_hold_is_granted_before_later_small_ones() -> None:
    budget = Budget(100, WAIT_S)
    order: list[str] = []
    with ThreadPoolExecutor(2) as pool:

        def large() -> None:
            with budget.hold(100):
                order.append("large")

        def small() -> None:
            with budget.hold(10):
                order.append("small")

        with budget.hold(50):
            first = pool.submit(large)
            while not budget._waiting:
                time.sleep(0.001)
            # There is room for it, but the large one is before it.
            second = pool.submit(small)
            while len(budget._waiting) < 2:
                time.sleep(0.001)
        first.result(WAIT_S)
        second.result(WAIT_S)
    assert order == ["large", "small"]


def test_a_hold_that_times_out_does_not_block_later_ones() -> None:
    budget = Budget(100, 0.2)
    with ThreadPoolExecutor(2) as pool, budget.hold(50):

        def take(wanted: int) -> None:
            with budget.hold(wanted):
                pass

        large = pool.submit(take, 100)
        while not budget._waiting:
            time.sleep(0.001)
        time.sleep(0.1)
        small = pool.submit(take, 10)
        with pytest.raises(BusyError):
            large.result(WAIT_S)
        small.result(WAIT_S)


def test_a_hold_is_released_after_a_failure() -> None:
    budget = Budget(100, 0.05)
    with pytest.raises(ValueError, match="it failed"), budget.hold(100):
        raise ValueError("it failed")
    with budget.hold(100):
        pass


def test_the_budget_is_a_quarter_of_the_memory_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1 << 30, 1 << 30))
    assert allowed_bytes() == 1 << 28
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert allowed_bytes() == 1 << 30
