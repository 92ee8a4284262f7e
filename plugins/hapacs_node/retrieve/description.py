"""What a file says of its pixel data, and where these begin.

A plain file is walked over without making objects of its elements, because a viewer asks for hundreds of images a
second. A file that is unusual is read by pydicom.
"""

import struct
from dataclasses import dataclass
from io import BytesIO

import pydicom

from hapacs_node.query.dicom_json import PIXELS
from hapacs_node.record.elements import Elements

_IMPLICIT, _BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
_META_GROUP, _SYNTAX = 0x0002, 0x00020010
_SAMPLES, _PHOTOMETRIC, _FRAMES, _ROWS, _COLUMNS, _BITS = (
    0x00280002, 0x00280004, 0x00280008, 0x00280010, 0x00280011, 0x00280100,
)  # fmt: skip
_OFFSETS, _LENGTHS = 0x7FE00001, 0x7FE00002
_NUMBERS = (_SAMPLES, _ROWS, _COLUMNS, _BITS)
_TAGS = frozenset({*_NUMBERS, _PHOTOMETRIC, _FRAMES, _OFFSETS, _LENGTHS})
_VRS = frozenset({b"OB", b"OW", b"OF", b"OD"})


@dataclass(frozen=True)
class Description:
    """The description of pixel data (PS3.3 C.7.6.3).

    Attributes
    ----------
    syntax : str
        Transfer syntax of the file.
    implicit, big : bool
        How the data set is encoded.
    at : int
        Where the element with the pixel data begins, or the file ends without one.
    frames : int
        Number of frames.
    frame_bits : int
        Bits of a frame that is not compressed.
    offsets : tuple of bytes or None
        Extended offset table and lengths, where the file has them (PS3.5 A.4).
    """

    syntax: str
    implicit: bool
    big: bool
    at: int
    frames: int
    frame_bits: int
    offsets: tuple[bytes, bytes] | None


def of(content: bytes) -> Description:
    """Read the description of a file as in PS3.10.

    Raises
    ------
    Exception
        Whatever pydicom raises about a damaged file, or one without description.
    """
    try:
        found = _walked(content)
    except (struct.error, IndexError, ValueError, KeyError, RecursionError):
        found = None
    return _parsed(content) if found is None else found


def _walked(content: bytes) -> Description | None:
    """Read a plain file; None for another one."""
    if content[128:132] != b"DICM":
        return None
    elements, syntax = Elements(content, 132), ""
    while elements.peek() >> 16 == _META_GROUP:
        tag, value = elements.next()
        if tag == _SYNTAX:
            syntax = (value or b"").rstrip(b"\0 ").decode("ascii")
    implicit, big = syntax == _IMPLICIT, syntax == _BIG_ENDIAN
    # Some files are encoded in another way than they say.
    if not syntax or content[elements.at + 4 : elements.at + 6].isupper() == implicit:
        return None
    elements = Elements(content, elements.at, implicit=implicit, big=big)
    values = elements.collect(_TAGS, min(PIXELS))
    if elements.peek() not in PIXELS:
        return None
    if not implicit and content[elements.at + 4 : elements.at + 6] not in _VRS:
        return None
    numbers = {tag: struct.unpack(">H" if big else "<H", values[tag])[0] for tag in _NUMBERS}
    frames = int(values[_FRAMES]) if values.get(_FRAMES, b"").strip(b"\0 ") else 1
    photometric = values.get(_PHOTOMETRIC, b"").strip(b"\0 ").decode("ascii")
    tables = values.get(_OFFSETS), values.get(_LENGTHS)
    bits = _frame_bits(numbers[_SAMPLES], photometric, numbers[_ROWS] * numbers[_COLUMNS] * numbers[_BITS])
    return Description(syntax, implicit, big, elements.at, frames, bits, _both(*tables))


def _parsed(content: bytes) -> Description:
    stream = BytesIO(content)
    dataset = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=[*_TAGS])
    implicit, little = dataset.original_encoding
    plane = [dataset.get(name) for name in ("Rows", "Columns", "BitsAllocated")]
    samples = dataset.get("SamplesPerPixel")
    bits = 0
    if samples is not None and all(number is not None for number in plane):
        rows, columns, allocated = map(int, plane)
        bits = _frame_bits(int(samples), str(dataset.get("PhotometricInterpretation")), rows * columns * allocated)
    tables = dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths")
    return Description(
        str(dataset.file_meta.TransferSyntaxUID),
        bool(implicit),
        not little,
        stream.tell(),
        int(dataset.get("NumberOfFrames") or 1),
        bits,
        _both(*tables),
    )


def _frame_bits(samples: int, photometric: str, plane_bits: int) -> int:
    # Two pixels share their two colours (PS3.3 C.7.6.3.1.2).
    return (samples - 1 if photometric == "YBR_FULL_422" else samples) * plane_bits


def _both(offsets: bytes | None, lengths: bytes | None) -> tuple[bytes, bytes] | None:
    return (offsets, lengths) if offsets and lengths else None
