"""Which frames a request asks for, and in which form it takes them (DICOM PS3.18 8.7.3, 10.4.1.1.6)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self
from uuid import uuid4

from hapacs_node.catalog.retrieval import Named
from hapacs_node.errors import BadRequestError
from hapacs_node.retrieve.accept import ANY, Range

EXPLICIT = "1.2.840.10008.1.2.1"
NATIVE = frozenset({"1.2.840.10008.1.2", EXPLICIT})
"""Transfer syntaxes with the same bytes of pixels."""
_OCTETS = "application/octet-stream"
_UID = r"[0-9.]{1,64}"
_LIST = r"[0-9]{1,9}(?:,[0-9]{1,9})*"
_PATH = re.compile(rf"/dicom-web/studies/({_UID})/series/({_UID})/instances/({_UID})/frames/({_LIST})/?", re.ASCII)
_JPEG = "1.2.840.10008.1.2.4."
_TYPES = {
    "image/jpeg": tuple(f"{_JPEG}{number}" for number in (50, 51, 57, 70)),
    "image/jls": (f"{_JPEG}80", f"{_JPEG}81"),
    "image/jp2": (f"{_JPEG}90", f"{_JPEG}91"),
    "image/jpx": (f"{_JPEG}92", f"{_JPEG}93"),
    "image/jphc": tuple(f"{_JPEG}{number}" for number in (201, 202, 203)),
    "image/jxl": tuple(f"{_JPEG}{number}" for number in (110, 111, 112)),
    "image/dicom-rle": ("1.2.840.10008.1.2.5",),
    "video/mpeg": (f"{_JPEG}100", f"{_JPEG}101"),
    "video/mp4": tuple(f"{_JPEG}{number}" for number in range(102, 109)),
}
_TYPE_OF = {syntax: media_type for media_type, syntaxes in _TYPES.items() for syntax in syntaxes}
# Names from before they were registered, and that of an older edition of the standard.
_ALIASES = {
    "image/x-jls": "image/jls",
    "image/x-dicom-rle": "image/dicom-rle",
    "video/mpeg2": "video/mpeg",
    "image/dicom+jpeg": "image/jpeg",
    "image/dicom+jp2": "image/jp2",
    "image/dicom+jpx": "image/jpx",
    "image/dicom+rle": "image/dicom-rle",
}


@dataclass(frozen=True)
class Asked:
    """A request for frames.

    Attributes
    ----------
    named : Named
        The instance.
    numbers : tuple of int
        Frames in the order in which they are wanted, from 1.
    """

    named: Named
    numbers: tuple[int, ...]

    @classmethod
    def of(cls, path: str) -> Self | None:
        """Read a path; None when it asks for no frames.

        Raises
        ------
        BadRequestError
            When a frame has the number 0, or is named twice: answers could be longer than any file.
        """
        if (found := _PATH.fullmatch(path)) is None:
            return None
        *uids, listed = found.groups()
        numbers = tuple(map(int, listed.split(",")))
        if 0 in numbers:
            raise BadRequestError("the first frame has the number 1")
        if len(set(numbers)) < len(numbers):
            raise BadRequestError("a frame is named twice")
        return cls(Named(*uids), numbers)


@dataclass(frozen=True)
class Form:
    """How frames are sent.

    Attributes
    ----------
    multipart : bool
        As parts; else one frame is the whole body.
    media_type, syntax : str
        Media type and transfer syntax of each frame; empty for what has none.
    """

    multipart: bool
    media_type: str
    syntax: str

    @property
    def of_frame(self) -> str:
        """Content-Type of one frame."""
        return f"{self.media_type}; transfer-syntax={self.syntax}" if self.syntax else self.media_type


def form(accepted: Sequence[Range], stored: str, count: int) -> Form | None:
    """Choose the form of an answer; None when none is accepted.

    Parameters
    ----------
    accepted : sequence of Range
        The best first.
    stored : str
        Transfer syntax of the file.
    count : int
        Number of frames.

    Returns
    -------
    Form or None
        With `EXPLICIT` for a compressed file when it has to be decoded.
    """
    for one in accepted:
        multipart = one.type.startswith("multipart/") or one.type == ANY
        if one.type not in {ANY, "multipart/*", "multipart/related"} and (multipart or count != 1):
            continue
        wanted = one.part if multipart else one.type
        if (syntax := _syntax(_ALIASES.get(wanted or "", wanted), one.syntax, stored)) is not None:
            return Form(multipart, _TYPE_OF.get(syntax, _OCTETS), syntax)
    return None


def _syntax(wanted: str | None, syntax: str | None, stored: str) -> str | None:
    """Return the transfer syntax for one media range; None when it can't be had."""
    # In native pixel data nothing tells explicit from implicit.
    as_stored = EXPLICIT if stored in NATIVE else stored
    if wanted not in {None, _OCTETS, _TYPE_OF.get(stored)}:
        return None
    if syntax in {"*", stored, as_stored}:
        return as_stored
    if syntax is None:
        # Octets without a transfer syntax are not compressed (PS3.18 8.7.3.3.2).
        return EXPLICIT if wanted == _OCTETS else as_stored
    return EXPLICIT if syntax in NATIVE and wanted in {None, _OCTETS} else None


@dataclass(frozen=True)
class Body:
    """An answer with frames.

    Attributes
    ----------
    content_type : str
        Of the whole answer.
    pieces : tuple
        Its bytes in order.
    """

    content_type: str
    pieces: tuple[bytes | memoryview, ...]

    @classmethod
    def of(cls, form: Form, frames: Sequence[bytes | memoryview], more: str = "") -> Self:
        """Frame the frames (RFC 2387); `more` is further lines for the head of each part."""
        if not form.multipart:
            return cls(form.of_frame, tuple(frames))
        boundary = uuid4().hex
        pieces: list[bytes | memoryview] = []
        for frame in frames:
            head = f"--{boundary}\r\nContent-Type: {form.of_frame}\r\nContent-Length: {len(frame)}\r\n{more}\r\n"
            pieces += (head.encode("ascii"), frame, b"\r\n")
        content_type = f'multipart/related; type="{form.media_type}"; boundary={boundary}'
        return cls(content_type, (*pieces, f"--{boundary}--\r\n".encode("ascii")))

    @property
    def length(self) -> int:
        """Bytes of the whole answer."""
        return sum(map(len, self.pieces))
