"""Claims tasks of one destination in batches, keeps their lease, and records the end of each task."""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol
from uuid import uuid4

from hapacs_node import background, log
from hapacs_node.catalog import claims, tasks
from hapacs_node.catalog.claims import Claim, Terms
from hapacs_node.catalog.database import Database
from hapacs_node.catalog.tasks import Lane, Task
from hapacs_node.errors import NodeError
from hapacs_node.metrics import Metrics
from hapacs_node.outbox import answers
from hapacs_node.outbox.answers import Ended
from hapacs_node.outbox.backoff import DESTINATION
from hapacs_node.routing import window
from hapacs_node.routing.peer import Access, PeerError

_LOG = log.get("routing")
LEASE_S = 30.0
# After some time the rest of a batch is claimed again: urgent images that came meanwhile go first, also to a slow
# destination.
_BATCH = 100
# The ends of tasks are recorded together, at least this often.
_RECORD_EVERY_S = 1.0


class Limited(Protocol):
    """How much may be sent to a destination at once, and when."""

    @property
    def parallel(self) -> int:
        """How many workers may send at the same time, over all nodes."""
        ...

    @property
    def window(self) -> str | None:
        """When images are sent, in UTC; None for always."""
        ...


@dataclass
class Claims[D: Limited](ABC):
    """Works on the tasks of destinations of one kind.

    Parameters
    ----------
    node : str
        This node.
    database : Database
        The catalog's.
    access : Access
        What destinations want to see of this node.
    metrics : Metrics
        Counts what was done.
    stop : threading.Event
        Ends the work after the current task.
    now : callable
        The time, for windows.
    """

    node: str
    database: Database
    access: Access
    metrics: Metrics
    stop: threading.Event
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC), kw_only=True)

    def run(self, lane: Lane, destination: D) -> int:
        """Send until nothing is due, the destination fails, or its window closes; return how many ended."""
        total = 0
        while not self.stop.is_set() and self._open(destination):
            holder = f"{self.node}:{uuid4().hex[:12]}"
            claim = self._claim(lane, destination, holder)
            if not claim.tasks:
                break
            with background.repeated(partial(self._renew, lane, holder), LEASE_S / 3, "lease"):
                ended = self._send(lane, destination, holder, claim)
            total += ended
            if not ended:
                break
        return total

    @abstractmethod
    def _send(self, lane: Lane, destination: D, holder: str, claim: Claim) -> int:
        """Work on a batch; return how many tasks ended, for better or worse."""

    @abstractmethod
    def count(self, lane: Lane, task: Task, ended: Ended) -> None:
        """Count the end of a task."""

    @abstractmethod
    def count_failure(self, lane: Lane) -> None:
        """Count that a destination gave no association, or no answer."""

    def _claim(self, lane: Lane, destination: D, holder: str) -> Claim:
        terms = Terms(holder, self.node, _BATCH, destination.parallel, LEASE_S)
        return self.database.run(lambda c: claims.claim(c, lane, terms))

    def _open(self, destination: D) -> bool:
        return destination.window is None or window.is_open(destination.window, self.now())

    def _failed(self, lane: Lane, claim: Claim, error: PeerError) -> None:
        pause_s = DESTINATION.pause_s(claim.failures + 1)
        self.count_failure(lane)
        _LOG.warning(
            log.line("destination_failed", destination=lane.destination, error=error, again_after_s=round(pause_s))
        )
        self.database.run(lambda c: tasks.failed(c, lane, str(error), pause_s))

    def _renew(self, lane: Lane, holder: str) -> None:
        try:
            self.database.run(lambda c: tasks.renew(c, lane, holder, LEASE_S), deadline_s=LEASE_S / 3)
        except NodeError as error:
            _LOG.warning(log.line("lease_not_renewed", holder=holder, error=error))


@dataclass
class Ends:
    """The ends of a batch, recorded together every second. The first end of a task counts.

    After a batch with a question without answer no other one is claimed before the service looks at the outbox again.
    """

    worker: Claims[Any]
    lane: Lane
    holder: str
    batch: list[Task]
    count: int = 0
    unknown: bool = False
    _waiting: list[Ended] = field(default_factory=list)
    _recorded_at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._open = {task.id: task for task in self.batch}

    def add(self, ended: Ended) -> None:
        """Take the end of a task, unless it has one."""
        task = self._open.pop(ended.id, None)
        if task is None:
            return
        self._waiting.append(ended)
        if ended.tried:
            self.count += 1
            self.worker.count(self.lane, task, ended)
        if time.monotonic() - self._recorded_at > _RECORD_EVERY_S:
            self._record()

    def close(self) -> None:
        """Record the rest: tasks without an end are unchanged."""
        self._waiting += [answers.untried(task) for task in self._open]
        if self._waiting:
            self._record()

    def _record(self) -> None:
        recorded = self.worker.database.run(lambda c: tasks.end(c, self.holder, self._waiting))
        if late := [ended.id for ended in self._waiting if ended.id not in recorded and not ended.asked]:
            # Another worker has them since the lease ended, so they may be sent twice. A question sends nothing, and a
            # report may have ended the task before the answer to the request for it.
            _LOG.warning(log.line("lease_lost", destination=self.lane.destination, holder=self.holder, tasks=len(late)))
        self._waiting = []
        self._recorded_at = time.monotonic()
