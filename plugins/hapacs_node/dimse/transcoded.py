"""Keeps a transcoded image from saying more than the received one.

GDCM, which decodes JPEG 2000 and JPEG-LS for Orthanc, writes attributes that its class of image may have and that were
not there, with values of its own: a position of 0, a spacing of 1 mm. A reader would measure with them.
"""

from io import BytesIO

from pydicom import dcmread, dcmwrite
from pydicom.tag import BaseTag, Tag

_PIXEL_DATA = 0x7FE0
# Image Pixel Module (DICOM PS3.3 C.7.6.3) and lossy compression (C.7.6.1.1.5): they belong to the transfer syntax.
_OF_PIXELS = frozenset(map(Tag, (
    0x00280002, 0x00280004, 0x00280006, 0x00280008, 0x00280010, 0x00280011, 0x00280034, 0x00280100, 0x00280101,
    0x00280102, 0x00280103, 0x00280106, 0x00280107, 0x00282110, 0x00282112, 0x00282114,
)))  # fmt: skip


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
