"""Sends images by C-STORE: one association for many, each image as it is stored, byte for byte."""

import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from itertools import islice

from pydicom import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import _config, build_context
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (  # type: ignore[attr-defined] # made at import time
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from hapacs_node.association import released, request
from hapacs_node.catalog.tasks import Task
from hapacs_node.outbox import answers
from hapacs_node.outbox.answers import Ended
from hapacs_node.routing.destination import DicomDestination
from hapacs_node.routing.image import Message, Pair
from hapacs_node.routing.peer import Access, OneByOne, PeerError, UnansweredError

# Its log of each message takes time and can contain patients' names.
_config.LOG_HANDLER_LEVEL = "none"

MAXIMUM_CONTEXTS = 128
"""DICOM PS3.8 9.3.2: presentation context identifiers are the odd numbers up to 255."""
_TITLE = "HAPACS"
# Message identifiers are 16 bits (DICOM PS3.7 E.1).
_MESSAGES = 0xFFFF
# C-STORE's priorities (DICOM PS3.7 9.3.1): urgent is high, normal medium, bulk low.
_MEDIUM = 0

VERIFICATION = (str(Verification), str(ImplicitVRLittleEndian))
"""The presentation context of a C-ECHO."""
FIND = (str(StudyRootQueryRetrieveInformationModelFind), str(ImplicitVRLittleEndian))
"""The presentation context of a C-FIND."""


@dataclass
class DicomSession(OneByOne):
    """An open association.

    Attributes
    ----------
    proposed : frozenset
        The pairs that it was opened for.
    accepted : dict
        Presentation context identifiers by pair.
    proven : bool
        A peer that gives an association works.
    """

    proposed: frozenset[Pair]
    accepted: dict[Pair, int]
    _association: Association
    proven: bool = True
    _sent: int = 0

    def _attempt(self, task: Task, message: Message) -> Ended:
        if pair(task) not in self.proposed:
            # An association has no more than 128 presentation contexts. The next one has this pair.
            return answers.untried(task.id)
        if pair(task) not in self.accepted:
            return answers.not_accepted(task.id, task.sop_class, task.transfer_syntax)
        return answers.judge(task.id, task.attempts, *self.store(message, _MEDIUM))

    def store(self, message: Message, priority: int) -> tuple[int, str]:
        """Send one image, and return status and comment of the answer.

        Raises
        ------
        UnansweredError
            When there is no answer.
        """
        self._sent += 1
        request = C_STORE()
        request.MessageID = self._sent % _MESSAGES + 1
        request.AffectedSOPClassUID = message.sop_class
        request.AffectedSOPInstanceUID = message.sop
        request.Priority = priority
        request.DataSet = BytesIO(message.dataset)
        if not self._association.is_established:
            raise UnansweredError("the destination ended the association")
        self._association.dimse.send_msg(request, self.accepted[str(message.sop_class), str(message.transfer_syntax)])
        _, answer = self._association.dimse.get_msg(block=True)
        if not isinstance(answer, C_STORE) or answer.Status is None:
            raise UnansweredError("no answer to a C-STORE before the time limit, or the connection was lost")
        return int(answer.Status), str(answer.ErrorComment or "")

    def find(self, identifier: Dataset) -> Iterator[tuple[int | None, Dataset | None]]:
        """Send a C-FIND in the study root model, and yield status and identifier of each answer.

        Raises
        ------
        UnansweredError
            When the association has ended.
        """
        if not self._association.is_established:
            raise UnansweredError("the destination ended the association")
        for status, found in self._association.send_c_find(identifier, FIND[0]):
            yield status.get("Status"), found

    def echo(self) -> int:
        """Send a C-ECHO, and return the status of the answer.

        Raises
        ------
        PeerError
            When there is none.
        """
        status = self._association.send_c_echo().get("Status")
        if status is None:
            raise PeerError("no answer to a C-ECHO before the time limit, or the connection was lost")
        return int(status)


@contextmanager
def associate(destination: DicomDestination, pairs: Iterable[Pair], access: Access) -> Iterator[DicomSession]:
    """Open an association for some pairs of SOP class and transfer syntax, and release it at the end.

    It has the first 128 pairs.

    With one transfer syntax in each context the peer can't choose another one, so the stored bytes fit.

    Raises
    ------
    PeerError
        When the destination refuses, or does not answer.
    """
    proposed = list(islice(dict.fromkeys(pairs), MAXIMUM_CONTEXTS))
    contexts: list[PresentationContext] = [build_context(sop_class, [syntax]) for sop_class, syntax in proposed]
    where = destination.where
    tls = access.context(destination.authority, where, names=False) if destination.tls else None
    try:
        association, refusal = request(
            destination.calling_ae or _TITLE,
            destination.ae_title,
            destination.host,
            destination.port,
            contexts,
            timeout_s=destination.timeout_s,
            maximum_pdu=destination.maximum_pdu,
            tls=tls,
        )
    except OSError as error:
        raise PeerError(f"{where}: {error}") from error
    if refusal:
        raise PeerError(f"{where} refuses an association: {refusal}")
    if association.rejected_contexts and not association.accepted_contexts:
        # pynetdicom ends an association without a usable presentation context. The destination works.
        yield DicomSession(frozenset(proposed), {}, association)
        return
    if not association.is_established:
        raise PeerError(f"{where} gives no association: no answer, or the connection was ended")
    _send_at_once(association)
    accepted = {
        (str(context.abstract_syntax), str(context.transfer_syntax[0])): int(context.context_id or 0)
        for context in association.accepted_contexts
    }
    with released(association):
        yield DicomSession(frozenset(proposed), accepted, association)


def _send_at_once(association: Association) -> None:
    """Switch Nagle's algorithm off: the data set would wait 40 ms for the acknowledgement of its command."""
    transport = association.dul.socket
    if transport is not None and transport.socket is not None:
        transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def pair(task: Task) -> Pair:
    """Return the presentation context that a task needs."""
    return task.sop_class, task.transfer_syntax
