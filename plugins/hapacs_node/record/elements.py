"""Walks over the data elements of a file without reading their values."""

import struct
from collections.abc import Container

_ITEM_END, _SEQUENCE_END = 0xFFFEE00D, 0xFFFEE0DD
_ITEM_GROUP = 0xFFFE
_UNDEFINED = 0xFFFFFFFF
LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
"""Value representations whose length has four bytes, after two that are reserved (PS3.5 7.1.2)."""


class Elements:
    """Walks over data elements (PS3.5 7.1), skipping their values.

    It raises ``struct.error`` or ``IndexError`` where an element can't be parsed, and ``RecursionError`` where
    sequences are nested too deep.

    Parameters
    ----------
    content : bytes
        A file, or its beginning.
    at : int
        Where to start.
    implicit, big : bool
        Whether value representations are left out, and whether numbers are big endian.

    Attributes
    ----------
    at : int
        Where the next element starts.
    """

    def __init__(self, content: bytes, at: int, *, implicit: bool = False, big: bool = False) -> None:
        self._content = content
        self.at = at
        order = ">" if big else "<"
        self._tag = struct.Struct(f"{order}HH").unpack_from
        self._short = struct.Struct(f"{order}H").unpack_from
        self._long = struct.Struct(f"{order}I").unpack_from
        self._head = struct.Struct(f"{order}HH2sH").unpack_from
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
        elif vr in LONG:
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

    def collect(self, wanted: Container[int], until: int) -> dict[int, bytes]:
        """Return the values of some elements, and skip all that are before the first tag that is `until` or higher."""
        found: dict[int, bytes] = {}
        content, head = self._content, self._head
        while True:
            at = self.at
            group, element, vr, length = head(content, at)
            tag = group << 16 | element
            if tag >= until:
                return found
            if self._implicit or vr in LONG or group == _ITEM_GROUP:
                tag, value = self.next()
                if tag in wanted and value is not None:
                    found[tag] = value
                continue
            # Most elements are such. This loop is half the time of a frame.
            self.at = at + 8 + length
            if tag in wanted:
                found[tag] = content[at + 8 : self.at]

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
