"""Study, series and SOP Instance UID of a DICOM file, read from its first elements.

Orthanc passes only bytes to the storage area, and its own description of an instance needs all elements. The three UIDs
are among the first few dozen elements.
"""

import re
import struct
from contextlib import suppress
from dataclasses import dataclass, field

from hapacs_node.record.elements import Elements

_IMPLICIT, _BIG_ENDIAN = b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.2"
_META_CLASS, _META_SOP, _SYNTAX = 0x00020002, 0x00020003, 0x00020010
_CLASS, _SOP, _STUDY, _SERIES = 0x00080016, 0x00080018, 0x0020000D, 0x0020000E
_META_GROUP = 0x0002
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
    elements = Elements(content, at)
    syntax = _IMPLICIT
    while elements.peek() >> 16 == _META_GROUP:
        tag, value = elements.next()
        if tag == _SYNTAX and value is not None:
            syntax = value.rstrip(b"\0 ")
        elif tag in {_META_CLASS, _META_SOP}:
            _note(found, _CLASS if tag == _META_CLASS else _SOP, value)
    elements = Elements(content, elements.at, implicit=syntax == _IMPLICIT, big=syntax == _BIG_ENDIAN)
    while (tag := elements.peek()) <= _SERIES:
        tag, value = elements.next()
        if tag in {_CLASS, _SOP, _STUDY, _SERIES}:
            _note(found, tag, value)


def _note(found: dict[int, str], tag: int, value: bytes | None) -> None:
    uid = (value or b"").rstrip(b"\0 ")
    if _UID.fullmatch(uid):
        found[tag] = uid.decode("ascii")
