"""Compares two encodings of a data set.

A PACS that receives a data set by C-STORE may re-encode it: Orthanc's DCMTK recomputes group lengths and writes pixel
data in fragments with VR OB (PS3.5 A.4). Data Set Trailing Padding has no meaning (PS3.10 7.2). All other elements must
be equal.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from pydicom import DataElement, Dataset

_GROUP_LENGTH_ELEMENT = 0x0000
_TRAILING_PADDING = 0xFFFCFFFC
_BYTES = {"OB", "OW", "OB or OW", "UN"}


def differences(sent: Dataset, kept: Dataset) -> list[str]:
    """Return the elements that differ, by tag and keyword; never a value, which may be a patient's.

    Parameters
    ----------
    sent, kept
        Decoded data sets.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(_differences(sent, kept))


def _differences(sent: Dataset, kept: Dataset) -> list[str]:
    tags = {*sent.keys(), *kept.keys()} - {_TRAILING_PADDING}
    found = []
    for tag in sorted(tag for tag in tags if tag.element != _GROUP_LENGTH_ELEMENT):
        if tag not in sent or tag not in kept:
            found.append(f"{tag} is only in what was {'sent' if tag in sent else 'kept'}")
        elif not _same(sent[tag], kept[tag]):
            found.append(f"{tag} {sent[tag].keyword} differs")
    return found


def _same(one: DataElement, other: DataElement) -> bool:
    if one.VR == other.VR == "SQ":
        return len(one.value) == len(other.value) and not any(
            _differences(first, second) for first, second in zip(one.value, other.value, strict=True)
        )
    if one.VR in _BYTES and other.VR in _BYTES:
        return bytes(one.value or b"") == bytes(other.value or b"")
    return one.VR == other.VR and bool(one.value == other.value)


def pixels(dataset: Dataset) -> np.ndarray[Any, Any] | None:
    """Decode the pixel data; None without pixel data, or when no installed decoder can decode it."""
    if "PixelData" not in dataset:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return dataset.pixel_array
        # Decoders raise all of these for real files that violate the standard.
        except (ValueError, RuntimeError, AttributeError, NotImplementedError, KeyError, IndexError, TypeError):
            return None
