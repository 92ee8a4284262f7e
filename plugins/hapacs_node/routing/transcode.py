"""Another transfer syntax for the copy that leaves, by pydicom's decoders and encoders. No step loses anything."""

import threading
from dataclasses import replace
from io import BytesIO

from pydicom import Dataset, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileDataset
from pydicom.encaps import generate_frames
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from hapacs_node.errors import NodeError
from hapacs_node.routing.destination import WantedSyntax
from hapacs_node.routing.image import Message, parse

UNCOMPRESSED = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))
"""What an image is made into for a peer that does not take it as it is stored. Every peer has to take the second one
(DICOM PS3.5 10.1)."""
SYNTAXES: dict[WantedSyntax, str] = {
    "explicit": str(ExplicitVRLittleEndian),
    "implicit": str(ImplicitVRLittleEndian),
    "jpeg-2000-lossless": str(JPEG2000Lossless),
    "rle-lossless": str(RLELossless),
}
# Length of a value that a delimiter ends, and of that (DICOM PS3.5 7.1.1, 7.5).
_UNDEFINED, _DELIMITER_BYTES = 0xFFFFFFFF, 8
# The marker EOI of JPEG and JPEG-LS, and EOC of JPEG 2000.
_END = b"\xff\xd9"
# Pixels without compression are in memory several times, and the service has a limit: one image at a time.
_MOST_BYTES = 30_000_000
_ONE_AT_A_TIME = threading.Lock()


class TranscodingError(NodeError):
    """An image can't have another transfer syntax."""


def choices(stored: str, wanted: WantedSyntax | None) -> tuple[str, ...]:
    """Return the transfer syntaxes in which an image may leave, the best first.

    Parameters
    ----------
    stored : str
        As it is stored.
    wanted : str or None
        What the destination wants. An image that is compressed is not compressed in another way.
    """
    first = () if wanted is None else (SYNTAXES[wanted],)
    if first and UID(first[0]).is_compressed and UID(stored).is_compressed:
        first = ()
    return tuple(dict.fromkeys((*first, stored, *UNCOMPRESSED)))


def transcoded(message: Message, syntax: str) -> Message:
    """Return an image in another transfer syntax, under the same UIDs.

    Raises
    ------
    TranscodingError
        When it can't be decoded or encoded, or is too large for it.
    """
    target = UID(syntax)
    with _ONE_AT_A_TIME:
        return _transcoded(message, target)


def _transcoded(message: Message, target: UID) -> Message:
    try:
        dataset = dcmread(BytesIO(message.file))
        _require_whole(dataset, len(message.file))
        _convert(dataset, target)
        dataset.file_meta.TransferSyntaxUID = target
        output = BytesIO()
        dataset.save_as(
            output, enforce_file_format=True, implicit_vr=target.is_implicit_VR, little_endian=target.is_little_endian
        )
        return replace(parse(output.getvalue()), sop=message.sop)
    except NodeError:
        raise
    except (Exception, MemoryError) as error:
        # The decoders raise whatever they like about damaged pixels.
        raise TranscodingError(
            f"it can't be made {target.name} of {message.transfer_syntax.name}: {type(error).__name__}: {error}"
        ) from error


def _convert(dataset: Dataset, target: UID) -> None:
    """Decode or encode the pixels of an image. Its SOP Instance UID stays: the pixels are the same."""
    if not dataset.file_meta.TransferSyntaxUID.is_little_endian:
        # pydicom leaves the bytes of pixels and tables in their order.
        raise TranscodingError("it is big endian, which is not converted")
    if "PixelData" not in dataset:
        if target.is_compressed or dataset.file_meta.TransferSyntaxUID.is_compressed:
            raise TranscodingError("it has no pixels, or they can't be read")
        return
    size = _size(dataset)
    if size > _MOST_BYTES and (target.is_compressed or dataset.file_meta.TransferSyntaxUID.is_compressed):
        raise TranscodingError(f"it has {size / 1e6:.0f} MB of pixels, and {_MOST_BYTES / 1e6:.0f} can be converted")
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        _require_ends(dataset)
        dataset.decompress(generate_instance_uid=False)
    if target.is_compressed:
        dataset.compress(target, generate_instance_uid=False)


def _require_whole(dataset: FileDataset, length: int) -> None:
    """Refuse a file that ends inside of its last element: pydicom leaves that one out, and says nothing."""
    last = dataset.get_item(max(dataset.keys()))
    if not isinstance(last, RawDataElement):
        return
    value = _DELIMITER_BYTES + len(last.value or b"") if last.length == _UNDEFINED else last.length
    if last.value_tell + value != length:
        raise TranscodingError("it is cut off")


def _require_ends(dataset: Dataset) -> None:
    """Refuse JPEG, JPEG-LS and JPEG 2000 without their last marker: decoders fill what is missing, and say nothing."""
    if dataset.file_meta.TransferSyntaxUID == RLELossless:
        return
    frames = int(dataset.get("NumberOfFrames") or 1)
    for number, frame in enumerate(generate_frames(dataset.PixelData, number_of_frames=frames), 1):
        # A frame may be padded.
        if _END not in frame[-4:]:
            raise TranscodingError(f"frame {number} of its pixels is cut off")


def _size(dataset: Dataset) -> int:
    frames, samples = int(dataset.get("NumberOfFrames") or 1), int(dataset.SamplesPerPixel)
    return frames * samples * int(dataset.Rows) * int(dataset.Columns) * -(-int(dataset.BitsAllocated) // 8)
