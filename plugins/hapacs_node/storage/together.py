"""What several callers want at the same moment is done once for all of them.

Nobody waits for others to come: whoever finds a worker free is served alone. What comes while all workers are busy
makes the next batch. So under load each batch is as large as the load, and costs are shared.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field


@dataclass
class Together[Item, Result]:
    """Hands items to a function, as many at a time as have come.

    Parameters
    ----------
    work : callable
        Takes a batch and returns as many results, each a value or the exception that its caller is to get. What it
        raises, every caller of the batch gets.
    workers : ThreadPoolExecutor
        Its size is the number of batches at a time. For this only.
    weight : callable
        How much of a batch an item takes.
    capacity : int
        How much fits into a batch. One item always does.
    """

    work: Callable[[Sequence[Item]], Sequence[Result | Exception]]
    workers: ThreadPoolExecutor
    weight: Callable[[Item], int]
    capacity: int
    _waiting: deque[tuple[Item, Future[Result]]] = field(default_factory=deque, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def begin(self, item: Item) -> Future[Result]:
        """Have something done. A future that is cancelled before its batch begins is left out.

        Raises
        ------
        RuntimeError
            When the workers are shut down.
        """
        future: Future[Result] = Future()
        with self._lock:
            # One task for each item, and each task takes one item at least: none is left behind.
            self.workers.submit(self._serve)
            self._waiting.append((item, future))
        return future

    def _serve(self) -> None:
        if not (batch := self._next()):
            return
        try:
            results = self.work([item for item, _ in batch])
        except BaseException as error:  # noqa: BLE001 - whatever it is, the callers wait for it
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
