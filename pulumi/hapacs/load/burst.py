"""Stores a given number of studies as fast as possible and times every C-STORE: load for a benchmark.

A failed C-STORE is not repeated. For load that continues during a fault see `hapacs.load.modality`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from hapacs.dicom import Caller, DicomError, Peer
from hapacs.load.connections import CStore
from hapacs.load.images import Study
from hapacs.load.ledger import Ledger
from hapacs.load.modality import store

_READY_S = 120


@dataclass
class Outcome:
    """Result of a burst.

    Attributes
    ----------
    seconds
        From the first request to the last answer, over all associations.
    responses
        Response time of each successful request, in seconds.
    failures
        Reason of each failed request.
    cpu_s
        Processor seconds of the sender.
    """

    seconds: float = 0
    responses: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    cpu_s: float = 0

    @property
    def per_s(self) -> float:
        """Acknowledged instances a second."""
        return len(self.responses) / self.seconds


def send(caller: Caller, peer: Peer, studies: Sequence[Study]) -> Outcome:
    """Store studies concurrently, each by its own association.

    All associations are open before the first image is sent. The ledger lasts as long as the burst.
    """
    outcome = Outcome()
    times: list[tuple[float, float]] = []
    start = threading.Barrier(len(studies) + 1)
    entrance = CStore(caller, peer)

    def work(study: Study, ledger: Ledger) -> None:
        answered = 0
        try:
            connection = entrance.connect()
        except DicomError as error:
            # The others must not wait for this one.
            start.abort()
            outcome.failures += [error.message] * len(study.images)
            return
        with contextlib.closing(connection):
            try:
                start.wait(_READY_S)
            except threading.BrokenBarrierError:
                outcome.failures += ["another association was not opened"] * len(study.images)
                return
            begun = time.perf_counter()
            for image in study.images:
                answer = store(ledger, entrance, connection, image)
                answered += 1
                if answer.outcome == "acknowledged":
                    outcome.responses.append(answer.seconds)
                else:
                    outcome.failures.append(answer.reason)
                if answer.outcome == "unknown":
                    outcome.failures += [answer.reason] * (len(study.images) - answered)
                    return
            times.append((begun, time.perf_counter()))

    with _temporary_ledger() as ledger:
        threads = [threading.Thread(target=work, args=(study, ledger), daemon=True) for study in studies]
        for thread in threads:
            thread.start()
        with contextlib.suppress(threading.BrokenBarrierError):
            start.wait(_READY_S)
        cpu = time.process_time()
        for thread in threads:
            thread.join()
        outcome.cpu_s = time.process_time() - cpu
    if times:
        outcome.seconds = max(end for _, end in times) - min(begun for begun, _ in times)
    return outcome


@contextmanager
def _temporary_ledger() -> Iterator[Ledger]:
    with (
        TemporaryDirectory(prefix="hapacs-burst-") as directory,
        contextlib.closing(Ledger(Path(directory) / "ledger.sqlite")) as ledger,
    ):
        yield ledger
