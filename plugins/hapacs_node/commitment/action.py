"""The N-ACTION that asks for storage commitment (DICOM PS3.4 J.3.2), and its answer."""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

from pydicom import Dataset
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian
from pynetdicom.dimse_messages import N_ACTION_RSP
from pynetdicom.dimse_primitives import N_ACTION
from pynetdicom.dsutils import decode
from pynetdicom.sop_class import StorageCommitmentPushModelInstance

from hapacs_node.catalog.commitment import Referenced
from hapacs_node.commitment import pdu

INSTANCE = str(StorageCommitmentPushModelInstance)
SUCCESS = 0x0000
# Statuses of an N-ACTION (DICOM PS3.7 10.1.4.1.10 and annex C).
PROCESSING_FAILURE = 0x0110
NO_SUCH_INSTANCE, INVALID_ARGUMENT, NO_SUCH_CLASS, NO_SUCH_ACTION = 0x0112, 0x0115, 0x0118, 0x0123
_REQUEST = 1
_LONGEST_UID = 64
_LONGEST_COMMENT = 64


@dataclass(frozen=True)
class Refusal(Exception):  # noqa: N818 - it is an answer
    """Status and comment of an answer that refuses."""

    status: int
    comment: str


@dataclass(frozen=True)
class Wanted:
    """What a caller asks for: a commitment for images, under its Transaction UID."""

    transaction: str
    images: tuple[Referenced, ...]


def wanted(action: N_ACTION, syntax: str) -> Wanted:
    """Read a request.

    Parameters
    ----------
    action : N_ACTION
        As it came.
    syntax : str
        Transfer syntax of its presentation context.

    Raises
    ------
    Refusal
        When it is no request for storage commitment.
    """
    if str(action.RequestedSOPClassUID or "") != pdu.MODEL:
        raise Refusal(NO_SUCH_CLASS, "only the push model is known")
    if str(action.RequestedSOPInstanceUID or "") != INSTANCE:
        raise Refusal(NO_SUCH_INSTANCE, "not the well-known instance")
    if action.ActionTypeID != _REQUEST:
        raise Refusal(NO_SUCH_ACTION, "the action type is not 1")
    try:
        implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
        asked = decode(action.ActionInformation or BytesIO(), implicit, little)
        images = tuple(
            Referenced(_uid(item, "ReferencedSOPClassUID"), _uid(item, "ReferencedSOPInstanceUID"))
            for item in asked.ReferencedSOPSequence
        )
        transaction = _uid(asked, "TransactionUID")
    except Refusal:
        raise
    except Exception as error:
        raise Refusal(INVALID_ARGUMENT, "the request can't be read") from error
    if not images:
        raise Refusal(INVALID_ARGUMENT, "the request names no image")
    return Wanted(transaction, images)


def _uid(item: Dataset, keyword: str) -> str:
    value = str(item.get(keyword, "")).strip("\0 ")
    if not value or len(value) > _LONGEST_UID or set(value) - set("0123456789."):
        raise Refusal(INVALID_ARGUMENT, f"{keyword} is no UID")
    return value


def answer(action: N_ACTION, context: int, maximum: int, status: int, comment: str = "") -> Iterator[bytes]:
    """Return the PDUs of an answer.

    Parameters
    ----------
    action : N_ACTION
        The request.
    context : int
        Its presentation context.
    maximum : int
        Longest PDU that the caller takes, bytes.
    status, comment
        Of the answer; the comment goes with a failure.
    """
    reply = N_ACTION()
    reply.MessageIDBeingRespondedTo = action.MessageID
    reply.AffectedSOPClassUID = action.RequestedSOPClassUID
    reply.AffectedSOPInstanceUID = action.RequestedSOPInstanceUID
    reply.ActionTypeID = action.ActionTypeID
    reply.Status = status
    if comment:
        reply.ErrorComment = comment[:_LONGEST_COMMENT]  # type: ignore[assignment] # declared as None
    message = N_ACTION_RSP()
    message.primitive_to_message(reply)
    for part in message.encode_msg(context, maximum):
        yield pdu.data((number, value) for number, value in part.presentation_data_value_list)
