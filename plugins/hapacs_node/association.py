"""Associations that this side requests, protected against the traps of pynetdicom's own threads."""

import queue
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.events import Event, EventHandlerType
from pynetdicom.pdu import A_ASSOCIATE_RJ
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext


class _Answers(queue.Queue[tuple[int | None, object]]):
    """Messages of the peer, which only a waiting request takes.

    pynetdicom's own loop polls the queue for requests of the peer and drops anything else. It is paused while a request
    waits, but checks the pause before it polls: on a busy machine it took the answer, and the request waited for its
    time-out. A caller serves no requests outside of its own (C-GET's sub-operations arrive while it waits), so the poll
    finds nothing before `accept_requests`.
    """

    polled = False

    def get(self, block: bool = True, timeout: float | None = None) -> tuple[int | None, object]:
        """Return the next message, or raise `queue.Empty`: at once for a caller that does not wait."""
        if not block and not self.polled:
            raise queue.Empty
        return super().get(block, timeout)


def accept_requests(association: Association) -> None:
    """Let the peer send requests of its own, such as a report; from here on this side sends none."""
    if isinstance(answers := association.dimse.msg_queue, _Answers):
        answers.polled = True


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


def request(
    calling: str,
    called: str,
    host: str,
    port: int,
    contexts: Sequence[PresentationContext],
    *,
    timeout_s: float,
    maximum_pdu: int,
    tls: ssl.SSLContext | None = None,
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
    handlers: Sequence[EventHandlerType] = (),
) -> tuple[Association, str]:
    """Request an association, and wait for the answer.

    Parameters
    ----------
    calling, called : str
        AE titles.
    host, port
        The peer.
    contexts : sequence of PresentationContext
        What is proposed.
    timeout_s : float
        Limit for the connection, for the association, for each answer, and for each read and write.
    maximum_pdu : int
        Longest PDU that is received, bytes.
    tls : ssl.SSLContext or None
        Opens it with TLS.
    roles, handlers : sequence
        Role selections, and pynetdicom's event handlers.

    Returns
    -------
    Association
        Established, unless the peer refused or did not answer.
    str
        Why the peer refused (A-ASSOCIATE-RJ); empty when it did not.
    """
    entity = AE(ae_title=calling)
    entity.connection_timeout = timeout_s
    entity.acse_timeout = timeout_s
    entity.dimse_timeout = timeout_s
    entity.network_timeout = timeout_s
    refusals: list[A_ASSOCIATE_RJ] = []

    def note_refusal(event: Event) -> None:
        if isinstance(event.pdu, A_ASSOCIATE_RJ):
            refusals.append(event.pdu)

    association = entity.associate(
        host,
        port,
        contexts=list(contexts),
        ae_title=called,
        max_pdu=maximum_pdu,
        ext_neg=list(roles),
        tls_args=(tls, host) if tls else None,
        evt_handlers=[*handlers, (evt.EVT_PDU_RECV, note_refusal), (evt.EVT_CONN_OPEN, _limit_each_read)],
    )
    # Not `association.is_rejected`: when the refusal arrives and the connection ends before pynetdicom checks the
    # connection, it reports a peer that can't be reached.
    if refusals:
        answer = refusals[0].to_primitive()
        return association, f"{answer.result_str}, {answer.reason_str}"
    if association.is_established:
        association.dimse.msg_queue = _Answers()  # type: ignore[assignment]
        association.__class__ = _Association
    return association, ""


@contextmanager
def released(association: Association) -> Iterator[None]:
    """Release an association at the end; after an error, abort it."""
    try:
        yield
        association.release()
    finally:
        if not association.is_released:
            association.abort()
