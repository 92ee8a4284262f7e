"""Stores a given number of studies as fast as possible and times every C-STORE: load for a benchmark.

A failed C-STORE is not repeated. For load that continues during a fault see `hapacs.load.modality`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from hapacs.dicom import Caller, DicomError, Peer
from hapacs.dicom.client import SUCCESS
from hapacs.load.images import Study
from hapacs.load.wire import Association

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

    All images are encoded and all associations are open before the first image is sent.
    """
    outcome = Outcome()
    times: list[tuple[float, float]] = []
    start = threading.Barrier(len(studies) + 1)

    def work(study: Study) -> None:
        responses: list[float] = []
        answered = 0
        try:
            with Association(caller, peer, "store") as association:
                requests = [association.store_request(image.sop_instance, image.dataset) for image in study.images]
                start.wait(_READY_S)
                begun = time.perf_counter()
                for request in requests:
                    sent = time.perf_counter()
                    status, _ = association.exchange(request)
                    answered += 1
                    if status == SUCCESS:
                        responses.append(time.perf_counter() - sent)
                    else:
                        outcome.failures.append(f"status 0x{status:04X}")
                times.append((begun, time.perf_counter()))
        except (DicomError, OSError, threading.BrokenBarrierError) as error:
            # The others must not wait for this one.
            start.abort()
            outcome.failures += [str(error)] * (len(study.images) - answered)
        outcome.responses += responses

    threads = [threading.Thread(target=work, args=(study,), daemon=True) for study in studies]
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
