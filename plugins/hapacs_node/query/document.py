"""Metadata of one image as it is kept: compressed JSON without bulk data (DICOM PS3.18 10.4.1.1.2)."""

import json
import zlib
from collections.abc import Callable, Iterable
from functools import partial

from pydicom import Dataset

from hapacs_node.query import attributes, dicom_json
from hapacs_node.query.dicom_json import Json
from hapacs_node.record.identity import Identity

# Stands for the URL of the service. No text of a file holds it: `dicom_json.clean` removes such control characters.
_ROOT = "\1root"
_MARK = json.dumps(_ROOT)[1:-1].encode("ascii")


def attributes_of(dataset: Dataset, pixels: int | None, about: Identity) -> Json:
    """Return all attributes of an image; bulk data are links.

    Parameters
    ----------
    dataset, pixels
        What `dicom_json.read` returned.
    about : Identity
        UIDs of the image.
    """
    link = _links(about)
    found = dicom_json.of(dataset, link)
    if pixels is not None:
        key = attributes.key(pixels)
        found[key] = {"vr": dicom_json.PIXELS[pixels], "BulkDataURI": link(key)}
    return found


def packed(found: Json) -> bytes:
    """Return a document from attributes."""
    return zlib.compress(json.dumps(found, separators=(",", ":")).encode("ascii"), 1)


def unpacked(kept: bytes) -> Json:
    """Return the attributes of a document."""
    found: Json = json.loads(zlib.decompress(kept))
    return found


def array(documents: Iterable[bytes], root: str) -> bytes:
    """Return documents as one JSON array.

    Parameters
    ----------
    documents : iterable of bytes
        What `packed` returned.
    root : str
        URL of the DICOMweb service, without a slash at its end.
    """
    return b"[" + b",".join(map(zlib.decompress, documents)).replace(_MARK, root.encode()) + b"]"


def _links(about: Identity) -> Callable[[str], str]:
    return partial(_link, f"{_ROOT}/studies/{about.study}/series/{about.series}/instances/{about.sop}/bulk/")


def _link(place: str, path: str) -> str:
    return place + path
