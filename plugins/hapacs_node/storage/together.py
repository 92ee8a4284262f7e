"""Batches the requests of several callers.

A request never waits for a batch to fill: when a worker is free, it is handled alone at once. Requests that arrive
while all workers are busy make the next batch. So batches grow with the load, and share its costs.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field


@dataclass
class Together[Item, Result]:
    """Passes items to a function in batches.

    Parameters
    ----------
    work : callable
        Takes a batch and returns one result for each item: a value, or the exception for that item's caller. When it
        raises, every caller of the batch gets that exception.
    workers : ThreadPoolExecutor
        Used for nothing else. Its size is the number of batches at a time.
    weight : callable
        Returns how much of the capacity an item needs.
    capacity : int
        Largest total weight of a batch. A single item may exceed it.
    """

    work: Callable[[Sequence[Item]], Sequence[Result | Exception]]
    workers: ThreadPoolExecutor
    weight: Callable[[Item], int]
    capacity: int
    _waiting: deque[tuple[Item, Future[Result]]] = field(default_factory=deque, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def begin(self, item: Item) -> Future[Result]:
        """Submit an item. It is left out when its future is cancelled before its batch begins.

        Raises
        ------
        RuntimeError
            When the workers are shut down.
        """
        future: Future[Result] = Future()
        with self._lock:
            # One task for each item, and each task takes at least one item: so every item is handled.
            self.workers.submit(self._serve)
            self._waiting.append((item, future))
        return future

    def _serve(self) -> None:
        if not (batch := self._next()):
            return
        try:
            results = self.work([item for item, _ in batch])
        except BaseException as error:  # noqa: BLE001 - the callers wait for any of them
            results = [error] * len(batch)  # type: ignore[list-item] # as good as an Exception here
        for (_, future), result in zip(batch, results, strict=True):
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)

    def _next(self) -> list[tuple[Item, Future[Result]]]:
        batch: list[tuple[Item, Future[Result]]] = []
        room = self.capacity
        with self._lock:
            while self._waiting:
                weight = self.weight(self._waiting[0][0])
                if batch and weight > room:
                    break
                item, future = self._waiting.popleft()
                if future.set_running_or_notify_cancel():
                    batch.append((item, future))
                    room -= weight
        return batch
