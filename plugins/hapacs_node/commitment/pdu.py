"""PDUs of an association that is passed on (DICOM PS3.8 9.3), and the messages for storage commitment in them."""

import struct
from asyncio import IncompleteReadError, StreamReader
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.dimse_primitives import N_ACTION, N_EVENT_REPORT
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import P_DATA, SCP_SCU_RoleSelectionNegotiation
from pynetdicom.sop_class import (  # type: ignore[attr-defined] # made at import time
    StorageCommitmentPushModel,
    Verification,
)

from hapacs_node.errors import RefusedError

MODEL = str(StorageCommitmentPushModel)
ASSOCIATE_RQ, ASSOCIATE_AC, DATA, RELEASE_RQ = 0x01, 0x02, 0x04, 0x05
RELEASE_RP = bytes([0x06, 0, 0, 0, 0, 4, 0, 0, 0, 0])
# By the service provider, reason not specified (DICOM PS3.8 9.3.8).
ABORT = bytes([0x07, 0, 0, 0, 0, 4, 0, 0, 2, 0])
# Orthanc's longest PDU has 131,072 bytes, and the balancer's longest request for an association is shorter.
_LONGEST = 1 << 20
_HEAD = 6
# About 100,000 images.
_LONGEST_MESSAGE = 16 << 20
# For a caller that says no limit.
_NO_LIMIT_BYTES = 131072
_PDV_HEAD = 6


@dataclass(frozen=True)
class Pdu:
    """One PDU.

    Attributes
    ----------
    kind : int
        Its type.
    content : bytes
        All of it.
    """

    kind: int
    content: bytes


async def read(reader: StreamReader) -> Pdu | None:
    """Read the next PDU; None at the end of the connection.

    Raises
    ------
    RefusedError
        When it is longer than any that can come.
    """
    try:
        head = await reader.readexactly(_HEAD)
        (length,) = struct.unpack(">I", head[2:])
        if length > _LONGEST:
            raise RefusedError(f"a PDU of {length} bytes")
        return Pdu(head[0], head + await reader.readexactly(length))
    except IncompleteReadError:
        return None


@dataclass(frozen=True)
class Requested:
    """What a request for an association says.

    Attributes
    ----------
    calling, called : str
        AE titles.
    contexts : frozenset of int
        Presentation contexts for storage commitment.
    maximum : int
        Longest PDU that the caller takes, bytes.
    reports : bool
        Whether it is for reports alone: the caller proposes to be the SCP of storage commitment, and nothing else but
        a C-ECHO.
    """

    calling: str
    called: str
    contexts: frozenset[int]
    maximum: int
    reports: bool = False

    @classmethod
    def of(cls, pdu: Pdu) -> "Requested":
        """Read an A-ASSOCIATE-RQ.

        Raises
        ------
        RefusedError
            When it is none.
        """
        if pdu.kind != ASSOCIATE_RQ:
            raise RefusedError(f"a PDU of type {pdu.kind:02X} instead of an A-ASSOCIATE-RQ")
        asked = A_ASSOCIATE_RQ()
        try:
            asked.decode(pdu.content)
            contexts = [item for item in asked.presentation_context if str(item.abstract_syntax) == MODEL]
            others = {str(item.abstract_syntax) for item in asked.presentation_context} - {MODEL, str(Verification)}
            return cls(
                calling=asked.calling_ae_title.strip(),
                called=asked.called_ae_title.strip(),
                contexts=frozenset(int(item.context_id or 0) for item in contexts),
                maximum=(asked.user_information.maximum_length if asked.user_information else 0) or _NO_LIMIT_BYTES,
                reports=not others and _is_scp(asked),
            )
        except Exception as error:
            raise RefusedError(f"no A-ASSOCIATE-RQ: {type(error).__name__}") from error


def _is_scp(asked: A_ASSOCIATE_RQ) -> bool:
    """Return whether a caller proposes to be the SCP of storage commitment (DICOM PS3.7 D.3.3.4)."""
    return any(
        isinstance(item, SCP_SCU_RoleSelectionNegotiation) and item.sop_class_uid == MODEL and bool(item.scp_role)
        for item in asked.to_primitive().user_information
    )


def syntaxes(pdu: Pdu, contexts: frozenset[int]) -> dict[int, str]:
    """Return the accepted ones of some presentation contexts in an A-ASSOCIATE-AC, with their transfer syntax.

    Raises
    ------
    RefusedError
        When it is none.
    """
    answer = A_ASSOCIATE_AC()
    try:
        answer.decode(pdu.content)
        return {
            item.context_id: str(item.transfer_syntax)
            for item in answer.presentation_context
            if item.context_id in contexts and item.result == 0
        }
    except Exception as error:
        raise RefusedError(f"no A-ASSOCIATE-AC: {type(error).__name__}") from error


def values(pdu: Pdu) -> Iterator[tuple[int, bytes]]:
    """Return the presentation data values of a P-DATA-TF, each with its context (DICOM PS3.8 9.3.5).

    Raises
    ------
    RefusedError
        When their lengths do not fit.
    """
    place, end = _HEAD, len(pdu.content)
    while place < end:
        if end - place < _PDV_HEAD:
            raise RefusedError("a P-DATA-TF with a rest that is no value")
        length, context = struct.unpack_from(">IB", pdu.content, place)
        following = place + 4 + length
        if length < 2 or following > end:  # noqa: PLR2004 - context and control header
            raise RefusedError("a P-DATA-TF with a value of a wrong length")
        yield context, pdu.content[place + 5 : following]
        place = following


def data(content: Iterable[tuple[int, bytes]]) -> bytes:
    """Make a P-DATA-TF of values and their contexts."""
    body = b"".join(struct.pack(">IB", len(value) + 1, context) + value for context, value in content)
    return struct.pack(">BBI", DATA, 0, len(body)) + body


@dataclass
class Messages:
    """Collects the fragments of a caller's messages in the contexts for storage commitment."""

    _size: int = 0
    _message: DIMSEMessage = field(default_factory=DIMSEMessage)

    def take(self, context: int, value: bytes) -> N_ACTION | N_EVENT_REPORT | None:
        """Go on with one value; return the N-ACTION or N-EVENT-REPORT that it completes.

        Raises
        ------
        RefusedError
            When it is another message, none at all, or too long.
        """
        self._size += len(value)
        if self._size > _LONGEST_MESSAGE:
            raise RefusedError(f"a message of more than {_LONGEST_MESSAGE} bytes")
        primitive = P_DATA()
        primitive.presentation_data_value_list = [[context, value]]  # type: ignore[list-item] # a tuple is refused
        try:
            if not self._message.decode_msg(primitive):
                return None
            message = self._message.message_to_primitive()
        except Exception as error:
            raise RefusedError(f"no DIMSE message: {type(error).__name__}") from error
        self._message, self._size = DIMSEMessage(), 0
        if not isinstance(message, N_ACTION | N_EVENT_REPORT) or message.MessageID is None:
            raise RefusedError(f"a {type(message).__name__} where an N-ACTION or N-EVENT-REPORT is expected")
        return message
