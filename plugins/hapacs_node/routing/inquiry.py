"""Asks a DICOM peer: C-ECHO and C-FIND, in an association of pynetdicom."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pydicom import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import _config, build_context
from pynetdicom.association import Association
from pynetdicom.events import EventHandlerType
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (  # type: ignore[attr-defined] # made at import time
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from hapacs_node.association import released, request
from hapacs_node.routing.destination import DicomDestination
from hapacs_node.routing.image import Pair
from hapacs_node.routing.peer import Access, PeerError, UnansweredError

# Its log of each message takes time and can contain patients' names.
_config.LOG_HANDLER_LEVEL = "none"

TITLE = "HAPACS"
"""The calling title of a destination that has none."""
VERIFICATION = (str(Verification), str(ImplicitVRLittleEndian))
"""The presentation context of a C-ECHO."""
FIND = (str(StudyRootQueryRetrieveInformationModelFind), str(ImplicitVRLittleEndian))
"""The presentation context of a C-FIND."""


@dataclass
class Inquiry:
    """An open association.

    Attributes
    ----------
    accepted : frozenset
        The pairs of SOP class and transfer syntax that the peer accepts.
    """

    accepted: frozenset[Pair]
    _association: Association

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


def requested(
    destination: DicomDestination,
    contexts: Sequence[PresentationContext],
    access: Access,
    handlers: Sequence[EventHandlerType] = (),
) -> Association:
    """Request an association. One that has ended is returned when the destination accepts no presentation context.

    Raises
    ------
    PeerError
        When the destination refuses, or does not answer.
    """
    where = destination.where
    tls = access.context(destination.authority, where, names=False) if destination.tls else None
    try:
        association, refusal = request(
            destination.calling_ae or TITLE,
            destination.ae_title,
            destination.host,
            destination.port,
            contexts,
            timeout_s=destination.timeout_s,
            maximum_pdu=destination.maximum_pdu,
            tls=tls,
            handlers=handlers,
        )
    except OSError as error:
        raise PeerError(f"{where}: {error}") from error
    if refusal:
        raise PeerError(f"{where} refuses an association: {refusal}")
    if association.rejected_contexts and not association.accepted_contexts:
        # pynetdicom ends an association without a usable presentation context. The destination works.
        return association
    if not association.is_established:
        raise PeerError(f"{where} gives no association: no answer, or the connection was ended")
    return association


@contextmanager
def inquire(destination: DicomDestination, pairs: Iterable[Pair], access: Access) -> Iterator[Inquiry]:
    """Open an association for some pairs of SOP class and transfer syntax, and release it at the end.

    Raises
    ------
    PeerError
        When the destination refuses, or does not answer.
    """
    contexts = [build_context(sop_class, [syntax]) for sop_class, syntax in dict.fromkeys(pairs)]
    association = requested(destination, contexts, access)
    if not association.accepted_contexts:
        yield Inquiry(frozenset(), association)
        return
    accepted = ((str(one.abstract_syntax), str(one.transfer_syntax[0])) for one in association.accepted_contexts)
    with released(association):
        yield Inquiry(frozenset(accepted), association)
