"""Pictures of images (DICOM PS3.18 10.4.1.1.3), which Orthanc makes.

Orthanc's DICOMweb plugin answers 404 when an image was stored under several Patient IDs. Then Orthanc itself is asked
for the picture of the one that was stored last, by its own identifier.
"""

import re
from dataclasses import dataclass
from email.message import Message
from typing import Self
from urllib.parse import parse_qs, urlencode

from hapacs_node.catalog.retrieval import Named
from hapacs_node.errors import BadRequestError

_UID = r"[0-9.]{1,64}"
_PATH = re.compile(
    rf"/dicom-web/studies/({_UID})/series/({_UID})/instances/({_UID})(?:/frames/([0-9]{{1,9}}))?/(rendered|thumbnail)/?",
    re.ASCII,
)
_NUMBER = r"-?[0-9]+(?:\.[0-9]+)?"
_WINDOW = re.compile(rf"({_NUMBER}),({_NUMBER})(?:,([A-Za-z-]+))?", re.ASCII)
_VIEWPORT = re.compile(r"([0-9]{1,5}),([0-9]{1,5})", re.ASCII)
QUALITY = re.compile(r"[1-9][0-9]?|100", re.ASCII)
_THUMBNAIL_PIXELS = 128
_PASSED = ("Accept", "Host", "X-Hapacs-User", "X-Forwarded-For", "X-Forwarded-Proto", "Forwarded")


@dataclass(frozen=True)
class Asked:
    """A request for a picture.

    Attributes
    ----------
    named : Named
        The instance.
    frame : int
        From 1.
    thumbnail : bool
        Whether a small picture is asked for.
    """

    named: Named
    frame: int
    thumbnail: bool

    @classmethod
    def of(cls, path: str) -> Self | None:
        """Read a path; None when it asks for no picture of one instance.

        Raises
        ------
        BadRequestError
            When a frame has the number 0.
        """
        if (found := _PATH.fullmatch(path)) is None:
            return None
        study, series, instance, number, what = found.groups()
        if number is not None and int(number) == 0:
            raise BadRequestError("the first frame has the number 1")
        return cls(Named(study, series, instance), int(number or 1), what == "thumbnail")

    def of_orthanc(self, name: str, query: str) -> str:
        """Return Orthanc's own path for the picture.

        Parameters
        ----------
        name : str
            Orthanc's identifier of the instance.
        query : str
            Query string of the request (PS3.18 8.3.5).

        Raises
        ------
        BadRequestError
            When a parameter has no meaning.
        """
        asked = {key: values[-1] for key, values in parse_qs(query).items()}
        wanted: dict[str, str] = {}
        if "window" in asked:
            if (window := _WINDOW.fullmatch(asked["window"])) is None:
                raise BadRequestError("window is center,width,function")
            if (window[3] or "linear").lower() != "linear":
                raise BadRequestError("of this image only linear windows can be had: it has several patient IDs")
            wanted |= {"window-center": window[1], "window-width": window[2]}
        if "viewport" in asked:
            if (viewport := _VIEWPORT.fullmatch(asked["viewport"])) is None:
                raise BadRequestError("of this image viewport is width,height: it has several patient IDs")
            wanted |= {"width": viewport[1], "height": viewport[2], "smooth": "1"}
        elif self.thumbnail:
            wanted |= {"width": str(_THUMBNAIL_PIXELS), "height": str(_THUMBNAIL_PIXELS), "smooth": "1"}
        if "quality" in asked:
            if QUALITY.fullmatch(asked["quality"]) is None:
                raise BadRequestError("quality is a number from 1 to 100")
            wanted["quality"] = asked["quality"]
        return f"/instances/{name}/frames/{self.frame - 1}/rendered?{urlencode(wanted)}".rstrip("?")


def passed(headers: Message) -> dict[str, str]:
    """Return the headers of a request that Orthanc gets too."""
    return {name: value for name in _PASSED if (value := headers.get(name))}
