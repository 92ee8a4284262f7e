"""Opens a DICOM association and sends a C-ECHO, within one deadline and without pynetdicom.

``hapacs status`` has five seconds altogether. The import of pynetdicom takes two of them, and its time-outs apply to
each step.
"""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import dataclass

# PDU types (DICOM PS3.8 9.3.1).
_REQUEST, _ACCEPTED, _REFUSED, _DATA, _RELEASE = 0x01, 0x02, 0x03, 0x04, 0x05
_VERIFICATION = b"1.2.840.10008.1.1"
_IMPLICIT_LITTLE_ENDIAN = b"1.2.840.10008.1.2"
# The same as in the balancers' health checks.
_IMPLEMENTATION = b"2.25.300200788435654268780283864367573459572"
_CONTEXT = 1


@dataclass(frozen=True)
class Ends:
    """Both ends of an association: address and AE title of the called one, AE title of the calling one."""

    host: str
    port: int
    called: str
    calling: str


def problem(ends: Ends, timeout_s: float) -> str:
    """Return why a C-ECHO was not answered with success within the time, or empty."""
    deadline = time.monotonic() + timeout_s
    try:
        with socket.create_connection((ends.host, ends.port), timeout=timeout_s) as connection:
            connection.sendall(_request(ends))
            kind, body = _receive(connection, deadline)
            if kind != _ACCEPTED:
                return _refusal(kind, body)
            connection.sendall(_echo())
            kind, body = _receive(connection, deadline)
            if kind != _DATA:
                return "the association was aborted"
            # The connection ends without waiting for the answer to this A-RELEASE-RQ.
            connection.sendall(struct.pack(">BxI4x", _RELEASE, 4))
            return _failure(body)
    except TimeoutError:
        return f"no answer within {timeout_s:g} s"
    except (ConnectionResetError, BrokenPipeError, EOFError):
        return "the connection was closed without an answer"
    except OSError as error:
        return error.strerror or str(error)


def _item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(content)) + content


def _request(ends: Ends) -> bytes:
    """Encode an A-ASSOCIATE-RQ that proposes Verification (PS3.8 9.3.2)."""
    titles = ends.called.encode().ljust(16) + ends.calling.encode().ljust(16)
    syntaxes = _item(0x30, _VERIFICATION) + _item(0x40, _IMPLICIT_LITTLE_ENDIAN)
    user = _item(0x51, struct.pack(">I", 16384)) + _item(0x52, _IMPLEMENTATION)
    items = (
        _item(0x10, b"1.2.840.10008.3.1.1.1")
        + _item(0x20, struct.pack(">B3x", _CONTEXT) + syntaxes)
        + _item(0x50, user)
    )
    body = struct.pack(">H2x", 1) + titles + bytes(32) + items
    return struct.pack(">BxI", _REQUEST, len(body)) + body


def _echo() -> bytes:
    """Encode a C-ECHO-RQ (PS3.7 9.3.5.1) in one presentation data value."""
    elements = (
        _element(0x0002, _VERIFICATION + b"\0")
        + _element(0x0100, struct.pack("<H", 0x0030))
        + _element(0x0110, struct.pack("<H", 1))
        + _element(0x0800, struct.pack("<H", 0x0101))
    )
    command = _element(0x0000, struct.pack("<I", len(elements))) + elements
    # 3: the last fragment of a command (PS3.8 E.2).
    value = struct.pack(">IBB", len(command) + 2, _CONTEXT, 3) + command
    return struct.pack(">BxI", _DATA, len(value)) + value


def _element(number: int, value: bytes) -> bytes:
    """Encode an element of a command set."""
    return struct.pack("<HHI", 0, number, len(value)) + value


def _receive(connection: socket.socket, deadline: float) -> tuple[int, bytes]:
    """Receive a PDU: its type and its content."""
    kind, length = struct.unpack(">BxI", _read(connection, 6, deadline))
    return kind, _read(connection, length, deadline)


def _read(connection: socket.socket, length: int, deadline: float) -> bytes:
    content = b""
    while len(content) < length:
        if (left_s := deadline - time.monotonic()) <= 0:
            raise TimeoutError
        connection.settimeout(left_s)
        part = connection.recv(length - len(content))
        if not part:
            raise EOFError
        content += part
    return content


def _refusal(kind: int, body: bytes) -> str:
    if kind != _REFUSED:
        return "the association was aborted"
    # PS3.8 9.3.4: what the balancer answers a caller with all its associations open.
    if body[1:4] == b"\2\3\2":
        return "the association was refused: the caller has as many open associations as it may have"
    return "the association was refused (result {1}, source {2}, reason {3})".format(*body)


def _failure(body: bytes) -> str:
    """Return the status of a C-ECHO-RSP when it is not success."""
    status = body.partition(struct.pack("<HHI", 0, 0x0900, 2))[2][:2]
    return "" if status == b"\0\0" else f"C-ECHO was answered with status 0x{status[::-1].hex().upper()}"
