import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from hapacs_node.storage.together import Together


class Work:
    """Blocks the first batch until it is released, so that later items make a batch."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, items: Sequence[int]) -> Sequence[int | Exception]:
        self.batches.append(list(items))
        self.begun.set()
        assert self.go.wait(10)
        if 13 in items:
            raise RuntimeError("unlucky")
        return [ValueError(item) if item < 0 else 10 * item for item in items]


@pytest.fixture
def work() -> Work:
    return Work()


def together(work: Work, workers: ThreadPoolExecutor, capacity: int = 100) -> Together[int, int]:
    return Together(work, workers, abs, capacity)


def test_an_item_is_handled_alone_while_a_worker_is_free_and_later_items_are_batched(work: Work) -> None:
    with ThreadPoolExecutor(1) as workers:
        queue = together(work, workers)
        first = queue.begin(1)
        assert work.begun.wait(10)
        others = [queue.begin(number) for number in (2, 3, 4)]
        work.go.set()
        assert [future.result(10) for future in (first, *others)] == [10, 20, 30, 40]
    assert work.batches == [[1], [2, 3, 4]]


def test_a_batch_has_at_least_one_item_and_does_not_exceed_its_capacity(work: Work) -> None:
    with ThreadPoolExecutor(1) as workers:
        queue = together(work, workers, capacity=5)
        futures = [queue.begin(1)]
        assert work.begun.wait(10)
        futures += [queue.begin(number) for number in (2, 3, 99, 4)]
        work.go.set()
        assert [future.result(10) for future in futures] == [10, 20, 30, 990, 40]
    assert work.batches == [[1], [2, 3], [99], [4]]


def test_a_failure_goes_to_one_caller_or_to_the_whole_batch(work: Work) -> None:
    with ThreadPoolExecutor(1) as workers:
        queue = together(work, workers, capacity=8)
        first = queue.begin(1)
        assert work.begun.wait(10)
        good, bad, unlucky, neighbour = (queue.begin(number) for number in (2, -3, 13, 4))
        work.go.set()
        assert (first.result(10), good.result(10), neighbour.result(10)) == (10, 20, 40)
        with pytest.raises(ValueError, match="-3"):
            bad.result(10)
        with pytest.raises(RuntimeError, match="unlucky"):
            unlucky.result(10)


def test_an_item_that_is_cancelled_before_its_batch_is_left_out(work: Work) -> None:
    with ThreadPoolExecutor(1) as workers:
        queue = together(work, workers)
        queue.begin(1)
        assert work.begun.wait(10)
        second, third = queue.begin(2), queue.begin(3)
        assert second.cancel()
        work.go.set()
        assert third.result(10) == 30
    assert work.batches == [[1], [3]]


def test_many_callers_each_get_their_own_result() -> None:
    with ThreadPoolExecutor(2) as workers, ThreadPoolExecutor(16) as callers:
        queue: Together[int, int] = Together(lambda items: [10 * item for item in items], workers, lambda _: 1, 8)
        answers = list(callers.map(lambda number: queue.begin(number).result(10), range(2000)))
    assert answers == [10 * number for number in range(2000)]


def test_items_are_refused_after_the_workers_are_shut_down(work: Work) -> None:
    workers = ThreadPoolExecutor(1)
    workers.shutdown()
    with pytest.raises(RuntimeError):
        together(work, workers).begin(1)
