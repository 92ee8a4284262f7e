"""Stores images as modalities do: each one is sent again until it is acknowledged. A ledger records every attempt.

For a fixed set of images that is sent once and as fast as possible see `hapacs.load.burst`.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

from hapacs.dicom import DicomError
from hapacs.load.connections import Answer, Connection, Entrance
from hapacs.load.images import Image
from hapacs.load.ledger import Ledger, LedgerError

Source = Callable[[int], Iterator[Image]]
"""Makes the images of one connection, which is given by its number."""


def store(ledger: Ledger, entrance: Entrance, connection: Connection, image: Image) -> Answer:
    """Send an image once; write it to the ledger before, and the answer afterwards."""
    attempt = ledger.begin(image.instance, entrance.protocol)
    begun = time.perf_counter()
    answer = connection.store(image)
    seconds = time.perf_counter() - begun
    ledger.end(attempt, answer.outcome, answer.reason)
    return replace(answer, seconds=seconds)


class Sender:
    """Stores images while the `with` block runs, until the sources end or the limit is reached.

    Parameters
    ----------
    entrances
        One for each concurrent connection.
    ledger
        Records every attempt.
    source
        Makes the images of each connection.
    limit
        Number of images after which no further one is begun, over all connections.
    images_per_connection
        Number of images after which a connection is ended, as a modality does after a series.
    pause_s
        Pause between a failure and the next attempt.
    stop_s
        Limit for the requests that run when the block ends.
    """

    def __init__(
        self,
        entrances: Sequence[Entrance],
        ledger: Ledger,
        source: Source,
        *,
        limit: int | None = None,
        images_per_connection: int = 20,
        pause_s: float = 0.5,
        stop_s: float = 240,
    ) -> None:
        self._ledger, self._source = ledger, source
        self._images, self._pause_s, self._stop_s = images_per_connection, pause_s, stop_s
        self._turns: Iterator[int] = itertools.count() if limit is None else iter(range(limit))
        self._stop = threading.Event()
        self._errors: list[LedgerError] = []
        self._threads = [
            threading.Thread(target=self._run, args=(number, one), name=f"sender-{number}", daemon=True)
            for number, one in enumerate(entrances)
        ]

    @property
    def running(self) -> bool:
        """Whether a connection still has images to send."""
        return any(thread.is_alive() for thread in self._threads)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Let the requests that run end.

        Raises
        ------
        LedgerError
            When the ledger could not be written, so that sending stopped.
        TimeoutError
            When a request does not end in time.
        """
        self._stop.set()
        deadline = time.monotonic() + self._stop_s
        for thread in self._threads:
            thread.join(timeout=max(deadline - time.monotonic(), 0))
        if self._errors:
            raise self._errors[0]
        if self.running:
            raise TimeoutError(f"a sender does not come back from its request within {self._stop_s:.0f} s")

    def _run(self, number: int, entrance: Entrance) -> None:
        images = self._source(number)
        line = _Line(entrance, self._ledger, self._images)
        try:
            while not self._stop.is_set() and next(self._turns, None) is not None:
                if (image := next(images, None)) is None:
                    break
                while not self._stop.is_set() and not line.store(image):
                    self._stop.wait(self._pause_s)
        except LedgerError as error:
            self._errors.append(error)
        finally:
            line.close()


@dataclass
class _Line:
    """One connection at a time; a new one after a failure, and after some images."""

    entrance: Entrance
    ledger: Ledger
    images: int
    left: int = 0
    connection: Connection | None = None

    def store(self, image: Image) -> bool:
        """Send an image; return whether it needs no further attempt."""
        if self.connection is None:
            try:
                self.connection = self.entrance.connect()
            except DicomError as error:
                self.ledger.not_sent(image.instance, self.entrance.protocol, error.message)
                return False
            self.left = self.images
        answer = store(self.ledger, self.entrance, self.connection, image)
        self.left -= 1
        if answer.outcome != "acknowledged" or not self.left:
            self.close()
        return answer.outcome == "acknowledged" or answer.final

    def close(self) -> None:
        """End the connection, if there is one."""
        if self.connection is not None:
            self.connection.close()
        self.connection = None
