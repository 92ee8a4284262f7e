"""An association that was accepted, as the services see it: requests, their identifiers, and the responses."""

from dataclasses import dataclass
from io import BytesIO

from pydicom import Dataset
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian
from pynetdicom.dsutils import decode, encode

from hapacs_node.dimse.accept import Accepted
from hapacs_node.dimse.contexts import Context
from hapacs_node.dimse.transfer import Tally
from hapacs_node.dimse.wire import Connection, EndedError, Message, ProtocolError
from hapacs_node.errors import RefusedError

SUCCESS, PENDING, PENDING_WITH_WARNING, CANCEL = 0x0000, 0xFF00, 0xFF01, 0xFE00
SOME_FAILED = 0xB000
NO_MATCHES_COUNTED, NOT_PERFORMED, UNKNOWN_DESTINATION = 0xA701, 0xA702, 0xA801
OUT_OF_RESOURCES, BAD_IDENTIFIER, UNABLE = 0xA700, 0xA900, 0xC001
"""Statuses of C-FIND, C-MOVE and C-GET (PS3.4 tables C.4-1 to C.4-3)."""
CANCEL_RQ = 0x0FFF
# The bit by which a response differs from its request (PS3.7 E.1).
_RESPONSE = 0x8000
# Numbers of sub-operations are 16 bits, and a comment is an LO.
_MOST, _COMMENT = 0xFFFF, 64


@dataclass
class Association:
    """An accepted association.

    Attributes
    ----------
    connection : Connection
        Its connection.
    accepted : Accepted
        Its caller and presentation contexts.
    """

    connection: Connection
    accepted: Accepted

    def context(self, message: Message) -> Context:
        """Return the presentation context of a message."""
        context = self.accepted.contexts.get(message.context)
        if context is None:
            raise ProtocolError(f"presentation context {message.context} was not accepted")
        return context

    def respond(
        self,
        request: Message,
        status: int,
        *,
        tally: Tally | None = None,
        identifier: Dataset | None = None,
        comment: str = "",
    ) -> None:
        """Send a response.

        Parameters
        ----------
        request : Message
            What is answered.
        status : int
            Its status.
        tally : Tally or None
            The sub-operations so far.
        identifier : Dataset or None
            An answer, or what failed.
        comment : str
            For the person who reads the caller's log; never a patient's data.
        """
        command = Dataset()
        command.AffectedSOPClassUID = request.command.get("AffectedSOPClassUID")
        command.CommandField = request.command.CommandField | _RESPONSE
        command.MessageIDBeingRespondedTo = request.command.MessageID
        command.Status = status
        if comment:
            command.ErrorComment = comment.encode("ascii", "replace").decode().replace("\\", "/")[:_COMMENT]
        if tally is not None:
            # The last response has no remaining ones, unless it is that of a C-CANCEL (PS3.7 9.3.4.2).
            if status in {PENDING, CANCEL}:
                command.NumberOfRemainingSuboperations = min(tally.remaining, _MOST)
            command.NumberOfCompletedSuboperations = min(tally.completed, _MOST)
            command.NumberOfFailedSuboperations = min(len(tally.failed), _MOST)
            command.NumberOfWarningSuboperations = min(tally.warned, _MOST)
        encoded = b"" if identifier is None else _encode(identifier, self.context(request).syntax)
        self.connection.send(request.context, command, encoded)

    def is_cancelled(self, request: Message) -> bool:
        """Whether the caller has cancelled a request by now (C-CANCEL).

        Raises
        ------
        EndedError
            When it ended the association instead.
        """
        return self.connection.waits() and is_cancel(self.connection.receive(), request)


def is_cancel(message: Message | None, request: Message) -> bool:
    """Whether a message cancels a request; no other one may come now (PS3.7 9.3.2.3)."""
    if message is None:
        raise EndedError("the caller released the association")
    if message.command.CommandField != CANCEL_RQ:
        raise ProtocolError("another request came before the response to the one before")
    return bool(message.command.get("MessageIDBeingRespondedTo") == request.command.MessageID)


def identifier(message: Message, context: Context) -> Dataset:
    """Decode the identifier of a request.

    Raises
    ------
    RefusedError
        When it can't be decoded, or there is none.
    """
    if not message.dataset:
        raise RefusedError("the request has no identifier")
    implicit, little = _encoding(context.syntax)
    try:
        decoded = decode(BytesIO(message.dataset), is_implicit_vr=implicit, is_little_endian=little)
        # Elements are converted when they are read: what is wrong shows here.
        list(decoded.iterall())
    except Exception as error:  # noqa: BLE001 - pydicom raises anything for garbage
        raise RefusedError(f"the identifier can't be decoded: {type(error).__name__}") from None
    return decoded


def _encode(dataset: Dataset, syntax: str) -> bytes:
    implicit, little = _encoding(syntax)
    encoded = encode(dataset, is_implicit_vr=implicit, is_little_endian=little)
    if encoded is None:
        raise RefusedError("an answer can't be encoded")
    return encoded


def _encoding(syntax: str) -> tuple[bool, bool]:
    return syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
