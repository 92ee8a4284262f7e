"""WADO-URI (DICOM PS3.18 9): one object by parameters, answered as WADO-RS answers it.

Older viewers know nothing else. A request is read as one of WADO-RS, so both give the same object in the same way.
"""

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import parse_qs, quote, urlencode

from hapacs_node.errors import BadRequestError
from hapacs_node.retrieve import accept, rendering

PATH = "/wado"
_DICOM = "application/dicom"
_PICTURES = ("image/jpeg", "image/png")
_UIDS = ("studyUID", "seriesUID", "objectUID")
_UID = re.compile(r"[0-9.]{1,64}", re.ASCII)
_COUNT = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)
_FRAME = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,2})?", re.ASCII)
# An answer without them would be another picture, or would name the patient.
_REFUSED = ("anonymize", "region", "presentationUID", "presentationSeriesUID", "annotation")


@dataclass(frozen=True)
class Asked:
    """A request, as one of WADO-RS.

    Attributes
    ----------
    path : str
        Path and query string.
    accept : str
        The header of the same name; empty when nothing that is asked for can be given.
    """

    path: str
    accept: str

    @classmethod
    def of(cls, query: str) -> Self:
        """Read the parameters of a request (PS3.18 9.1.2).

        Raises
        ------
        BadRequestError
            When one is missing, has no meaning, or is not supported and must not be ignored.
        """
        asked = {name: values[-1] for name, values in parse_qs(query).items()}
        if asked.get("requestType") != "WADO":
            raise BadRequestError("requestType has to be WADO")
        for name in _REFUSED:
            if name in asked:
                raise BadRequestError(f"{name} is not supported")
        study, series, instance = (_read(asked, name, _UID, "a UID") for name in _UIDS)
        path = f"/dicom-web/studies/{study}/series/{series}/instances/{instance}"
        # Without a type a picture is meant (PS3.18 9.1.2.1.3).
        wanted = [one.type for one in accept.ranges([asked.get("contentType", _PICTURES[0])])]
        chosen = next((_given(one) for one in wanted if _given(one)), "")
        if chosen != _DICOM:
            return cls(_picture(path, asked), chosen)
        syntax = _read(asked, "transferSyntax", _UID, "a UID") if "transferSyntax" in asked else ""
        return cls(path, f"{_DICOM}; transfer-syntax={syntax}" if syntax else _DICOM)


def _given(wanted: str) -> str:
    """Return the type of the answer to one that is asked for, or empty."""
    if wanted in {accept.ANY, "image/*"}:
        return _PICTURES[0]
    return wanted if wanted in {*_PICTURES, _DICOM} else ""


def _read(asked: dict[str, str], name: str, form: re.Pattern[str], what: str) -> str:
    value = asked.get(name, "")
    if form.fullmatch(value) is None:
        raise BadRequestError(f"{name} has to be {what}")
    return value


def _picture(path: str, asked: dict[str, str]) -> str:
    """Return the path of a picture (PS3.18 8.3.5.1 and 9.1.2.2)."""
    wanted = {}
    if "windowCenter" in asked or "windowWidth" in asked:
        window = [_read(asked, name, _NUMBER, "a number") for name in ("windowCenter", "windowWidth")]
        wanted["window"] = ",".join([*(f"{float(number):.10g}" for number in window), "linear"])
    if "rows" in asked or "columns" in asked:
        # With one of them, the picture fits into a square: its shape stays.
        known = asked.get("rows", asked.get("columns", ""))
        sides = {name: asked.get(name, known) for name in ("columns", "rows")}
        wanted["viewport"] = ",".join(_read(sides, name, _COUNT, "a number of pixels") for name in sides)
    if "imageQuality" in asked:
        wanted["quality"] = _read(asked, "imageQuality", rendering.QUALITY, "a number from 1 to 100")
    if "frameNumber" in asked:
        path += f"/frames/{_read(asked, 'frameNumber', _FRAME, 'a number from 1 on')}"
    return f"{path}/rendered?{urlencode(wanted, safe=',', quote_via=quote)}".rstrip("?")
