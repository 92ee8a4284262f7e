"""Associations that this side requests, protected against three traps of pynetdicom.

`LIMIT_EACH_READ` belongs to the handlers of an association that is opened, `protect` is called once it is established.
"""

import queue

from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.events import Event


class _Answers(queue.Queue[tuple[int | None, object]]):
    """Messages of the peer, which only a waiting request takes.

    pynetdicom's own loop polls the queue for requests of the peer and drops anything else. It is paused while a request
    waits, but checks the pause before it polls: on a busy machine it took the answer, and the request waited for its
    time-out. A caller serves no requests outside of its own (C-GET's sub-operations arrive while it waits), so the poll
    finds nothing.
    """

    def get(self, block: bool = True, timeout: float | None = None) -> tuple[int | None, object]:
        """Return the next message, or raise `queue.Empty`: at once for a caller that does not wait."""
        if not block:
            raise queue.Empty
        return super().get(block, timeout)


class _Association(Association):
    """An association whose loop counts as paused once it has ended.

    Who sends first pauses pynetdicom's own loop, and waits without a limit until it says that it is paused. A loop that
    ends in that moment, because the connection failed, never says it.
    """

    @property
    def _is_paused(self) -> bool:
        return bool(self.__dict__["_is_paused"]) or not self.is_alive()

    @_is_paused.setter
    def _is_paused(self, paused: bool) -> None:
        self.__dict__["_is_paused"] = paused


def _limit_each_read(event: Event) -> None:
    """Give the connection a deadline for each read and write.

    pynetdicom takes its own away once it is connected. A peer that sends half a message and then nothing would hold the
    thread that reads, and with it the abort that follows the time-out, for as long as the connection stays open.
    """
    connection = event.assoc.dul.socket
    if connection is not None and connection.socket is not None:
        connection.socket.settimeout(event.assoc.network_timeout)


LIMIT_EACH_READ = (evt.EVT_CONN_OPEN, _limit_each_read)


def protect(association: Association) -> None:
    """Let no other thread take the answers of an established association, and let no ended one hold its sender."""
    association.dimse.msg_queue = _Answers()  # type: ignore[assignment]
    association.__class__ = _Association
