"""Tells the other site what was deleted at this one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import batched

from pydantic import ValidationError

from hapacs_node.catalog import replication, tasks, tombstones
from hapacs_node.catalog.claims import Claim
from hapacs_node.catalog.tasks import Lane, Task
from hapacs_node.catalog.tombstones import Outlook
from hapacs_node.outbox.answers import Ended
from hapacs_node.replication.model import SecondSite
from hapacs_node.replication.names import TOMBSTONES_PATH
from hapacs_node.replication.tombstones import MOST, Answer, Deleted, Outcome, Told
from hapacs_node.routing import stow
from hapacs_node.routing.claims import Claims, Ends
from hapacs_node.routing.peer import PeerError
from hapacs_node.routing.stow import WebSession

# A copy that is on its way ends when its worker sees the tombstone.
_COPIES_PAUSE_S = 10.0


@dataclass
class Teller(Claims[SecondSite]):
    """Tells the other site which images were deleted; it removes those that have the same bytes."""

    def __post_init__(self) -> None:
        self._ended = self.metrics.counter("hapacs_replication_tombstones", "Deletions that were told", ["end"])
        self._failures = self.metrics.counter(
            "hapacs_replication_tombstone_failures", "Messages about deletions that the other site did not answer well"
        )

    def _send(self, lane: Lane, destination: SecondSite, holder: str, claim: Claim) -> int:
        """Tell what a batch names; return how many tasks ended."""
        ends = Ends(self, lane, holder, list(claim.tasks))
        try:
            wanted = self._wanted(claim.tasks, ends)
            with stow.connect(destination.entry, self.access) as session:
                for group in batched(wanted.items(), MOST):
                    self._tell(session, dict(group), ends)
                    if claim.failures:
                        self.database.run(lambda c: tasks.answered(c, lane))
                    if self.stop.is_set():
                        break
        except PeerError as error:
            self._failed(lane, claim, error)
        finally:
            ends.close()
        return ends.count

    def _look(self, asked: Sequence[Task]) -> dict[int, Outlook]:
        ids = [task.id for task in asked]
        return self.database.run(lambda c: tombstones.outlook(c, ids))

    def _wanted(self, claimed: Sequence[Task], ends: Ends) -> dict[Task, Deleted]:
        """Return the deletions that are to be told now; end the tasks of the others."""
        known, wanted = self._look(claimed), {}
        for task in claimed:
            one = known.get(task.id)
            if one is None or one.is_back:
                ends.add(Ended(task.id, "dropped", "stored again at this site"))
            elif one.copies:
                ends.add(Ended(task.id, "waiting", "its copy is under way still", _COPIES_PAUSE_S, asked=True))
            else:
                try:
                    wanted[task] = Deleted(study=task.study, series=task.series, sop=task.sop, digest=one.digest)
                except ValidationError:
                    # The other site can't find it by them either. The comparison of both sites names it.
                    ends.add(Ended(task.id, "dead", "its UIDs are none of DICOM"))
        return wanted

    def _tell(self, session: WebSession, group: Mapping[Task, Deleted], ends: Ends) -> None:
        outcomes = self._asked(session, tuple(group.values()))
        # What was stored again meanwhile may have been confirmed by the copy that is gone now.
        after = self._look(list(group))
        if back := [(task.study, task.sop) for task in group if (one := after.get(task.id)) and one.is_back]:
            reason = "sent again: it was deleted under way"
            self.database.run(lambda c: replication.again(c, back, reason))
        for task, outcome in zip(group, outcomes, strict=True):
            ends.add(
                Ended(task.id, "dead", "other bytes are there, and stay")
                if outcome == "other"
                else Ended(task.id, "confirmed")
            )

    @staticmethod
    def _asked(session: WebSession, images: tuple[Deleted, ...]) -> Sequence[Outcome]:
        where = session.destination.where
        content = session.question(TOMBSTONES_PATH, Told(images=images).model_dump_json().encode(), "what it deleted")
        try:
            outcomes = Answer.model_validate_json(content).outcomes
        except ValidationError as error:
            raise PeerError(f"{where} does not say what it deleted: {error.error_count()} mistakes") from None
        if len(outcomes) != len(images):
            raise PeerError(f"{where} says of {len(outcomes)} images what became of them, and not of {len(images)}")
        return outcomes

    def count(self, lane: Lane, task: Task, ended: Ended) -> None:  # noqa: ARG002 - there is one lane
        """Count the end of a task."""
        if ended.state != "waiting":
            self._ended.labels(ended.state).inc()

    def count_failure(self, lane: Lane) -> None:  # noqa: ARG002 - there is one lane
        """Count that the other site did not answer."""
        self._failures.inc()
