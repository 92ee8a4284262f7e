"""Sends images by C-STORE: one association for many, each image as it is stored unless the peer wants it otherwise."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from hapacs_node.catalog.tasks import Task
from hapacs_node.outbox import answers
from hapacs_node.outbox.answers import Ended
from hapacs_node.routing.destination import DicomDestination, WantedSyntax
from hapacs_node.routing.image import Message, Pair
from hapacs_node.routing.inquiry import TITLE
from hapacs_node.routing.peer import Access, Loaded, OneByOne, PeerError, UnansweredError
from hapacs_node.routing.transcode import TranscodingError, choices, transcoded
from hapacs_node.routing.wire import Association

MAXIMUM_CONTEXTS = 128
"""DICOM PS3.8 9.3.2: presentation context identifiers are the odd numbers up to 255."""
# Message identifiers are 16 bits (DICOM PS3.7 E.1).
_MESSAGES = 0xFFFF
# C-STORE's priorities (DICOM PS3.7 9.3.1): urgent is high, normal medium, bulk low.
_MEDIUM = 0
# Images that wait for their answers together are in memory together.
_TOGETHER_BYTES = 32 << 20


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
    _lost: str = ""

    def requests(self, tasks: Sequence[Task]) -> list[list[Task]]:
        """Divide tasks into those that may wait for their answers together."""
        groups: list[list[Task]] = []
        room = 0
        for task in tasks:
            if not groups or len(groups[-1]) >= self._association.window or task.size > room:
                groups.append([])
                room = _TOGETHER_BYTES
            groups[-1].append(task)
            room -= task.size
        return groups

    def send(self, images: Sequence[Loaded]) -> list[Ended]:
        """Send images, then wait for their answers, which come in any order.

        Raises
        ------
        UnansweredError
            When the association ends before any answer.
        PeerError
            When it ended during the call before this one.
        """
        if self._lost:
            raise PeerError(self._lost)
        if len(images) == 1:
            return super().send(images)
        ends: list[Ended] = []
        waiting: dict[int, Task] = {}
        untried = [task for task, _ in images]
        try:
            for task, message in images:
                untried.remove(task)
                fitting = self._fitting(task, message)
                if isinstance(fitting, Ended):
                    ends.append(fitting)
                else:
                    number = self._number()
                    waiting[number] = task
                    self._association.request(*fitting, number, _MEDIUM)
            while waiting:
                number, status, comment = self._association.answer(waiting)
                answered = waiting.pop(number)
                ends.append(answers.judge(answered.id, answered.attempts, status, comment))
        except UnansweredError as lost:
            if not ends:
                raise
            # What was answered counts. The worker hears of the end with its next images.
            self._lost = str(lost)
            ends += [answers.unanswered(task.id, task.attempts, self._lost) for task in waiting.values()]
            ends += [answers.untried(task.id) for task in untried]
        return ends

    def _attempt(self, task: Task, message: Message) -> Ended:
        fitting = self._fitting(task, message)
        if isinstance(fitting, Ended):
            return fitting
        status, comment = self._association.store(*fitting, self._number(), _MEDIUM)
        return answers.judge(task.id, task.attempts, status, comment)

    def _fitting(self, task: Task, message: Message) -> tuple[Message, int] | Ended:
        """Return an image in a transfer syntax that the peer accepts, and its presentation context."""
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
            return fitting, self._association.accepted[pair]
        return answers.not_accepted(task.id, task.sop_class, task.transfer_syntax, "; ".join(dict.fromkeys(reasons)))

    def _number(self) -> int:
        self._sent += 1
        return self._sent % _MESSAGES + 1


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
