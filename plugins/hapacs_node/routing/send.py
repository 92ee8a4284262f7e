"""Sends images by C-STORE: one association for many, each image as it is stored, byte for byte."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

from hapacs_node.catalog.tasks import Task
from hapacs_node.outbox import answers
from hapacs_node.outbox.answers import Ended
from hapacs_node.routing.destination import DicomDestination
from hapacs_node.routing.image import Message, Pair
from hapacs_node.routing.inquiry import TITLE
from hapacs_node.routing.peer import Access, OneByOne
from hapacs_node.routing.wire import Association

MAXIMUM_CONTEXTS = 128
"""DICOM PS3.8 9.3.2: presentation context identifiers are the odd numbers up to 255."""
# Message identifiers are 16 bits (DICOM PS3.7 E.1).
_MESSAGES = 0xFFFF
# C-STORE's priorities (DICOM PS3.7 9.3.1): urgent is high, normal medium, bulk low.
_MEDIUM = 0


@dataclass
class StoreSession(OneByOne):
    """An open association.

    Attributes
    ----------
    proposed : frozenset
        The pairs that it was opened for.
    """

    proposed: frozenset[Pair]
    _association: Association
    proven: bool = True
    """A peer that gives an association works."""
    _sent: int = 0

    def _attempt(self, task: Task, message: Message) -> Ended:
        if pair(task) not in self.proposed:
            # An association has no more than 128 presentation contexts. The next one has this pair.
            return answers.untried(task.id)
        if pair(task) not in self._association.accepted:
            return answers.not_accepted(task.id, task.sop_class, task.transfer_syntax)
        self._sent += 1
        context = self._association.accepted[str(message.sop_class), str(message.transfer_syntax)]
        status, comment = self._association.store(message, context, self._sent % _MESSAGES + 1, _MEDIUM)
        return answers.judge(task.id, task.attempts, status, comment)


@contextmanager
def associate(destination: DicomDestination, pairs: Iterable[Pair], access: Access) -> Iterator[StoreSession]:
    """Open an association for some pairs of SOP class and transfer syntax, and release it at the end.

    It has the first 128 pairs.

    With one transfer syntax in each context the peer can't choose another one, so the stored bytes fit.

    Raises
    ------
    PeerError
        When the destination refuses, or does not answer.
    """
    proposed = list(islice(dict.fromkeys(pairs), MAXIMUM_CONTEXTS))
    tls = access.context(destination.authority, destination.where, names=False) if destination.tls else None
    association = Association.open(destination, destination.calling_ae or TITLE, proposed, tls)
    try:
        yield StoreSession(frozenset(proposed), association)
    except BaseException:
        association.abort()
        raise
    association.release()


def pair(task: Task) -> Pair:
    """Return the presentation context that a task needs."""
    return task.sop_class, task.transfer_syntax
