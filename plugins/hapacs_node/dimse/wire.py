"""One association's connection: PDUs and DIMSE messages (DICOM PS3.7 6.3 and 9.3, PS3.8 9.3), without own threads.

pynetdicom's associations poll, with two threads each. Here a thread sleeps until its peer sends.
"""

import select
import socket
import ssl
import struct
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO

from pydicom import Dataset
from pynetdicom.dsutils import decode, encode
from pynetdicom.pdu import A_ABORT_RQ, A_RELEASE_RP, A_RELEASE_RQ

from hapacs_node.errors import NodeError

MAXIMUM_PDU = 131072
"""Longest P-DATA-TF that is received, bytes after its length."""
ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
"""Types of PDU (PS3.8 9.3.1)."""
NO_DATASET = 0x0101
"""Command Data Set Type of a message without a data set (PS3.7 E.1)."""
# As the balancer passes them on, with room for 128 presentation contexts of 40 transfer syntaxes.
_LONGEST_PDU = 1 << 20
# A command set is short; an identifier may list many thousand UIDs.
_LONGEST_COMMAND, _LONGEST_IDENTIFIER = 1 << 16, 8 << 20
# Message control header (PS3.8 E.2).
_COMMAND, _LAST = 0x01, 0x02
# A P-DATA-TF with one value: its type and length; then length, context and message control header of the value.
_VALUE = struct.Struct(">BxIIBB")
_VALUE_HEAD = struct.Struct(">IBB")
_VALUE_LENGTH = 4
_PDU_HEAD = struct.Struct(">BxI")
_GROUP_LENGTH = struct.Struct("<HHII")
# Source and reason of an A-ABORT (PS3.8 9.3.8): the service provider, invalid PDU parameter value.
_PROVIDER, _INVALID = 2, 6


class EndedError(NodeError):
    """The peer released or aborted the association, its connection ended, or it did not answer in time."""


class ProtocolError(EndedError):
    """The peer sent what has no meaning here."""


@dataclass(frozen=True)
class Message:
    """A DIMSE message.

    Attributes
    ----------
    context : int
        Presentation context identifier.
    command : Dataset
        The command set.
    dataset : bytes
        The encoded data set; empty when there is none.
    """

    context: int
    command: Dataset
    dataset: bytes = b""


@dataclass
class Connection:
    """A connection that sends and receives PDUs and messages. One thread uses it.

    Parameters
    ----------
    socket : socket.socket
        Connected, possibly with TLS. Its timeout is the limit for each wait.
    peer_maximum : int
        Longest P-DATA-TF that the peer takes; 0 for any.
    """

    socket: socket.socket
    peer_maximum: int = 0
    _fragments: "deque[tuple[int, int, memoryview]]" = field(default_factory=deque, init=False)

    def __post_init__(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def pdu(self) -> tuple[int, bytes]:
        """Receive one PDU: its type, and all its bytes.

        Raises
        ------
        EndedError
            When the connection ends or the peer sends nothing before the time-out.
        """
        head = self._exactly(_PDU_HEAD.size)
        kind, length = _PDU_HEAD.unpack(head)
        if length > _LONGEST_PDU:
            raise ProtocolError(f"a PDU of {length} bytes is too long")
        return kind, head + self._exactly(length)

    def write(self, content: bytes) -> None:
        """Send bytes."""
        try:
            self.socket.sendall(content)
        except OSError as error:
            raise EndedError(f"the connection was lost: {error}") from None

    def send(self, context: int, command: Dataset, dataset: bytes | memoryview = b"") -> None:
        """Send a message. The command's data set type is set here."""
        command.CommandDataSetType = 0x0001 if dataset else NO_DATASET
        encoded = encode(command, is_implicit_vr=True, is_little_endian=True) or b""
        whole = _GROUP_LENGTH.pack(0, 0, 4, len(encoded)) + encoded
        pieces = [*self._values(context, whole, _COMMAND)]
        if len(dataset) <= MAXIMUM_PDU:
            # One write: the peer gets command and data set together.
            self.write(b"".join([*pieces, *self._values(context, dataset, 0)]))
            return
        self.write(b"".join(pieces))
        for piece in self._values(context, dataset, 0):
            self.write(piece)

    def receive(self) -> Message | None:
        """Receive a message; None when the peer asked for the release, which is answered.

        Raises
        ------
        EndedError
            When there is none.
        """
        command, dataset = bytearray(), bytearray()
        decoded: Dataset | None = None
        while True:
            while not self._fragments:
                if not self._receive_values():
                    return None
            context, control, fragment = self._fragments.popleft()
            part, most = (command, _LONGEST_COMMAND) if control & _COMMAND else (dataset, _LONGEST_IDENTIFIER)
            part.extend(fragment)
            if len(part) > most:
                raise ProtocolError("the message is too long")
            if not control & _LAST:
                continue
            if control & _COMMAND:
                decoded = _decoded(bytes(command))
                if decoded.CommandDataSetType == NO_DATASET:
                    return Message(context, decoded)
            elif decoded is None:
                raise ProtocolError("a data set came without its command")
            else:
                return Message(context, decoded, bytes(dataset))

    def waits(self) -> bool:
        """Whether the peer has sent something that was not received yet."""
        if self._fragments or (isinstance(self.socket, ssl.SSLSocket) and self.socket.pending()):
            return True
        return bool(select.select([self.socket], [], [], 0)[0])

    def release(self) -> None:
        """Ask the peer for the release, wait for its answer, and close."""
        with suppress(EndedError):
            self.write(A_RELEASE_RQ().encode())
            while self.pdu()[0] not in {RELEASE_RP, ABORT}:
                continue
        self.close()

    def abort(self) -> None:
        """Abort the association, and close."""
        pdu = A_ABORT_RQ()
        pdu.source, pdu.reason_diagnostic = _PROVIDER, _INVALID
        with suppress(EndedError):
            self.write(pdu.encode())
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()

    def _values(self, context: int, content: bytes | memoryview, control: int) -> Iterator[bytes]:
        """Cut a command or data set into PDUs of one value each; the maximum counts what follows their length."""
        room = min(self.peer_maximum or MAXIMUM_PDU, MAXIMUM_PDU) - 6
        for start in range(0, len(content), room):
            piece = content[start : start + room]
            header = control | (_LAST if start + room >= len(content) else 0)
            yield _VALUE.pack(P_DATA, len(piece) + 6, len(piece) + 2, context, header) + piece

    def _receive_values(self) -> bool:
        kind, pdu = self.pdu()
        if kind == RELEASE_RQ:
            self.write(A_RELEASE_RP().encode())
            return False
        if kind != P_DATA:
            raise EndedError("the peer aborted the association") if kind == ABORT else ProtocolError(f"PDU type {kind}")
        rest = memoryview(pdu)[_PDU_HEAD.size :]
        while rest:
            length, context, control = _VALUE_HEAD.unpack_from(rest) if len(rest) >= _VALUE_HEAD.size else (0, 0, 0)
            # The length counts context and header too.
            end = _VALUE_LENGTH + length
            if not _VALUE_HEAD.size <= end <= len(rest):
                raise ProtocolError("a presentation data value has a wrong length")
            self._fragments.append((context, control, rest[_VALUE_HEAD.size : end]))
            rest = rest[end:]
        return True

    def _exactly(self, length: int) -> bytes:
        content = bytearray(length)
        view = memoryview(content)
        while view:
            try:
                read = self.socket.recv_into(view)
            except OSError as error:
                raise EndedError(f"nothing came: {error}") from None
            if not read:
                raise EndedError("the peer ended the connection")
            view = view[read:]
        return bytes(content)


def _decoded(command: bytes) -> Dataset:
    try:
        decoded = decode(BytesIO(command), is_implicit_vr=True, is_little_endian=True)
        # Elements are converted when they are read: what is wrong shows here.
        list(decoded)
        int(decoded.CommandField), int(decoded.CommandDataSetType)
    except Exception as error:  # noqa: BLE001 - pydicom raises anything for garbage
        raise ProtocolError(f"the command can't be decoded: {type(error).__name__}") from None
    return decoded
