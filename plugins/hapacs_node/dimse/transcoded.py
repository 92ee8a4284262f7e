"""What GDCM is given to transcode, and what is kept of its answer.

It knows no High-Throughput JPEG 2000, but OpenJPEG, which decodes JPEG 2000 for it, reads both (ISO/IEC 15444-15: the
codestream says how its blocks are coded).

A transcoded image must not say more than the received one. GDCM, which decodes JPEG 2000 and JPEG-LS for Orthanc,
writes attributes that its class of image may have and that were not there, with values of its own: a position of 0, a
spacing of 1 mm. A reader would measure with them.
"""

import re
import struct
from io import BytesIO

from pydicom import dcmread, dcmwrite
from pydicom.tag import BaseTag, Tag

_PIXEL_DATA = 0x7FE0
# Image Pixel Module (DICOM PS3.3 C.7.6.3) and lossy compression (C.7.6.1.1.5): they belong to the transfer syntax.
_OF_PIXELS = frozenset(map(Tag, (
    0x00280002, 0x00280004, 0x00280006, 0x00280008, 0x00280010, 0x00280011, 0x00280034, 0x00280100, 0x00280101,
    0x00280102, 0x00280103, 0x00280106, 0x00280107, 0x00282110, 0x00282112, 0x00282114,
)))  # fmt: skip

# File Meta Information Group Length (PS3.10 7.1), the first element of a file, and Transfer Syntax UID with HTJ2K.
_GROUP_LENGTH, _GROUP_LENGTH_AT = b"\x02\x00\x00\x00UL\x04\x00", 132
_HIGH_THROUGHPUT = re.compile(rb"\x02\x00\x10\x00UI\x18\x001\.2\.840\.10008\.1\.2\.4\.20([123])[\x00 ]")
_META_BYTES = 1024
# Shorter by two bytes: filled up with two NUL, it is no transfer syntax that GDCM's plugin knows.
_LOSSLESS, _ANY = (b"\x02\x00\x10\x00UI\x16\x001.2.840.10008.1.2.4." + end for end in (b"90", b"91"))
_SHORTER_BYTES = 2


def as_jpeg_2000(content: bytes) -> bytes:
    """Return a file of HTJ2K under the name of JPEG 2000, for a decoder; any other file as it is.

    Parameters
    ----------
    content : bytes
        A DICOM file.
    """
    found = _HIGH_THROUGHPUT.search(content, 0, _META_BYTES)
    if found is None or not content.startswith(_GROUP_LENGTH, _GROUP_LENGTH_AT):
        return content
    at = _GROUP_LENGTH_AT + len(_GROUP_LENGTH)
    (length,) = struct.unpack_from("<I", content, at)
    first, between = content[:at], content[at + 4 : found.start()]
    syntax = _ANY if found[1] == b"3" else _LOSSLESS
    return b"".join([first, struct.pack("<I", length - _SHORTER_BYTES), between, syntax, content[found.end() :]])


def without_additions(received: bytes, made: bytes) -> bytes:
    """Return a transcoded file without the attributes that the received one does not have.

    Parameters
    ----------
    received, made : bytes
        DICOM files. When nothing was added, `made` is returned as it is.
    """
    # What stands before the pixels decides: they are only read when something is taken out.
    added = {tag for tag in _tags(made) - _tags(received) - _OF_PIXELS if tag.group != _PIXEL_DATA}
    if not added:
        return made
    dataset, output = dcmread(BytesIO(made)), BytesIO()
    for tag in added:
        del dataset[tag]
    dcmwrite(output, dataset, enforce_file_format=True)
    return output.getvalue()


def _tags(content: bytes) -> set[BaseTag]:
    return set(dcmread(BytesIO(content), stop_before_pixels=True).keys())
