"""What a broken or hostile peer sends: data sets that are none, bombs, requests that no client library would make."""

from __future__ import annotations

import socket
import ssl
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
from pydicom._uid_dict import UID_dictionary
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    generate_uid,
)
from pynetdicom.pdu import A_ASSOCIATE_AC

from hapacs.dicom import Sample, files, multipart

MEBIBYTE = 1 << 20
_VERIFICATION, _IMPLICIT = "1.2.840.10008.1.1", "1.2.840.10008.1.2"
# As many as an odd number of one byte can tell apart (PS3.8 9.3.2.2).
CONTEXTS = 128


def associate_rq(
    calling: str, called: str, proposed: Iterable[tuple[str, Sequence[str]]] = ((_VERIFICATION, (_IMPLICIT,)),)
) -> bytes:
    """Encode an A-ASSOCIATE-RQ (PS3.8 9.3.2) for SOP classes, each with its transfer syntaxes."""

    def item(kind: int, content: bytes) -> bytes:
        return struct.pack("!BBH", kind, 0, len(content)) + content

    contexts = b""
    for place, (sop_class, syntaxes) in enumerate(proposed):
        names = item(0x30, sop_class.encode()) + b"".join(item(0x40, syntax.encode()) for syntax in syntaxes)
        contexts += item(0x20, bytes([2 * place + 1, 0, 0, 0]) + names)
    information = item(0x51, struct.pack("!I", 16384)) + item(0x52, b"2.25.300200788435654268780283864367573459572")
    fixed = struct.pack("!HH", 1, 0) + called.encode().ljust(16) + calling.encode().ljust(16) + bytes(32)
    body = fixed + item(0x10, b"1.2.840.10008.3.1.1.1") + contexts + item(0x50, information)
    return struct.pack("!BBI", 1, 0, len(body)) + body


def widest_rq(calling: str, called: str, last: str = _VERIFICATION) -> bytes:
    """Encode an A-ASSOCIATE-RQ as large as real ones are: 128 contexts, each with 40 transfer syntaxes of DICOM.

    The last one proposes `last`, in Implicit VR Little Endian among others.
    """
    known = [uid for uid, row in UID_dictionary.items() if row[1] == "Transfer Syntax" and uid != _IMPLICIT]
    syntaxes = [*sorted(known, key=len)[-39:], _IMPLICIT]
    classes = [uid for uid, row in UID_dictionary.items() if row[1] == "SOP Class" and row[0].endswith("Storage")]
    return associate_rq(calling, called, [(name, syntaxes) for name in [*classes[: CONTEXTS - 1], last]])


def accepted(connection: socket.socket) -> list[int]:
    """Receive an A-ASSOCIATE-AC; return the result of each presentation context as proposed (PS3.8 9.3.3.2)."""
    with connection.makefile("rb") as stream:
        head = stream.read(6)
        pdu = head + stream.read(int.from_bytes(head[2:]))
    answer = A_ASSOCIATE_AC()
    answer.decode(pdu)
    results = {int(context.context_id or 0): int(context.result or 0) for context in answer.presentation_context}
    return [results[number] for number in sorted(results)]


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    """Encode a data element in Explicit VR Little Endian (PS3.5 7.1.2)."""
    value += b"\0" * (len(value) % 2)
    if vr in {b"OB", b"OW", b"UN", b"SQ", b"UT"}:
        return struct.pack("<HH2sHI", group, number, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


def identified(
    sop_instance: str, study: str, series: str, *, sop_class: str = str(CTImageStorage), uid_vr: bytes = b"UI"
) -> bytes:
    """Encode a data set with what an index needs; a UID that is empty is left out."""
    found = [
        (0x0008, 0x0016, uid_vr, sop_class), (0x0008, 0x0018, uid_vr, sop_instance), (0x0010, 0x0020, b"LO", "HOSTILE"),
        (0x0020, 0x000D, uid_vr, study), (0x0020, 0x000E, uid_vr, series),
    ]  # fmt: skip
    return b"".join(element(group, number, vr, value.encode()) for group, number, vr, value in found if value)


def sample(
    path: Path,
    encoded: bytes,
    *,
    sop_instance: str = "",
    sop_class: str = str(CTImageStorage),
    transfer_syntax: UID = ExplicitVRLittleEndian,
) -> Sample:
    """Write a DICOM file whose data set is whatever it is, ready to be sent."""
    made = Sample(
        path, UID(sop_class), UID(sop_instance or generate_uid()), transfer_syntax,
        patient_id="", study="", series="", named_alike=True, offset=0,
    )  # fmt: skip
    path.write_bytes(files.with_meta(made, encoded))
    return made


def grow(path: Path, value_bytes: int) -> None:
    """Give a file a last element, Pixel Data, of so many zeros, without writing them."""
    head = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, value_bytes)
    with path.open("r+b") as stream:
        stream.seek(0, 2)
        stream.write(head)
        stream.truncate(stream.tell() + value_bytes)


def large_value_bomb(head: bytes, mebibytes: int) -> bytes:
    """Deflate a data set with a Pixel Data of zeros (PS3.5 A.5)."""
    begun = head + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, mebibytes * MEBIBYTE)
    return _deflated(begun, bytes(MEBIBYTE), mebibytes)


def many_items(head: bytes, mebibytes: int) -> bytes:
    """Encode a data set with a sequence of empty items: each 8 bytes, and an object in memory."""
    return _before_items(head, mebibytes) + _ITEMS * mebibytes


def many_items_bomb(head: bytes, mebibytes: int) -> bytes:
    """Deflate such a data set: small on the wire as well."""
    return _deflated(_before_items(head, mebibytes), _ITEMS, mebibytes)


def nested(head: bytes, levels: int, vr: bytes = b"SQ") -> bytes:
    """Encode a data set with sequences inside of each other, each with one item, of undefined length (PS3.5 7.5.1).

    A sequence of the VR UN and of undefined length holds items in Implicit VR Little Endian (PS3.5 6.2.2).
    """
    implicit = struct.pack("<HHI", 0x0040, 0xA730, 0xFFFFFFFF)
    explicit = struct.pack("<HH2sHI", 0x0040, 0xA730, vr, 0, 0xFFFFFFFF)
    inner = implicit if vr == b"UN" else explicit
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    ends = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    return head + explicit + item + (inner + item) * (levels - 1) + ends * levels


def nested_measured(head: bytes, levels: int) -> bytes:
    """Encode such a data set with lengths that are said, and right."""
    body = b""
    for _ in range(levels):
        item = struct.pack("<HHI", 0xFFFE, 0xE000, len(body)) + body
        body = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, len(item)) + item
    return head + body


def nested_false(head: bytes, levels: int) -> bytes:
    """Encode such a data set with lengths that are greater than the file."""
    sequence = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFF0)
    return head + (sequence + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFE0)) * levels


def nested_private(head: bytes, levels: int) -> bytes:
    """Encode such a data set with private elements, whose VR only their undefined length tells."""
    return nested(head, levels, b"UN").replace(struct.pack("<HH", 0x0040, 0xA730), struct.pack("<HH", 0x0041, 0x1001))


def deflated(encoded: bytes) -> bytes:
    """Deflate a data set (PS3.5 A.5)."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    content = packer.compress(encoded) + packer.flush()
    return content + b"\0" * (len(content) % 2)


_ITEMS = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * (MEBIBYTE // 8)


def _before_items(head: bytes, mebibytes: int) -> bytes:
    return head + struct.pack("<HH2sHI", 0x0040, 0x0275, b"SQ", 0, mebibytes * MEBIBYTE)


def _deflated(head: bytes, block: bytes, count: int) -> bytes:
    # Each piece stands by itself (RFC 1951 3.2.3), so that it is packed once and repeated.
    def packed(content: bytes, end: int) -> bytes:
        packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        return packer.compress(content) + packer.flush(end)

    content = packed(head, zlib.Z_FULL_FLUSH) + packed(block, zlib.Z_FULL_FLUSH) * count + packed(b"", zlib.Z_FINISH)
    return content + b"\0" * (len(content) % 2)


def stow(web: httpx.Client, *parts: bytes) -> httpx.Response:
    """Send parts by STOW-RS, whatever they are (PS3.18 10.5)."""
    content_type, body = multipart.encode(parts, "application/dicom")
    return web.post("studies", content=body, headers={"Content-Type": content_type})


DEFLATED = DeflatedExplicitVRLittleEndian


@contextmanager
def connections(host: str, port: int, count: int, said: bytes = b"") -> Iterator[list[socket.socket]]:
    """Hold that many connections open, on each of which the same was said."""
    with ExitStack() as stack:
        opened = []
        for _ in range(count):
            try:
                connection = stack.enter_context(socket.create_connection((host, port), timeout=10))
                connection.sendall(said)
            except OSError:
                # Refused: that is what the other side may do.
                continue
            opened.append(connection)
        yield opened


def ended(connection: socket.socket, within_s: float) -> bool:
    """Tell whether the peer ends a connection in time, whatever it says before."""
    connection.settimeout(within_s)
    try:
        while connection.recv(4096):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def raw_request(host: str, port: int, context: ssl.SSLContext, request: bytes, timeout_s: float = 20) -> int | None:
    """Send an HTTP request as it stands, and return the status of the answer, if there is one."""
    with (
        socket.create_connection((host, port), timeout=timeout_s) as plain,
        context.wrap_socket(plain, server_hostname=host) as connection,
    ):
        with suppress(OSError):
            # The answer may come before the end of the request.
            connection.sendall(request)
        try:
            words = connection.recv(4096).split(maxsplit=2)
        except OSError:
            return None
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else None
