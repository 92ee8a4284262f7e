"""Asks the second site what its archive has of images, and judges the answer."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hapacs_node.catalog.objects import StoredObject
from hapacs_node.catalog.tasks import Task
from hapacs_node.outbox.answers import Ended
from hapacs_node.outbox.backoff import IMAGE
from hapacs_node.replication.names import PATH
from hapacs_node.routing.peer import PeerError
from hapacs_node.routing.stow import WebSession

MOST = 200
"""Images of one question."""
# What the second site refused so often is set aside: once more alone, in case the request was at fault.
_MOST_REFUSALS = 3
# What was sent so often without coming into the archive there is set aside for an operator.
_MOST_ATTEMPTS = 5
# Out of resources (PS3.18 table 10.5.3-2): nothing was stored. Of any other status the archive is asked.
_FAILURE = "status 0xA7"
# A copy that is there, and is not whole or locked yet, is asked for again: soon, then after half of the time again.
_FIRST_ASKED_S, _LAST_ASKED_S = 15.0, 600.0


class Replica(BaseModel):
    """One image that the index of the second site has under a SOP Instance UID.

    Attributes
    ----------
    digest, size
        SHA-256 and bytes, as read back from its archive when `problem` is empty.
    locked_until
        When the lock of its archive object ends; None without a lock.
    problem
        What is wrong with it; empty when its archive has it whole, on all copies, and locked.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    digest: str = Field(pattern="^[0-9a-f]{64}$")
    size: int
    locked_until: datetime | None
    problem: str

    @property
    def is_kept(self) -> bool:
        """Whether the second site keeps it."""
        return not self.problem and self.locked_until is not None


class Answer(BaseModel):
    """What the second site has, by SOP Instance UID."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    replicas: Mapping[str, tuple[Replica, ...]]


def ask(entry: WebSession, instances: Sequence[str]) -> Mapping[str, tuple[Replica, ...]]:
    """Ask what the archive of the second site has of some images.

    Raises
    ------
    PeerError
        When there is no answer, or one that says nothing about them.
    """
    body = json.dumps({"instances": list(instances)}).encode()
    try:
        return Answer.model_validate_json(entry.question(PATH, body, "what it keeps")).replicas
    except ValidationError as error:
        where = entry.destination.where
        raise PeerError(f"{where} does not say what it keeps: the answer has {error.error_count()} mistakes") from None


def judge(task: Task, row: StoredObject, replicas: Sequence[Replica], *, sent: bool) -> Ended | None:
    """Return what follows from the copies under the UID of an image; None when it has to be sent.

    Parameters
    ----------
    task : Task
        The task.
    row : StoredObject
        The image at this site.
    replicas : sequence of Replica
        What the second site has.
    sent : bool
        Whether the image was sent just now.
    """
    same = [one for one in replicas if (one.digest, one.size) == (row.digest, row.size)]
    if any(one.is_kept for one in same):
        return Ended(task.id, "confirmed", asked=not sent)
    if same:
        pause_s = min(max((task.taken_s or 0) / 2, _FIRST_ASKED_S), _LAST_ASKED_S)
        # When it is there already, the time of before goes on.
        taken = True if task.taken_s is None else None
        return Ended(task.id, "waiting", f"there, but {_problem(same[0])}", pause_s, asked=not sent, taken=taken)
    if not sent:
        return None
    others = ", ".join(f"{one.digest[:16]} of {one.size} bytes" for one in replicas)
    why = f"other bytes are there: {others} instead of {row.digest[:16]} of {row.size}" if others else "it is not there"
    reason = f"sent {task.attempts} times, and {why}" if task.attempts > 1 else f"sent, and {why}"
    if task.attempts >= _MOST_ATTEMPTS:
        return Ended(task.id, "dead", reason)
    return Ended(task.id, "waiting", reason, IMAGE.pause_s(task.attempts), taken=False)


def refused(task: Task, answered: Ended) -> Ended | None:
    """Return the end of an image that the second site says it did not store; None when its archive is to be asked.

    Parameters
    ----------
    task : Task
        The task.
    answered : Ended
        What follows from the answer to the transfer.
    """
    if not answered.tried or (answered.state == "waiting" and answered.reason.startswith(_FAILURE)):
        return answered
    if answered.state != "dead":
        return None
    if task.attempts >= _MOST_REFUSALS:
        return answered
    return Ended(task.id, "waiting", answered.reason, IMAGE.pause_s(task.attempts))


def unanswered(task: Task, why: str, *, sent: bool) -> Ended:
    """Return the end of an attempt after which the second site did not say what its archive has."""
    taken = True if sent and task.taken_s is None else None
    return Ended(task.id, "waiting", f"sent; {why}" if sent else why, _FIRST_ASKED_S, asked=not sent, taken=taken)


def _problem(replica: Replica) -> str:
    return replica.problem or "its archive object is not locked"
