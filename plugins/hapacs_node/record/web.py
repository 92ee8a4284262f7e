"""Parses the path of a DICOMweb request. The query string is not read, because it can hold a patient's name."""

import re
from dataclasses import dataclass
from typing import Self

_UID = r"[0-9.]{1,64}"
_PATH = re.compile(
    rf"/dicom-web(?:/studies(?:/(?P<study>{_UID}))?)?(?:/series(?:/(?P<series>{_UID}))?)?"
    rf"(?:/instances(?:/(?P<sop>{_UID}))?)?(?:/(?P<part>[a-z]+)(?:/[^?]*)?)?/?",
    re.ASCII,
)
_SEARCHES = {"studies", "series", "instances"}


@dataclass(frozen=True)
class Asked:
    """One request.

    Attributes
    ----------
    event : str
        ``queried`` for a search, ``requested`` for an image or a part of it.
    what : str
        The level of a search; or ``files``, ``metadata``, ``frames``, ``rendered``, ...
    study, series, sop : str or None
        UIDs in the path.
    """

    event: str
    what: str
    study: str | None
    series: str | None
    sop: str | None

    @classmethod
    def of(cls, path: str) -> Self | None:
        """Read a path; None when it is none of DICOMweb's."""
        found = _PATH.fullmatch(path)
        if found is None:
            return None
        last = path.rstrip("/").rpartition("/")[2]
        if last in _SEARCHES:
            return cls("queried", last, found["study"], found["series"], None)
        return cls("requested", found["part"] or "files", found["study"], found["series"], found["sop"])
