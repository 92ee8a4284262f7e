"""Sends the tasks of one destination: claims a batch, opens an association, and records the end of each image."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from uuid import UUID, uuid4

from pydicom.uid import generate_uid

from hapacs_node import background, log
from hapacs_node.catalog import outbound_commitment, tasks
from hapacs_node.catalog.database import Database
from hapacs_node.catalog.outbound_commitment import Request
from hapacs_node.catalog.tasks import Claim, Lane, Task
from hapacs_node.errors import NodeError
from hapacs_node.metrics import Metrics
from hapacs_node.outbox import answers
from hapacs_node.outbox.answers import Ended
from hapacs_node.outbox.backoff import DESTINATION
from hapacs_node.routing import commit, query, reported, window
from hapacs_node.routing.change import changed
from hapacs_node.routing.commit import CommitmentError
from hapacs_node.routing.destination import Destination, DicomDestination, commits, is_asked
from hapacs_node.routing.image import Message, parse
from hapacs_node.routing.model import Change
from hapacs_node.routing.peer import Access, Loaded, PeerError, Session, UnansweredError
from hapacs_node.routing.query import QueryError
from hapacs_node.routing.session import open_session

_LOG = log.get("routing")
LEASE_S = 30.0
# After this time the rest of a batch is claimed again: urgent images that came meanwhile go first, also to a slow
# destination.
_BATCH, _BATCH_S = 100, 10.0
# The ends of images are recorded together, at least this often.
_RECORD_EVERY_S = 1.0

type _Reading = tuple[Task, Future[Message]]


@dataclass
class Worker:
    """Sends to the destinations of a site.

    Parameters
    ----------
    node : str
        This node.
    database : Database
        The catalog's.
    read : callable
        Returns the bytes of an attachment.
    reading : Executor
        Reads the next image while one is sent.
    access : Access
        What destinations want to see of this node.
    metrics : Metrics
        Counts what was sent.
    stop : threading.Event
        Ends the work after the current image.
    now : callable
        The time, for windows.
    """

    node: str
    database: Database
    read: Callable[[UUID], bytes]
    reading: Executor
    access: Access
    metrics: Metrics
    stop: threading.Event
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        self._sent = self.metrics.counter("hapacs_routing_images", "Images sent, by their end", ["destination", "end"])
        self._bytes = self.metrics.counter("hapacs_routing_bytes", "Bytes of confirmed images", ["destination"])
        self._failures = self.metrics.counter(
            "hapacs_routing_association_failures", "Associations that a destination did not give", ["destination"]
        )

    def run(self, lane: Lane, destination: Destination) -> int:
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

    def _claim(self, lane: Lane, destination: Destination, holder: str) -> Claim:
        return self.database.run(
            lambda c: tasks.claim(
                c,
                lane,
                holder=holder,
                node=self.node,
                limit=_BATCH,
                parallel=destination.parallel,
                lease_s=LEASE_S,
            )
        )

    def _open(self, destination: Destination) -> bool:
        return destination.window is None or window.is_open(destination.window, self.now())

    def _send(self, lane: Lane, destination: Destination, holder: str, claim: Claim) -> int:
        """Send a batch, and ask for those of it that were taken before; return how many ended, for better or worse."""
        ends = _Ends(self, lane, holder, list(claim.tasks))
        taken = [task for task in claim.tasks if task.taken_s is not None]
        try:
            new = self._wanted(lane, destination, [task for task in claim.tasks if task.taken_s is None], ends)
            if new:
                self._store(lane, destination, new, ends, waits=claim.failures > 0)
            if taken and commits(destination):
                self._request(lane, destination, taken, ends)
            elif taken:
                self._ask(lane, destination, taken, ends)
            if not new and claim.failures > 0:
                self.database.run(lambda c: tasks.answered(c, lane))
        except PeerError as error:
            self._failed(lane, claim, error)
        finally:
            ends.close()
        return 0 if ends.unknown else ends.count

    def _wanted(self, lane: Lane, destination: Destination, new: Sequence[Task], ends: "_Ends") -> list[Task]:
        """Return the tasks that are to be sent: the destination is asked for images that it gets only if absent."""
        asked = [task for task in new if task.only_if_absent]
        if not asked:
            return list(new)
        try:
            had = query.listed(destination, asked, self.access)
        except QueryError as error:
            self._lists_nothing(lane, error)
            ends.unknown = True
            for task in asked:
                ends.add(answers.unknown(task.id, str(error)))
            return [task for task in new if not task.only_if_absent]
        for task in asked:
            if task.sop in had:
                ends.add(answers.present(task.id))
        return [task for task in new if not (task.only_if_absent and task.sop in had)]

    def _store(
        self, lane: Lane, destination: Destination, batch: Sequence[Task], ends: "_Ends", *, waits: bool
    ) -> None:
        group: list[Task] = []
        end = time.monotonic() + _BATCH_S
        try:
            with open_session(destination, batch, self.access) as session:
                if waits and session.proven:
                    self.database.run(lambda c: tasks.answered(c, lane))
                    waits = False
                for reading in self._contents(session.requests(batch)):
                    group = [task for task, _ in reading]
                    asked = self._attempt(destination, session, reading, ends)
                    if waits and asked:
                        self.database.run(lambda c: tasks.answered(c, lane))
                        waits = False
                    self._hold_rate(destination, group)
                    if self.stop.is_set() or not self._open(destination) or time.monotonic() > end:
                        break
        except UnansweredError as lost:
            for task in group:
                ends.add(answers.unanswered(task.id, task.attempts, str(lost)))
            raise

    def _ask(self, lane: Lane, destination: Destination, taken: Sequence[Task], ends: "_Ends") -> None:
        """Ask a destination whether it lists images that it took."""
        found, why = {task.sop for task in taken}, ""
        # Otherwise the rules were changed since, and the answer of then is enough.
        if is_asked(destination):
            try:
                found = query.listed(destination, taken, self.access)
            except QueryError as error:
                found, why = set(), str(error)
                self._lists_nothing(lane, error)
        for task in taken:
            if task.sop in found:
                ends.add(answers.listed(task.id))
            else:
                ends.add(answers.unlisted(task.id, task.attempts - 1, task.taken_s or 0, why=why))

    def _request(self, lane: Lane, destination: DicomDestination, taken: Sequence[Task], ends: "_Ends") -> None:
        """Ask a destination to commit itself to keep images that it took. Its report ends their tasks, on any node."""
        peer = destination.ae_title
        asked = Request(str(generate_uid()), lane, peer, self.node)
        # Before the request: the report may be faster than its answer.
        self.database.run(lambda c: outbound_commitment.add(c, asked, [task.id for task in taken]))
        why = ""
        try:
            commit.ask(
                destination,
                taken,
                asked.transaction,
                self.access,
                lambda told: reported.take(self.database, peer, told),
            )
        except CommitmentError as error:
            why = str(error)
            self._failures.labels(lane.destination).inc()
            _LOG.warning(log.line("destination_commits_nothing", destination=lane.destination, error=error))
        for task in taken:
            since_s = task.taken_s or 0
            ends.add(answers.not_requested(task.id, since_s, why) if why else answers.requested(task.id, since_s))

    def _lists_nothing(self, lane: Lane, error: QueryError) -> None:
        self._failures.labels(lane.destination).inc()
        _LOG.warning(log.line("destination_lists_nothing", destination=lane.destination, error=error))

    def _contents(self, groups: Sequence[Sequence[Task]]) -> Iterator[list[_Reading]]:
        """Yield the images of each request with their contents; those of the next one are read meanwhile."""
        following: list[_Reading] = []
        for index, group in enumerate(groups):
            current = following or self._reading(group)
            following = self._reading(groups[index + 1]) if index + 1 < len(groups) else []
            yield current

    def _reading(self, group: Sequence[Task]) -> list[_Reading]:
        return [(task, self.reading.submit(self._message, task)) for task in group]

    def _message(self, task: Task) -> Message:
        content = self.read(task.uuid)
        if task.change:
            content = changed(content, [Change.model_validate(change) for change in task.change])
        return parse(content)

    def _attempt(self, destination: Destination, session: Session, reading: Sequence[_Reading], ends: "_Ends") -> bool:
        """Send the images of one request that can be read; return whether the destination was asked."""
        images: list[Loaded] = []
        for task, content in reading:
            try:
                images.append((task, content.result()))
            except (NodeError, ValueError) as error:
                # The image can't be read now. That is no fault of the destination.
                ends.add(answers.unanswered(task.id, task.attempts, f"not read on {self.node}: {error}"))
        later = is_asked(destination) or commits(destination)
        for ended in session.send(images) if images else ():
            ends.add(answers.taken(ended) if later and ended.state == "confirmed" else ended)
        return bool(images)

    def _hold_rate(self, destination: Destination, group: Sequence[Task]) -> None:
        if destination.mb_per_s is not None:
            self.stop.wait(sum(task.size for task in group) / (destination.mb_per_s * 1e6 / destination.parallel))

    def _failed(self, lane: Lane, claim: Claim, error: PeerError) -> None:
        pause_s = DESTINATION.pause_s(claim.failures + 1)
        self._failures.labels(lane.destination).inc()
        _LOG.warning(
            log.line("destination_failed", destination=lane.destination, error=error, again_after_s=round(pause_s))
        )
        self.database.run(lambda c: tasks.failed(c, lane, str(error), pause_s))

    def count(self, lane: Lane, task: Task, ended: Ended) -> None:
        """Count the end of an image."""
        if ended.asked and ended.state == "waiting":
            return
        present = ended.asked and task.taken_s is None
        end = "present" if present else "taken" if ended.taken else ended.state
        self._sent.labels(lane.destination, end).inc()
        if ended.state == "confirmed" and not present:
            self._bytes.labels(lane.destination).inc(task.size)

    def _renew(self, lane: Lane, holder: str) -> None:
        try:
            self.database.run(lambda c: tasks.renew(c, lane, holder, LEASE_S), deadline_s=LEASE_S / 3)
        except NodeError as error:
            _LOG.warning(log.line("lease_not_renewed", holder=holder, error=error))


@dataclass
class _Ends:
    """The ends of a batch, recorded together every second. The first end of a task counts.

    After a batch with a question without answer no other one is claimed before the service looks at the outbox again.
    """

    worker: Worker
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
