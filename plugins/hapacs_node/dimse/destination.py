"""The destination of a C-MOVE: associations that are opened as its images need them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from hapacs_node.catalog.selection import Selected
from hapacs_node.dimse import accept, contexts
from hapacs_node.dimse.accept import Caller
from hapacs_node.dimse.contexts import Context
from hapacs_node.dimse.transfer import Image, LostError, Originator, store_request
from hapacs_node.dimse.wire import Connection, EndedError, Message, ProtocolError

_STORE_RSP = 0x8001
# Presentation contexts of an association (PS3.8 9.3.2).
_MOST_CONTEXTS = 128
# How often a destination ends the association at images of a class before no more of that class are sent, and how often
# in a row it gives none before it is down.
_ENDED_BY_A_CLASS, _REFUSED_IN_A_ROW = 3, 2


@dataclass
class Destination:
    """Sends images to one system by C-STORE.

    Parameters
    ----------
    where : Caller
        The destination.
    title : str
        Our AE title.
    originator : Originator
        Who asked.
    priority : int
        Of the C-MOVE.
    timeout_s : float
        Limit for each wait.
    pairs : sequence
        SOP classes and transfer syntaxes of all images.
    """

    where: Caller
    title: str
    originator: Originator
    priority: int
    timeout_s: float
    pairs: Sequence[tuple[str, str]]
    _connection: Connection | None = field(default=None, init=False)
    _proposed: frozenset[str] = field(default=frozenset(), init=False)
    _open: list[Context] = field(default_factory=list, init=False)
    _number: int = field(default=0, init=False)
    _refused: int = field(default=0, init=False)
    _ended: Counter[str] = field(default_factory=Counter, init=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def open(self) -> None:
        """Open the first association.

        Raises
        ------
        LostError
            When the destination is down, or refuses it.
        """
        self._begin(self.pairs[0][0])

    def contexts(self, instance: Selected) -> Sequence[Context]:
        """Return the open presentation contexts; with more classes than fit, another association is opened."""
        if self._ended[instance.sop_class] >= _ENDED_BY_A_CLASS:
            return []
        if self._connection is None or instance.sop_class not in self._proposed:
            self._end()
            self._begin(instance.sop_class)
        return self._open

    def store(self, sent: Image) -> int:
        """Send an image, and return the status of the answer."""
        connection = self._connection
        if connection is None:
            raise LostError("there is no association", final=True)
        self._number += 1
        try:
            request = store_request(sent, self._number, self.priority, self.originator)
            connection.send(sent.context.number, request, sent.dataset)
            status = answered(connection.receive(), int(request.MessageID))
        except EndedError as error:
            connection.abort()
            self._connection = None
            self._ended[sent.context.abstract] += 1
            raise LostError(f"{self.where.title}: {error}", final=False) from None
        self._ended[sent.context.abstract] = 0
        return status

    def _begin(self, first: str) -> None:
        """Open an association for as many classes as fit, the given one among them."""
        chosen: list[tuple[str, str]] = []
        classes = list(dict.fromkeys(sop_class for sop_class, _ in self.pairs))
        here = classes.index(first)
        proposed: set[str] = set()
        for sop_class in classes[here:] + classes[:here]:
            more = contexts.proposals(pair for pair in self.pairs if pair[0] == sop_class)
            if len(chosen) + len(more) > _MOST_CONTEXTS and proposed:
                continue
            chosen += more[: _MOST_CONTEXTS - len(chosen)]
            proposed.add(sop_class)
        peer = self.where
        try:
            self._connection, self._open = accept.request(
                self.title, peer.title, (peer.host, peer.port), chosen, self.timeout_s
            )
        except EndedError as error:
            self._refused += 1
            raise LostError(f"{peer.title}: {error}", final=self._refused >= _REFUSED_IN_A_ROW) from None
        self._refused = 0
        self._proposed = frozenset(proposed)
        self._number = 0

    def _end(self) -> None:
        if self._connection is not None:
            self._connection.release()
            self._connection = None


def answered(message: Message | None, number: int) -> int:
    """Return the status of an answer to a C-STORE.

    Raises
    ------
    EndedError
        When it is none.
    """
    if message is None:
        raise EndedError("the peer released the association")
    command = message.command
    if command.CommandField != _STORE_RSP or command.get("MessageIDBeingRespondedTo") != number:
        raise ProtocolError("the peer sent something else than the answer to a C-STORE")
    status = command.get("Status")
    if not isinstance(status, int):
        raise ProtocolError("the answer to a C-STORE has no status")
    return status
