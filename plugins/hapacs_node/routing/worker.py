"""Sends the tasks of one destination: opens an association, sends a batch, and asks for what was taken before."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.uid import generate_uid

from hapacs_node import log
from hapacs_node.catalog import outbound_commitment, tasks
from hapacs_node.catalog.claims import Claim
from hapacs_node.catalog.outbound_commitment import Request
from hapacs_node.catalog.tasks import Lane, Task
from hapacs_node.errors import NodeError
from hapacs_node.outbox import answers
from hapacs_node.outbox.answers import Ended
from hapacs_node.routing import commit, query, reported
from hapacs_node.routing.batches import BATCH_S, Batches, Reading
from hapacs_node.routing.change import changed
from hapacs_node.routing.claims import Ends
from hapacs_node.routing.commit import CommitmentError
from hapacs_node.routing.destination import Destination, DicomDestination, commits, is_asked
from hapacs_node.routing.image import Message, parse
from hapacs_node.routing.model import Change
from hapacs_node.routing.peer import Loaded, PeerError, Session, UnansweredError
from hapacs_node.routing.query import QueryError
from hapacs_node.routing.session import open_session

_LOG = log.get("routing")


@dataclass
class Worker(Batches[Destination]):
    """Sends to the destinations of a site."""

    def __post_init__(self) -> None:
        self._sent = self.metrics.counter("hapacs_routing_images", "Images sent, by their end", ["destination", "end"])
        self._bytes = self.metrics.counter("hapacs_routing_bytes", "Bytes of confirmed images", ["destination"])
        self._failures = self.metrics.counter(
            "hapacs_routing_association_failures", "Associations that a destination did not give", ["destination"]
        )

    def _send(self, lane: Lane, destination: Destination, holder: str, claim: Claim) -> int:
        """Send a batch, and ask for those of it that were taken before; return how many ended, for better or worse."""
        ends = Ends(self, lane, holder, list(claim.tasks))
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

    def _wanted(self, lane: Lane, destination: Destination, new: Sequence[Task], ends: Ends) -> list[Task]:
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

    def _store(self, lane: Lane, destination: Destination, batch: Sequence[Task], ends: Ends, *, waits: bool) -> None:
        group: list[Task] = []
        end = time.monotonic() + BATCH_S
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

    def _ask(self, lane: Lane, destination: Destination, taken: Sequence[Task], ends: Ends) -> None:
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

    def _request(self, lane: Lane, destination: DicomDestination, taken: Sequence[Task], ends: Ends) -> None:
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
            self.count_failure(lane)
            _LOG.warning(log.line("destination_commits_nothing", destination=lane.destination, error=error))
        for task in taken:
            since_s = task.taken_s or 0
            ends.add(answers.not_requested(task.id, since_s, why) if why else answers.requested(task.id, since_s))

    def _lists_nothing(self, lane: Lane, error: QueryError) -> None:
        self.count_failure(lane)
        _LOG.warning(log.line("destination_lists_nothing", destination=lane.destination, error=error))

    def _message(self, task: Task) -> Message:
        content = self.read(task)
        if task.change:
            content = changed(content, [Change.model_validate(change) for change in task.change])
        return parse(content)

    def _attempt(self, destination: Destination, session: Session, reading: Sequence[Reading], ends: Ends) -> bool:
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

    def count(self, lane: Lane, task: Task, ended: Ended) -> None:
        """Count the end of an image."""
        if ended.asked and ended.state == "waiting":
            return
        present = ended.asked and task.taken_s is None
        end = "present" if present else "taken" if ended.taken else ended.state
        self._sent.labels(lane.destination, end).inc()
        if ended.state == "confirmed" and not present:
            self._bytes.labels(lane.destination).inc(task.size)

    def count_failure(self, lane: Lane) -> None:
        """Count that a destination gave no association, or no answer."""
        self._failures.labels(lane.destination).inc()
