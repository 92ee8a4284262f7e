"""Bodies of several parts, as DICOMweb sends and takes them (PS3.18 8.6.1.2, RFC 2387)."""

from __future__ import annotations

from collections.abc import Sequence
from email.message import Message

from hapacs.errors import HapacsError
from hapacs_node.multipart import framed

AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
"""The Accept of a request for DICOM files, each in the transfer syntax in which it is stored (PS3.18 8.7.3)."""
_END_OF_HEADERS = b"\r\n\r\n"


class MultipartError(HapacsError):
    """A body is not multipart/related."""


def encode(parts: Sequence[bytes], content_type: str) -> tuple[str, bytes]:
    """Return the Content-Type of a request or answer, and its body."""
    header, pieces = framed(parts, content_type)
    return header, b"".join(pieces)


def decode(content_type: str, body: bytes) -> list[bytes]:
    """Return the contents of the parts.

    Raises
    ------
    MultipartError
        When the content type is another one.
    """
    header = Message()
    header["Content-Type"] = content_type
    boundary = header.get_param("boundary")
    if header.get_content_type() != "multipart/related" or not isinstance(boundary, str):
        raise MultipartError(f"the answer is {content_type} instead of multipart/related")
    # The first boundary has no line before it.
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary.encode())
    return [piece.partition(_END_OF_HEADERS)[2] for piece in pieces[1:-1]]
