"""Sends images by C-STORE: one association for many, each image as it is stored unless the peer wants it otherwise."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hapacs_node.catalog.tasks import Task
from hapacs_node.outbox import answers
from hapacs_node.outbox.answers import Ended
from hapacs_node.routing.destination import DicomDestination, WantedSyntax
from hapacs_node.routing.image import Message, Pair
from hapacs_node.routing.inquiry import TITLE
from hapacs_node.routing.peer import Access, OneByOne
from hapacs_node.routing.transcode import TranscodingError, choices, transcoded
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
    wanted : str or None
        The transfer syntax that the destination prefers.
    proposed : frozenset
        The pairs that it was opened for.
    """

    wanted: WantedSyntax | None
    proposed: frozenset[Pair]
    _association: Association
    proven: bool = True
    """A peer that gives an association works."""
    _sent: int = 0

    def _attempt(self, task: Task, message: Message) -> Ended:
        pairs = _pairs(task, self.wanted)
        if not self.proposed.issuperset(pairs):
            # An association has no more than 128 presentation contexts. The next one has these pairs.
            return answers.untried(task.id)
        reasons = []
        for pair in pairs:
            if pair not in self._association.accepted:
                continue
            try:
                fitting = message if pair[1] == message.transfer_syntax else transcoded(message, pair[1])
            except TranscodingError as error:
                reasons.append(str(error))
                continue
            self._sent += 1
            context = self._association.accepted[pair]
            status, comment = self._association.store(fitting, context, self._sent % _MESSAGES + 1, _MEDIUM)
            return answers.judge(task.id, task.attempts, status, comment)
        return answers.not_accepted(task.id, task.sop_class, task.transfer_syntax, "; ".join(dict.fromkeys(reasons)))


@contextmanager
def associate(destination: DicomDestination, tasks: Iterable[Task], access: Access) -> Iterator[StoreSession]:
    """Open an association to send some tasks, and release it at the end.

    It has 128 presentation contexts at most. With one transfer syntax in each, the peer can't choose another one.

    Raises
    ------
    PeerError
        When the destination refuses, or does not answer.
    """
    proposed = _proposed(tasks, destination.transfer_syntax)
    tls = access.context(destination.authority, destination.where, names=False) if destination.tls else None
    association = Association.open(destination, destination.calling_ae or TITLE, proposed, tls)
    try:
        yield StoreSession(destination.transfer_syntax, frozenset(proposed), association)
    except BaseException:
        association.abort()
        raise
    association.release()


def _proposed(tasks: Iterable[Task], wanted: WantedSyntax | None) -> list[Pair]:
    """Return the pairs of the first tasks for which there is room. A task has all of its pairs, or is not sent."""
    proposed: dict[Pair, None] = {}
    for task in tasks:
        more = dict.fromkeys(_pairs(task, wanted))
        if len(proposed | more) <= MAXIMUM_CONTEXTS:
            proposed |= more
    return list(proposed)


def _pairs(task: Task, wanted: WantedSyntax | None) -> list[Pair]:
    """Return the presentation contexts in which an image may be sent, the best first."""
    return [(task.sop_class, syntax) for syntax in choices(task.transfer_syntax, wanted)]
