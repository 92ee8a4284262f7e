"""SOP classes that a site can take besides those that Orthanc knows: private ones, and ones that are younger."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom.uid import UID

# PS3.5 9.1: components of digits without leading zeros, at most 64 characters.
_UID = re.compile(r"(0|[1-9][0-9]*)([.](0|[1-9][0-9]*))+")
_LONGEST = 64
_OBJECTS = "1.2.840.10008.5.1.4."
WITHOUT_STUDY = frozenset(
    {
        "1.2.840.10008.1.3.10",
        *(f"1.2.840.10008.5.1.4.{end}" for end in ("38.1", "39.1", "43.1", "44.1", "45.1")),
        *(f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("200.1", "200.3", "200.7", "201.1")),
    }
)
"""Storage classes whose objects belong to no study: directories, hanging protocols, palettes, implants, protocols."""
YOUNGER = {
    "1.2.840.10008.5.1.4.1.1.9.100.1": "Waveform Presentation State Storage",
    "1.2.840.10008.5.1.4.1.1.9.100.2": "Waveform Acquisition Presentation State Storage",
    "1.2.840.10008.5.1.4.1.1.66.7": "Label Map Segmentation Storage",
    "1.2.840.10008.5.1.4.1.1.66.8": "Height Map Segmentation Storage",
    "1.2.840.10008.5.1.4.1.1.601.3": "DICONDE Thermography Image Storage",
    "1.2.840.10008.5.1.4.1.1.601.4": "DICONDE Thermography Multi-frame Image Storage",
}
"""Storage classes that are taken, unknown to pydicom. The role orthanc adds the first two, DCMTK 3.6.9 has the rest."""


def _known(uid: str) -> UID:
    from pydicom.uid import UID  # noqa: PLC0415 - slow to import, and few settings name one

    return UID(uid)


def name(uid: str) -> str:
    """Return the name of a SOP class; the UID where it is not known."""
    return YOUNGER.get(uid) or _known(uid).name


def is_storage(uid: str) -> bool:
    """Whether DICOM has a storage class with this UID (PS3.6 annex A)."""
    if uid in YOUNGER:
        return True
    known = _known(uid)
    return known.type == "SOP Class" and "Storage" in known.name and "Commitment" not in known.name


def problem(uid: str) -> str:
    """Return why a text can't be one more SOP class to take, or an empty string."""
    if len(uid) > _LONGEST or not _UID.fullmatch(uid):
        return "a SOP class is a UID: numbers with dots between them, none with a leading zero, at most 64 characters"
    if uid in WITHOUT_STUDY:
        return f"{name(uid)} belongs to no study, and the archive keeps studies; remove it"
    if is_storage(uid):
        return f"{name(uid)} is taken already; remove it"
    if not _known(uid).is_private and (name(uid) != uid or not uid.startswith(_OBJECTS)):
        return "this UID of DICOM is no storage class; take that of the sender's conformance statement"
    return ""
