"""Copies images to the second site, and ends each task by what the archive there is read to have."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from pydicom.uid import UID

from hapacs_node.catalog import objects, replication, tasks
from hapacs_node.catalog.claims import Claim
from hapacs_node.catalog.objects import StoredObject
from hapacs_node.catalog.tasks import Lane, Task
from hapacs_node.errors import NodeError
from hapacs_node.outbox import answers
from hapacs_node.outbox.answers import Ended
from hapacs_node.replication import confirm
from hapacs_node.replication.model import SecondSite
from hapacs_node.replication.names import CANARY_RULE
from hapacs_node.routing import stow
from hapacs_node.routing.batches import BATCH_S, Batches, Reading
from hapacs_node.routing.claims import Ends
from hapacs_node.routing.image import Message
from hapacs_node.routing.peer import Loaded, PeerError, UnansweredError
from hapacs_node.routing.stow import WebSession

# After an image was removed or replaced under way, other workers end what they do with the newer one.
_REPLACED_PAUSE_S = 120.0
_GONE = "removed or replaced at this site"


def _may_be_there(task: Task) -> bool:
    """Return whether the second site is asked before an image is sent.

    Its answer may have been lost, or its copy was not whole yet. A past image may be there from before the copies were
    switched off, or before the catalog was lost. A canary is always sent: its bytes of before are there.
    """
    if task.rule == CANARY_RULE:
        return False
    return task.attempts > 1 or task.taken_s is not None or task.rule == replication.RULES[replication.PAST]


@dataclass
class Replicator(Batches[SecondSite]):
    """Copies the images of a site to its second site."""

    def __post_init__(self) -> None:
        self._ended = self.metrics.counter("hapacs_replication_images", "Copies, by their end", ["end"])
        self._bytes = self.metrics.counter("hapacs_replication_bytes", "Bytes of confirmed copies")
        self._failures = self.metrics.counter(
            "hapacs_replication_failures", "Requests that the second site did not answer well"
        )

    def _send(self, lane: Lane, destination: SecondSite, holder: str, claim: Claim) -> int:
        """Copy a batch; return how many images ended, for better or worse."""
        ends = Ends(self, lane, holder, list(claim.tasks))
        try:
            self._copy(lane, destination, ends, waits=claim.failures > 0)
        except PeerError as error:
            self._failed(lane, claim, error)
        finally:
            ends.close()
        return ends.count

    def _copy(self, lane: Lane, second: SecondSite, ends: Ends, *, waits: bool) -> None:
        uuids = [task.uuid for task in ends.batch]
        rows = {row.uuid: row for row in self.database.run(lambda c: objects.find_all(c, uuids))}
        present = self._present(ends.batch, rows, ends)
        end = time.monotonic() + BATCH_S
        with stow.connect(second.entry, self.access) as entry, stow.connect(second.store, self.access) as store:
            known = [task for task in present if _may_be_there(task)]
            wanted = [task for task in present if not _may_be_there(task)]
            for start in range(0, len(known), confirm.MOST):
                wanted += self._confirmed(entry, known[start : start + confirm.MOST], rows, ends, sent=False)
            if waits and known:
                self.database.run(lambda c: tasks.answered(c, lane))
                waits = False
            for reading in self._contents(store.requests(wanted)):
                asked = self._request(entry, store, reading, rows, ends)
                if waits and asked:
                    self.database.run(lambda c: tasks.answered(c, lane))
                    waits = False
                self._hold_rate(second, [task for task, _ in reading])
                if self.stop.is_set() or time.monotonic() > end:
                    break

    def _present(self, batch: Sequence[Task], rows: Mapping[UUID, StoredObject], ends: Ends) -> list[Task]:
        """Return the tasks whose images are still in the index; end the others."""
        present: list[Task] = []
        gone: list[Task] = []
        for task in batch:
            row = rows.get(task.uuid)
            (gone if row is None or row.tombstoned_at is not None else present).append(task)
        # One that was under way may have come after the newer image, which then has to be sent again.
        # Canaries have the same bytes.
        tried = [task for task in gone if task.rule != CANARY_RULE and (task.attempts > 1 or task.taken_s is not None)]
        if instances := [(task.study, task.sop) for task in tried]:
            reason = "sent again: an older one was under way"
            self.database.run(partial(replication.again, instances=instances, reason=reason))
        for task in gone:
            ends.add(Ended(task.id, "dropped", _GONE))
        return present

    def _request(
        self,
        entry: WebSession,
        store: WebSession,
        reading: Sequence[Reading],
        rows: Mapping[UUID, StoredObject],
        ends: Ends,
    ) -> bool:
        """Send the images of one request, and confirm them; return whether the second site was asked."""
        images: list[Loaded] = []
        for task, content in reading:
            try:
                images.append((task, content.result()))
            except (NodeError, ValueError) as error:
                # The image can't be read now. That is no fault of the second site.
                ends.add(answers.unanswered(task.id, task.attempts, f"not read on {self.node}: {error}"))
        if not images:
            return False
        known = {task.id: task for task, _ in images}
        try:
            answered = store.send(images)
        except UnansweredError as lost:
            for task, _ in images:
                ends.add(answers.unanswered(task.id, task.attempts, str(lost)))
            raise
        sent = []
        for ended in answered:
            if (refused := confirm.refused(known[ended.id], ended)) is None:
                sent.append(known[ended.id])
            else:
                ends.add(refused)
        if sent:
            self._confirmed(entry, sent, rows, ends, sent=True)
        return True

    def _confirmed(
        self,
        entry: WebSession,
        asked: Sequence[Task],
        rows: Mapping[UUID, StoredObject],
        ends: Ends,
        *,
        sent: bool,
    ) -> list[Task]:
        """Ask what the second site keeps of some images, and end their tasks; return those that are to be sent."""
        try:
            found = confirm.ask(entry, [task.sop for task in asked])
        except PeerError as error:
            for task in asked:
                ends.add(confirm.unanswered(task, str(error), sent=sent))
            raise
        replaced = self._replaced(asked) if sent else set()
        missing = []
        for task in asked:
            ended = confirm.judge(task, rows[task.uuid], found.get(task.sop, ()), sent=sent)
            if task.uuid in replaced:
                ends.add(Ended(task.id, "waiting", f"{_GONE} while it was sent", _REPLACED_PAUSE_S, taken=True))
            elif ended is None:
                missing.append(task)
            else:
                ends.add(ended)
        return missing

    def _replaced(self, sent: Sequence[Task]) -> set[UUID]:
        """Return which images are not in the index any more, after they were sent."""
        uuids = [task.uuid for task in sent]
        rows = self.database.run(lambda c: objects.find_all(c, uuids))
        return {row.uuid for row in rows if row.tombstoned_at is not None}

    def _message(self, task: Task) -> Message:
        # The names are those of the index, so that a file whose own ones are wrong or missing is copied too.
        content = self.read(task)
        return Message(UID(task.sop_class), UID(task.sop), UID(task.transfer_syntax), content, memoryview(content))

    def _hold_rate(self, second: SecondSite, group: Sequence[Task]) -> None:
        if rate := second.rate(self.now()):
            self.stop.wait(sum(task.size for task in group) / rate)

    def count(self, lane: Lane, task: Task, ended: Ended) -> None:  # noqa: ARG002 - there is one lane
        """Count the end of a copy. Canaries are no images of the site, and have metrics of their own."""
        if task.rule == CANARY_RULE or (ended.asked and ended.state == "waiting"):
            return
        self._ended.labels("taken" if ended.taken else ended.state).inc()
        if ended.state == "confirmed":
            self._bytes.inc(task.size)

    def count_failure(self, lane: Lane) -> None:  # noqa: ARG002 - there is one lane
        """Count that the second site did not answer."""
        self._failures.inc()
