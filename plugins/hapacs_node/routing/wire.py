"""An association that only stores: a socket, and PDUs as DICOM PS3.8 9.3 describes them.

pynetdicom hands each fragment of an image through queues between three threads, and polls: an image of 512 KB takes it
5 ms of processor time, and here 1. The thread that sends writes to the socket and waits for the answer itself.
pynetdicom encodes the negotiation, and decodes answers.
"""

import socket
import ssl
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO

from pydicom import Dataset
from pynetdicom.dsutils import decode
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_RELEASE_RP, A_RELEASE_RQ
from pynetdicom.pdu_primitives import AsynchronousOperationsWindowNegotiation

from hapacs_node.routing import pdus
from hapacs_node.routing.destination import DicomDestination
from hapacs_node.routing.image import Message, Pair
from hapacs_node.routing.peer import PeerError, UnansweredError

# PDU types (DICOM PS3.8 9.3.1).
_ACCEPTED, _REJECTED, _RELEASE, _RELEASED, _ABORTED = 0x02, 0x03, 0x05, 0x06, 0x07
_C_STORE_RSP = 0x8001
# A peer without a limit gets PDUs of this length, one with a senseless one at least those that carry a command set.
_UNLIMITED, _SHORTEST = 131072, 128
# An answer has a command set, and the negotiation at most 128 contexts.
_LONGEST_ANSWER = 1 << 20
_TOGETHER = 1 << 20


class _EndedError(Exception):
    """The peer ended the association, the connection was lost, or no answer came in time."""


@dataclass
class Association:
    """An open association.

    Attributes
    ----------
    accepted : dict
        Presentation context identifiers by pair.
    window : int
        How many C-STOREs may wait for their answers at the same time (DICOM PS3.7 D.3.3.3).
    """

    accepted: dict[Pair, int]
    _socket: socket.socket
    _timeout_s: float
    _maximum_pdu: int
    window: int = 1
    _came: bytearray = field(default_factory=bytearray)

    @classmethod
    def open(
        cls, destination: DicomDestination, calling: str, proposed: Sequence[Pair], tls: ssl.SSLContext | None
    ) -> "Association":
        """Connect, and negotiate one presentation context for each pair, at most 128.

        Raises
        ------
        PeerError
            When the destination refuses, or does not answer.
        """
        where = destination.where
        try:
            connection = socket.create_connection((destination.host, destination.port), destination.timeout_s)
        except OSError as error:
            raise PeerError(f"{where} gives no association: {error}") from error
        try:
            if tls is not None:
                connection = tls.wrap_socket(connection, server_hostname=destination.host)
            # Nagle's algorithm would hold the end of each image until the peer acknowledges what came before.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened = cls({}, connection, destination.timeout_s, _UNLIMITED)
            connection.sendall(pdus.association_request(destination, calling, proposed))
            opened._accept(*opened._pdu(), proposed, where)
            opened.window = min(opened.window, destination.operations)
        except (OSError, _EndedError) as error:
            connection.close()
            raise PeerError(f"{where} gives no association: {error}") from error
        except BaseException:
            connection.close()
            raise
        return opened

    def store(self, message: Message, context: int, number: int, priority: int) -> tuple[int, str]:
        """Send one image, and return status and comment of the answer.

        Parameters
        ----------
        message : Message
            The image.
        context : int
            Its presentation context.
        number : int
            Message ID, 1 to 65535.
        priority : int
            0 for medium, 1 for high, 2 for low (DICOM PS3.7 9.3.1.1).

        Raises
        ------
        UnansweredError
            When there is no answer. The association can't be used any more.
        """
        self.request(message, context, number, priority)
        _, status, comment = self.answer({number})
        return status, comment

    def request(self, message: Message, context: int, number: int, priority: int) -> None:
        """Send one image without waiting for its answer; not more than `window` at a time. For the rest see `store`.

        Raises
        ------
        UnansweredError
            When it could not be sent whole. The association can't be used any more.
        """
        command = memoryview(pdus.store_request(message, number, priority))
        try:
            self._send([(pdus.COMMAND, command), (0, message.dataset)], context)
        except OSError as error:
            self.abort()
            raise UnansweredError(f"no answer to a C-STORE: {error}") from error

    def answer(self, numbers: Collection[int]) -> tuple[int, int, str]:
        """Wait for the answer to any of some images, and return its Message ID, status and comment.

        Raises
        ------
        UnansweredError
            When none comes. The association can't be used any more.
        """
        try:
            answer = self._answer(numbers)
            return int(answer.MessageIDBeingRespondedTo), int(answer.Status), str(answer.get("ErrorComment") or "")
        except (OSError, _EndedError, pdus.MalformedError, AttributeError, TypeError, ValueError) as error:
            self.abort()
            raise UnansweredError(f"no answer to a C-STORE: {error}") from error

    def release(self) -> None:
        """End the association. The answers of all images have come, so a failure changes nothing."""
        with suppress(OSError, _EndedError):
            self._socket.sendall(A_RELEASE_RQ().encode())
            while self._pdu()[0] not in {_RELEASED, _ABORTED}:
                pass
        self._socket.close()

    def abort(self) -> None:
        """End the association at once (DICOM PS3.8 9.3.8, by the service user)."""
        pdu = A_ABORT_RQ()
        pdu.source, pdu.reason_diagnostic = 0, 0
        with suppress(OSError):
            self._socket.settimeout(1)
            self._socket.sendall(pdu.encode())
        self._socket.close()

    def _accept(self, kind: int, body: bytes, proposed: Sequence[Pair], where: str) -> None:
        encoded = pdus.HEAD.pack(kind, len(body)) + body
        if kind == _REJECTED:
            refusal = A_ASSOCIATE_RJ()
            refusal.decode(encoded)
            why = refusal.to_primitive()
            raise PeerError(f"{where} refuses an association: {why.result_str}, {why.reason_str}")
        if kind != _ACCEPTED:
            raise _EndedError(_ending(kind))
        answer = A_ASSOCIATE_AC()
        try:
            answer.decode(encoded)
            primitive = answer.to_primitive()
        except Exception as error:
            raise _EndedError(f"its answer can't be read: {type(error).__name__}") from error
        for item in primitive.user_information:
            if isinstance(item, AsynchronousOperationsWindowNegotiation):
                # 0 is as many as this side likes.
                self.window = item.maximum_number_operations_invoked or _UNLIMITED
        limit = primitive.maximum_length_received or _UNLIMITED
        self._maximum_pdu = max(min(limit, _UNLIMITED), _SHORTEST)
        results = primitive.presentation_context_definition_results_list
        if not results:
            # Otherwise all images would count as refused.
            raise _EndedError("its answer says of no presentation context whether it is accepted")
        for context in results:
            place = (context.context_id or 0) // 2
            if not context.result and place < len(proposed):
                self.accepted[proposed[place]] = int(context.context_id or 0)

    def _send(self, parts: Sequence[tuple[int, memoryview]], context: int) -> None:
        waiting: list[bytes | memoryview] = []
        size = 0
        for control, content in parts:
            for piece in pdus.pieces(control, content, context, self._maximum_pdu):
                waiting += piece
                size += len(piece[1])
                if size >= _TOGETHER:
                    # The limit of time holds for each call.
                    self._socket.settimeout(self._timeout_s)
                    self._socket.sendall(b"".join(waiting))
                    waiting, size = [], 0
        self._socket.settimeout(self._timeout_s)
        self._socket.sendall(b"".join(waiting))

    def _answer(self, numbers: Collection[int]) -> Dataset:
        """Wait for the answer to one of some C-STOREs, which has no data set."""
        command = bytearray()
        while True:
            kind, body = self._pdu()
            if kind != pdus.P_DATA:
                if kind == _RELEASE:
                    self._socket.sendall(A_RELEASE_RP().encode())
                raise _EndedError(_ending(kind))
            for control, fragment in pdus.values(body):
                if not control & pdus.COMMAND or len(command) > _LONGEST_ANSWER:
                    raise _EndedError("the destination answers with a data set")
                command += fragment
                if not control & pdus.LAST:
                    continue
                answer = decode(BytesIO(command), is_implicit_vr=True, is_little_endian=True)
                is_answer = answer.get("CommandField") == _C_STORE_RSP
                if not is_answer or answer.get("MessageIDBeingRespondedTo") not in numbers:
                    raise _EndedError("the destination answers what was not asked")
                return answer

    def _pdu(self) -> tuple[int, bytes]:
        """Read a PDU. All of it has to come within the limit of time."""
        end = time.monotonic() + self._timeout_s
        kind, length = pdus.HEAD.unpack(self._read(pdus.HEAD.size, end))
        if length > _LONGEST_ANSWER:
            raise _EndedError("its answer is too long")
        return kind, self._read(length, end)

    def _read(self, length: int, end: float) -> bytes:
        while len(self._came) < length:
            self._socket.settimeout(max(end - time.monotonic(), 0.001))
            # DCMTK sends an answer in two pieces, and the second one only after the acknowledgement of the first, which
            # the kernel would delay by 40 ms. The option has to be set again each time.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            try:
                more = self._socket.recv(1 << 16)
            except TimeoutError as error:
                raise _EndedError(f"none within {self._timeout_s:g} s") from error
            if not more:
                raise _EndedError("the connection was ended")
            self._came += more
        taken = bytes(self._came[:length])
        del self._came[:length]
        return taken


def _ending(kind: int) -> str:
    if kind in {_ABORTED, _RELEASE}:
        return f"the destination {'aborted' if kind == _ABORTED else 'released'} the association"
    return f"the destination sent a PDU of type 0x{kind:02X}"
