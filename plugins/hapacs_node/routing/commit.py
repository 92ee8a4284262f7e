"""Asks a destination for storage commitment (DICOM PS3.4 J.3.2), and takes a report on the same association."""

import threading
from collections.abc import Callable, Sequence

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context, evt
from pynetdicom.dimse_messages import N_EVENT_REPORT_RSP
from pynetdicom.events import EventHandlerType
from pynetdicom.sop_class import (  # type: ignore[attr-defined] # made at import time
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from hapacs_node.association import accept_requests, released
from hapacs_node.catalog.outbound_commitment import Report
from hapacs_node.catalog.tasks import Task
from hapacs_node.errors import NodeError
from hapacs_node.routing.destination import DicomDestination
from hapacs_node.routing.inquiry import requested
from hapacs_node.routing.peer import Access

PUSH_MODEL = (str(StorageCommitmentPushModel), str(ImplicitVRLittleEndian))
"""The presentation context of a request."""
_REQUEST = 1
_LONGEST_UID = 64
# Most peers report on an association of their own, some on that of the request, and then at once. Associations are few.
_REPORT_WAIT_S = 1.0
# Statuses of an N-EVENT-REPORT (DICOM PS3.7 10.1.1.1.8).
SUCCESS, PROCESSING_FAILURE, INVALID_ARGUMENT = 0x0000, 0x0110, 0x0115


class CommitmentError(NodeError):
    """A destination that may take images takes no request for storage commitment."""


def read(information: Dataset) -> Report:
    """Read the event information of a report (DICOM PS3.4 table J.3-3).

    Raises
    ------
    ValueError
        When it is none.
    """
    kept, failed = (information.get(name) or () for name in ("ReferencedSOPSequence", "FailedSOPSequence"))
    try:
        return Report(
            _uid(information.TransactionUID),
            frozenset(_uid(item.ReferencedSOPInstanceUID) for item in kept),
            {_uid(item.ReferencedSOPInstanceUID): int(item.FailureReason) for item in failed},
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"no report of storage commitment: {type(error).__name__}") from None


def _uid(value: object) -> str:
    text = str(value).strip("\0 ")
    if not text or len(text) > _LONGEST_UID or set(text) - set("0123456789."):
        raise ValueError("no UID")
    return text


def ask(
    destination: DicomDestination,
    tasks: Sequence[Task],
    transaction: str,
    access: Access,
    take: Callable[[Report], int],
    *,
    wait_s: float = _REPORT_WAIT_S,
) -> None:
    """Ask a destination to commit itself to keep images.

    Parameters
    ----------
    destination : DicomDestination
        The peer.
    tasks : sequence of Task
        The images.
    transaction : str
        Transaction UID of the request.
    access : Access
        What the peer wants to see of this node.
    take : callable
        Takes a report that comes on this association, and returns the status of its answer.
    wait_s : float
        How long the association stays open for it.

    Raises
    ------
    CommitmentError
        When it takes no such request, or does not answer it with success.
    PeerError
        When it can't be reached.
    """
    came = threading.Event()

    def reported(event: evt.Event) -> tuple[int, None]:
        try:
            status = take(read(event.event_information))
        except ValueError:
            status = INVALID_ARGUMENT
        return status, None

    def sent(event: evt.Event) -> None:
        if isinstance(event.message, N_EVENT_REPORT_RSP):
            came.set()

    contexts = [build_context(StorageCommitmentPushModel, [ImplicitVRLittleEndian, ExplicitVRLittleEndian])]
    handlers: list[EventHandlerType] = [(evt.EVT_N_EVENT_REPORT, reported), (evt.EVT_DIMSE_SENT, sent)]
    association = requested(destination, contexts, access, handlers)
    if not association.accepted_contexts:
        raise CommitmentError(f"{destination.where} takes no storage commitment; choose another confirm")
    with released(association):
        answer, _ = association.send_n_action(
            _wanted(transaction, tasks), _REQUEST, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        if (status := answer.get("Status")) is None:
            raise CommitmentError("no answer to the request for storage commitment")
        if status != SUCCESS:
            raise CommitmentError(f"the request for storage commitment is answered with status 0x{status:04X}")
        accept_requests(association)
        came.wait(wait_s)


def _wanted(transaction: str, tasks: Sequence[Task]) -> Dataset:
    wanted, items = Dataset(), []
    for task in tasks:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = task.sop_class, task.sop
        items.append(item)
    wanted.TransactionUID, wanted.ReferencedSOPSequence = transaction, items
    return wanted
