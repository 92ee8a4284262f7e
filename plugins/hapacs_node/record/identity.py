"""Study, series and SOP Instance UID of a DICOM file, read from its first elements.

Orthanc passes only bytes to the storage area, and its own description of an instance needs all elements. The three UIDs
are among the first few dozen elements.
"""

import re
import struct
from contextlib import suppress
from dataclasses import dataclass, field

_IMPLICIT, _BIG_ENDIAN = b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.2"
_META_CLASS, _META_SOP, _SYNTAX = 0x00020002, 0x00020003, 0x00020010
_CLASS, _SOP, _STUDY, _SERIES = 0x00080016, 0x00080018, 0x0020000D, 0x0020000E
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_META_GROUP, _ITEM_GROUP = 0x0002, 0xFFFE
_UNDEFINED = 0xFFFFFFFF
# Value representations whose length has four bytes, after two that are reserved (PS3.5 7.1.2).
_LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_UID = re.compile(rb"[0-9.]{1,64}")


@dataclass(frozen=True, slots=True)
class Identity:
    """The UIDs of an instance; a UID that can't be read is None.

    Attributes
    ----------
    study, series, sop : str or None
        Study, series and SOP Instance UID.
    sop_class : str or None
        SOP Class UID.
    """

    study: str | None = None
    series: str | None = None
    sop: str | None = None
    sop_class: str | None = field(default=None, compare=False)


class _Elements:
    """Walks over data elements (PS3.5 7.1), skipping their values."""

    def __init__(self, content: bytes, at: int, *, implicit: bool = False, big: bool = False) -> None:
        self._content = content
        self.at = at
        order = ">" if big else "<"
        self._tag = struct.Struct(f"{order}HH").unpack_from
        self._short = struct.Struct(f"{order}H").unpack_from
        self._long = struct.Struct(f"{order}I").unpack_from
        self._implicit = implicit

    def peek(self) -> int:
        """Return the next element's tag."""
        group, element = self._tag(self._content, self.at)
        return int(group << 16 | element)

    def next(self) -> tuple[int, bytes | None]:
        """Return the next element's tag and value, None for a sequence of undefined length, and skip it."""
        tag = self.peek()
        at = self.at + 4
        vr = self._content[at : at + 2]
        if self._implicit or tag >> 16 == _ITEM_GROUP:
            (length,) = self._long(self._content, at)
            at += 4
        elif vr in _LONG:
            (length,) = self._long(self._content, at + 4)
            at += 8
        else:
            (length,) = self._short(self._content, at + 2)
            at += 4
        if length == _UNDEFINED:
            self.at = at
            # Inside "UN" of undefined length everything is implicit little endian (PS3.5 6.2.2).
            self._skip(implicit=self._implicit or vr == b"UN")
            return tag, None
        if at + length > len(self._content):
            raise IndexError("the value ends early")
        self.at = at + length
        return tag, self._content[at : self.at]

    def _skip(self, *, implicit: bool) -> None:
        """Skip items until the end of a sequence of undefined length."""
        before, self._implicit = self._implicit, implicit
        while True:
            tag, at = self.peek(), self.at
            (length,) = self._long(self._content, at + 4)
            self.at = at + 8
            if tag == _SEQUENCE_END:
                break
            if length != _UNDEFINED:
                self.at += length
                continue
            while self.peek() != _ITEM_END:
                self.next()
            self.at += 8
        self._implicit = before


def of(content: bytes) -> Identity:
    """Read the identity of a DICOM file, or of its beginning.

    Parameters
    ----------
    content : bytes
        A file as in PS3.10 7.1, with or without preamble.

    Returns
    -------
    Identity
        A UID is None when the file does not have it, or when it is after the first element that can't be parsed.
    """
    found: dict[int, str] = {}
    # When the file ends early or is no DICOM file, the UIDs found before that are right.
    with suppress(struct.error, IndexError, RecursionError):
        _read(content, found)
    return Identity(found.get(_STUDY), found.get(_SERIES), found.get(_SOP), found.get(_CLASS))


def _read(content: bytes, found: dict[int, str]) -> None:
    at = 132 if content[128:132] == b"DICM" else 0
    elements = _Elements(content, at)
    syntax = _IMPLICIT
    while elements.peek() >> 16 == _META_GROUP:
        tag, value = elements.next()
        if tag == _SYNTAX and value is not None:
            syntax = value.rstrip(b"\0 ")
        elif tag in {_META_CLASS, _META_SOP}:
            _note(found, _CLASS if tag == _META_CLASS else _SOP, value)
    elements = _Elements(content, elements.at, implicit=syntax == _IMPLICIT, big=syntax == _BIG_ENDIAN)
    while (tag := elements.peek()) <= _SERIES:
        tag, value = elements.next()
        if tag in {_CLASS, _SOP, _STUDY, _SERIES}:
            _note(found, tag, value)


def _note(found: dict[int, str], tag: int, value: bytes | None) -> None:
    uid = (value or b"").rstrip(b"\0 ")
    if _UID.fullmatch(uid):
        found[tag] = uid.decode("ascii")
