"""Marks of images that hapacs itself sends: prefixes of Patient's Name and Patient ID.

A user who sees such a patient in a list knows that it is not a real one. hapacs finds and removes its own images by the
mark alone; it never removes an image without a mark.
"""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

from pydicom.filereader import data_element_generator
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

from hapacs_node.replication.names import VERIFIED

VERIFY = VERIFIED
BENCH = "HAPACS-BENCH-"
LOAD = "HAPACS-LOAD-"

_GROUP_LENGTH, _NAME, _ID = Tag(0x0010, 0x0000), Tag(0x0010, 0x0010), Tag(0x0010, 0x0020)
_VR = {_NAME: b"PN", _ID: b"LO"}


def mark(encoded: bytes, transfer_syntax: UID, prefix: str) -> bytes:
    """Put a mark before Patient's Name and Patient ID of an encoded data set; all other bytes stay unchanged.

    Parameters
    ----------
    encoded
        A data set without preamble and file meta information. Elements that are missing are added.
    prefix
        ASCII: every DICOM character set allows it at the beginning of a value (PS3.3 C.12.1.1.2).

    Notes
    -----
    The group length of the patient's group (PS3.5 7.2, retired) is left out, because it would be wrong.
    """
    if transfer_syntax.is_deflated:
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        inflated = zlib.decompress(encoded, -zlib.MAX_WBITS)
        return packer.compress(_marked(inflated, transfer_syntax, prefix)) + packer.flush()
    return _marked(encoded, transfer_syntax, prefix)


def _marked(encoded: bytes, transfer_syntax: UID, prefix: str) -> bytes:
    stream = BytesIO(encoded)
    elements = data_element_generator(
        stream,
        transfer_syntax.is_implicit_VR,
        transfer_syntax.is_little_endian,
        stop_when=lambda tag, _vr, _length: tag > _ID,
    )
    before, between, values = bytearray(), bytearray(), {_NAME: b"", _ID: b""}
    start = 0
    for element in elements:
        end = stream.tell()
        if element.tag in values:
            values[element.tag] = bytes(element.value or b"").rstrip(b" \0")
        elif element.tag != _GROUP_LENGTH:
            (before if element.tag < _NAME else between).extend(encoded[start:end])
        start = end
    name, patient = (_element(tag, prefix.encode() + value, transfer_syntax) for tag, value in values.items())
    return bytes(before) + name + bytes(between) + patient + encoded[start:]


def _element(tag: BaseTag, value: bytes, transfer_syntax: UID) -> bytes:
    """Encode an element with an even length (PS3.5 7.1)."""
    order = "<" if transfer_syntax.is_little_endian else ">"
    value += b" " * (len(value) % 2)
    head = struct.pack(f"{order}HH", tag.group, tag.element)
    length = struct.pack(f"{order}L", len(value))
    if not transfer_syntax.is_implicit_VR:
        length = _VR[tag] + struct.pack(f"{order}H", len(value))
    return head + length + value
