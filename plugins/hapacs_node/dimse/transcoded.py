"""Keeps a transcoded image from saying more than the received one.

GDCM, which decodes JPEG 2000 and JPEG-LS for Orthanc, writes attributes that its class of image may have and that were
not there, with values of its own: a position of 0, a spacing of 1 mm. A reader would measure with them.
"""

from io import BytesIO

from pydicom import dcmread, dcmwrite
from pydicom.tag import BaseTag

_PIXEL_DATA = 0x7FE0
# Image Pixel Module (DICOM PS3.3 C.7.6.3) and lossy compression (C.7.6.1.1.5): they belong to the transfer syntax.
_OF_PIXELS = frozenset({
    0x00280002, 0x00280004, 0x00280006, 0x00280008, 0x00280010, 0x00280011, 0x00280034, 0x00280100, 0x00280101,
    0x00280102, 0x00280103, 0x00280106, 0x00280107, 0x00282110, 0x00282112, 0x00282114,
})  # fmt: skip


def without_additions(received: bytes, made: bytes) -> bytes:
    """Return a transcoded file without the attributes that the received one does not have.

    Parameters
    ----------
    received, made : bytes
        DICOM files. When nothing was added, `made` is returned as it is.
    """
    before, after = dcmread(BytesIO(received), stop_before_pixels=True), dcmread(BytesIO(made))
    added = [tag for tag in after.keys() - before.keys() if not _is_of_pixels(tag)]
    if not added:
        return made
    for tag in added:
        del after[tag]
    output = BytesIO()
    dcmwrite(output, after, enforce_file_format=True)
    return output.getvalue()


def _is_of_pixels(tag: BaseTag) -> bool:
    return tag.group == _PIXEL_DATA or tag in _OF_PIXELS
