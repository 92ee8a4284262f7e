"""An image as it leaves: its bytes, and what its file meta information says of them."""

from dataclasses import dataclass
from io import BytesIO

from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset, read_preamble
from pydicom.tag import BaseTag
from pydicom.uid import UID

from hapacs_node.errors import NodeError

_META_GROUP = 2

Pair = tuple[str, str]
"""SOP class and transfer syntax."""


@dataclass(frozen=True)
class Message:
    """An image as a request carries it.

    Attributes
    ----------
    sop_class, sop, transfer_syntax : UID
        From the file meta information.
    file : bytes
        The whole DICOM file.
    dataset : memoryview
        The encoded data set in it.
    """

    sop_class: UID
    sop: UID
    transfer_syntax: UID
    file: bytes
    dataset: memoryview


def parse(content: bytes) -> Message:
    """Split a DICOM file into its names and its encoded data set.

    Raises
    ------
    NodeError
        When it is no DICOM file.
    """

    def is_data(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        return tag.group != _META_GROUP

    file = BytesIO(content)
    try:
        read_preamble(file, force=False)
        meta = read_dataset(file, is_implicit_VR=False, is_little_endian=True, stop_when=is_data)
        names = (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID)
    except (InvalidDicomError, AttributeError, EOFError) as error:
        raise NodeError(f"the image is no DICOM file with file meta information: {error}") from None
    return Message(*names, content, memoryview(content)[file.tell() :])
