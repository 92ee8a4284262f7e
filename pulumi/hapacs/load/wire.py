"""DICOM associations that need little processor time: requests are encoded beforehand, and answers are not decoded.

A load sender that shares a machine with the measured site must not affect the result. pynetdicom encodes and decodes
the few small PDUs; pixels are passed on as bytes.
"""

from __future__ import annotations

import io
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Self

from pydicom import Dataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import build_context, build_role
from pynetdicom.dimse_messages import C_FIND_RQ, C_GET_RQ, C_STORE_RQ, C_STORE_RSP, DIMSEMessage
from pynetdicom.dimse_primitives import C_FIND, C_GET, C_STORE
from pynetdicom.dsutils import decode, encode
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ, A_RELEASE_RQ, P_DATA_TF
from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationClassUIDNotification, MaximumLengthNotification
from pynetdicom.sop_class import (  # type: ignore[attr-defined] # made at import time
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
)

from hapacs.dicom.client import PENDING, SUCCESS, Caller, DicomError, Peer

# PDU types (DICOM PS3.8 9.3.1) and command fields (PS3.7 E.1).
_ACCEPTED, _P_DATA, _RELEASED = 0x02, 0x04, 0x06
_STORE_REQUEST, _NO_DATASET = 0x0001, 0x0101
_MAXIMUM_PDU = 131072
# Message control header of a presentation data value (PS3.8 E.2).
_COMMAND, _LAST = 0x01, 0x02
# A P-DATA-TF with one value: type, length; length of the value, context, message control header (PS3.8 9.3.5).
_HEADER = struct.Struct(">BxIIBB")
_CONTROL = _HEADER.size - 1
Service = Literal["store", "find", "get"]
Kind = tuple[UID, UID]
"""A SOP class and the one transfer syntax that is proposed for it."""
CT: Kind = (CTImageStorage, ExplicitVRLittleEndian)
_QUERIES: dict[Service, Kind] = {
    "find": (StudyRootQueryRetrieveInformationModelFind, ImplicitVRLittleEndian),
    "get": (StudyRootQueryRetrieveInformationModelGet, ImplicitVRLittleEndian),
}


@dataclass(frozen=True)
class Message:
    """A DIMSE message as it was received.

    Attributes
    ----------
    command
        The command set (DICOM PS3.7 6.3.1).
    dataset
        The encoded data set; empty when there is none.
    """

    command: Dataset
    dataset: bytes

    @property
    def status(self) -> int:
        """The DIMSE status of a response."""
        return int(self.command.Status)


@dataclass
class Association:
    """An association to store images, or for C-FIND or C-GET in the study root model.

    Parameters
    ----------
    caller, peer
        The two sides; the peer's time-out applies to each wait.
    service
        The service that is negotiated.
    kinds
        What is stored, or returned by C-GET; at most 127 (PS3.8 9.3.2).

    Attributes
    ----------
    accepted
        The identifiers of the presentation contexts that the peer accepts.

    Raises
    ------
    DicomError
        On entry, when the peer refuses the association, the service or all kinds.
    """

    caller: Caller
    peer: Peer
    service: Service
    kinds: Sequence[Kind] = (CT,)
    accepted: dict[Kind, int] = field(init=False, default_factory=dict)
    maximum_pdu: int = field(init=False, default=_MAXIMUM_PDU)
    _socket: socket.socket = field(init=False)
    _came: io.BufferedReader = field(init=False)

    def __enter__(self) -> Self:
        self._socket = socket.create_connection((self.peer.host, self.peer.port), timeout=self.peer.timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._came = io.BufferedReader(socket.SocketIO(self._socket, "r"), 1 << 18)
        try:
            self._socket.sendall(self._request())
            self._accept(*self._pdu())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self._socket.sendall(A_RELEASE_RQ().encode())
                if self._pdu()[0] != _RELEASED:
                    raise DicomError(f"{self._where} doesn't release the association.")
        finally:
            self.close()

    def close(self) -> None:
        """Close the connection."""
        self._came.close()
        self._socket.close()

    def store_request(self, sop_instance: str, dataset: bytes, kind: Kind = CT) -> bytes:
        """Encode a C-STORE for `send`; its kind must be accepted."""
        primitive = C_STORE()
        primitive.MessageID, primitive.Priority = 1, 2
        primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = kind[0], UID(sop_instance)
        # Only says that a data set follows: pynetdicom needs milliseconds to cut one up.
        primitive.DataSet = io.BytesIO(b"\0")
        context = self.accepted[kind]
        command = self._encoded(C_STORE_RQ(), primitive, context, only=_COMMAND)
        return command + b"".join(_pdus(dataset, context, self.maximum_pdu))

    def find_request(self, identifier: Dataset) -> bytes:
        """Encode a C-FIND for `send`."""
        return self._query(C_FIND_RQ(), C_FIND(), identifier)

    def get_request(self, identifier: Dataset) -> bytes:
        """Encode a C-GET for `send`."""
        return self._query(C_GET_RQ(), C_GET(), identifier)

    def send(self, request: bytes) -> None:
        """Send an encoded request."""
        self._socket.sendall(request)

    def receive(self) -> Message:
        """Wait for the next message.

        Raises
        ------
        DicomError
            When none comes, or the peer ends the association.
        """
        command, dataset = bytearray(), bytearray()
        decoded = Dataset()
        while True:
            kind, body = self._pdu()
            if kind != _P_DATA:
                raise DicomError(f"{self._where} ended the association (PDU of type {kind}).")
            for control, fragment in _fragments(body):
                (command if control & _COMMAND else dataset).extend(fragment)
                if not control & _LAST:
                    continue
                if not control & _COMMAND:
                    return Message(decoded, bytes(dataset))
                decoded = decode(io.BytesIO(command), is_implicit_vr=True, is_little_endian=True)
                if decoded.CommandDataSetType == _NO_DATASET:
                    return Message(decoded, b"")

    def exchange(self, request: bytes) -> tuple[int, int]:
        """Send a request; return the status of its last response, and the number of responses before it."""
        self.send(request)
        answers = 0
        while (status := self.receive().status) in PENDING:
            answers += 1
        return status, answers

    def get(self, identifier: Dataset, keep: Callable[[str, bytes], None]) -> int:
        """Retrieve instances by C-GET, and return the last status.

        Parameters
        ----------
        keep
            Takes the SOP Instance UID and the encoded data set of each instance.
        """
        self.send(self.get_request(identifier))
        while True:
            message = self.receive()
            if message.command.CommandField != _STORE_REQUEST:
                if message.status not in PENDING:
                    return message.status
                continue
            keep(str(message.command.AffectedSOPInstanceUID), message.dataset)
            self.send(self._stored(message.command))

    def _stored(self, request: Dataset) -> bytes:
        primitive = C_STORE()
        primitive.MessageIDBeingRespondedTo = request.MessageID
        primitive.AffectedSOPClassUID = request.AffectedSOPClassUID
        primitive.AffectedSOPInstanceUID = request.AffectedSOPInstanceUID
        primitive.Status = SUCCESS
        context = next(number for kind, number in self.accepted.items() if kind[0] == request.AffectedSOPClassUID)
        return self._encoded(C_STORE_RSP(), primitive, context)

    def _query(self, message: DIMSEMessage, primitive: C_FIND | C_GET, identifier: Dataset) -> bytes:
        kind = _QUERIES[self.service]
        primitive.MessageID, primitive.Priority = 1, 2
        primitive.AffectedSOPClassUID = kind[0]
        primitive.Identifier = io.BytesIO(encode(identifier, is_implicit_vr=True, is_little_endian=True) or b"")
        return self._encoded(message, primitive, self.accepted[kind])

    def _encoded(
        self, message: DIMSEMessage, primitive: C_STORE | C_FIND | C_GET, context: int, only: int | None = None
    ) -> bytes:
        message.primitive_to_message(primitive)
        parts = []
        for data in message.encode_msg(context, self.maximum_pdu):
            pdu = P_DATA_TF()
            pdu.from_primitive(data)
            encoded = pdu.encode()
            if only is None or encoded[_CONTROL] & only:
                parts.append(encoded)
        return b"".join(parts)

    @property
    def _proposed(self) -> dict[int, Kind]:
        """Presentation contexts by their odd numbers (PS3.8 9.3.2)."""
        query = _QUERIES.get(self.service)
        kinds = [*([query] if query else []), *(self.kinds if self.service != "find" else ())]
        return {2 * place + 1: kind for place, kind in enumerate(kinds)}

    @property
    def _where(self) -> str:
        return f"{self.peer.ae_title} at {self.peer.host}:{self.peer.port}"

    def _request(self) -> bytes:
        length = MaximumLengthNotification()
        length.maximum_length_received = _MAXIMUM_PDU
        implementation = ImplementationClassUIDNotification()
        implementation.implementation_class_uid = generate_uid()
        primitive = A_ASSOCIATE()
        primitive.application_context_name = "1.2.840.10008.3.1.1.1"
        primitive.called_ae_title, primitive.calling_ae_title = self.peer.ae_title, self.caller.ae_title
        primitive.user_information = [length, implementation]
        if self.service == "get":
            # The peer stores to us on the same association (PS3.7 D.3.3.4).
            classes = dict.fromkeys(sop_class for sop_class, _ in self.kinds)
            primitive.user_information += [build_role(sop_class, scp_role=True) for sop_class in classes]
        contexts = []
        for number, (sop_class, transfer_syntax) in self._proposed.items():
            contexts.append(build_context(sop_class, transfer_syntax))
            contexts[-1].context_id = number
        primitive.presentation_context_definition_list = contexts
        pdu = A_ASSOCIATE_RQ()
        pdu.from_primitive(primitive)
        return pdu.encode()

    def _accept(self, kind: int, body: bytes) -> None:
        if kind != _ACCEPTED:
            raise DicomError(f"{self._where} refuses an association from {self.caller.ae_title}.")
        answer = A_ASSOCIATE_AC()
        answer.decode(struct.pack(">BxI", _ACCEPTED, len(body)) + body)
        primitive = answer.to_primitive()
        self.maximum_pdu = min(primitive.maximum_length_received or _MAXIMUM_PDU, _MAXIMUM_PDU)
        for context in primitive.presentation_context_definition_results_list:
            if not context.result and (number := context.context_id) is not None:
                self.accepted[self._proposed[number]] = number
        needed = _QUERIES.get(self.service)
        if not self.accepted or (needed and needed not in self.accepted):
            raise DicomError(f"{self._where} doesn't grant {self.caller.ae_title} the service {self.service}.")

    def _pdu(self) -> tuple[int, bytes]:
        try:
            kind, length = struct.unpack(">BxI", self._read(6))
            return kind, self._read(length)
        except OSError as error:
            raise DicomError(f"{self._where} doesn't answer: {error}.") from error

    def _read(self, length: int) -> bytes:
        content = self._came.read(length)
        if len(content) < length:
            raise DicomError(f"{self._where} ended the connection.")
        return content


def _pdus(dataset: bytes, context: int, maximum_pdu: int) -> Iterator[bytes]:
    """Cut an encoded data set into P-DATA-TF PDUs of one value each."""
    # The maximum counts what follows the length of the PDU.
    room = maximum_pdu - 6
    for start in range(0, len(dataset), room):
        fragment = dataset[start : start + room]
        control = _LAST if start + room >= len(dataset) else 0
        yield _HEADER.pack(_P_DATA, len(fragment) + 6, len(fragment) + 2, context, control) + fragment


def _fragments(body: bytes) -> Iterator[tuple[int, memoryview]]:
    """Cut the body of a P-DATA-TF into message control header and fragment of each value (PS3.8 9.3.5)."""
    view, position = memoryview(body), 0
    while position < len(view):
        (length,) = struct.unpack_from(">I", view, position)
        yield view[position + 5], view[position + 6 : position + 4 + length]
        position += 4 + length
