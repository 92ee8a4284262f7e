"""The patient of a correction, and which attributes of an image belong to the patient (DICOM PS3.3 C.7.1.1)."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any, Self

from hapacs_node.errors import BadRequestError
from hapacs_node.query import attributes, dicom_json
from hapacs_node.query.dicom_json import Json

TAGS = {
    "PatientName": "00100010",
    "PatientID": "00100020",
    "IssuerOfPatientID": "00100021",
    "PatientBirthDate": "00100030",
    "PatientSex": "00100040",
}
"""The attributes that a correction gives, by keyword."""
_GROUP, _REFERENCED = "0010", "00081120"
# What was measured at the scan, or is a fact of who or what lay on the table: size, weight, pregnancy, species, breed.
_OF_THE_SCAN = frozenset(
    {
        "00101020", "00101021", "00101022", "00101023", "00101024", "00101030", "001021C0", "00102201", "00102202",
        "00102203", "00102292", "00102293", "00102294", "00102295", "00102296",
    }
)  # fmt: skip
_MOST = {"PatientName": 200, "PatientID": 64, "IssuerOfPatientID": 64}
_SEXES = frozenset({"", "M", "F", "O"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")


def is_patients(path: str) -> bool:
    """Whether an attribute belongs to the patient, and is replaced or removed when the patient is.

    All of the patient's group except what was measured at the scan: what the other patient's order brought along, such
    as other IDs, allergies or an address, must not stay.

    Parameters
    ----------
    path : str
        Its tag as in ``00100010``, possibly with a path below it.
    """
    key = path[:8]
    return (key.startswith(_GROUP) and key not in _OF_THE_SCAN) or key == _REFERENCED


def replaced(whole: Json, patient: Json) -> Json:
    """Return attributes with another patient, in the DICOM JSON model."""
    return {key: element for key, element in whole.items() if not is_patients(key)} | patient


def of_values(values: Mapping[str, str]) -> Json:
    """Check the attributes of a patient; return them in the DICOM JSON model.

    Parameters
    ----------
    values : mapping
        By keyword, see `TAGS`. A name has its component groups with ``=`` between them.

    Raises
    ------
    BadRequestError
        When one of them can't be in a file.
    """
    if unknown := set(values) - set(TAGS):
        raise BadRequestError(f"{', '.join(sorted(unknown))} is not one of {', '.join(TAGS)}")
    known = {keyword: values.get(keyword, "").strip() for keyword in TAGS}
    for keyword, text in known.items():
        if _CONTROL.search(text) or len(text) > _MOST.get(keyword, 16):
            raise BadRequestError(f"{keyword} has a backslash or control character, or is too long")
    if not known["PatientID"]:
        raise BadRequestError("PatientID is empty")
    groups = known["PatientName"].split("=")
    if len(groups) > 3 or any(len(group) > 64 or group.count("^") > 4 for group in groups):  # noqa: PLR2004 - PS3.5 6.2
        raise BadRequestError("PatientName is not family^given^middle^prefix^suffix, in at most three groups")
    if known["PatientBirthDate"] and not _is_date(known["PatientBirthDate"]):
        raise BadRequestError("PatientBirthDate is not YYYYMMDD")
    if known["PatientSex"] not in _SEXES:
        raise BadRequestError("PatientSex is not M, F or O")
    return made(known)


def made(values: Mapping[str, str]) -> Json:
    """Return the attributes of a patient in the DICOM JSON model.

    Parameters
    ----------
    values : mapping
        By keyword, see `TAGS`. Those that are missing are empty, and an issuer is left out (PS3.3 table C.7-1).
    """
    found: Json = {}
    for keyword, tag in TAGS.items():
        vr, text = attributes.vr(int(tag, 16)), values.get(keyword, "")
        if text or keyword != "IssuerOfPatientID":
            found[tag] = {"vr": vr, "Value": [dicom_json.value(text, vr)]} if text else {"vr": vr}
    return found


def _is_date(text: str) -> bool:
    try:
        return bool(re.fullmatch(r"[0-9]{8}", text, re.ASCII)) and bool(date.fromisoformat(text))
    except ValueError:
        return False


def values_of(shown: Json) -> dict[str, str]:
    """Return the attributes of a patient as text by keyword, as far as they are there."""
    return {keyword: text(shown[tag]) for keyword, tag in TAGS.items() if tag in shown}


def words(values: Mapping[str, str]) -> str:
    """Return the attributes of a patient in one line."""
    return ", ".join(f"{keyword} {value}" for keyword, value in values.items() if value)


def text(element: Mapping[str, object]) -> str:
    """Return the first value of an element of the DICOM JSON model as a file has it."""
    value = next(iter(element.get("Value") or ()), "")  # type: ignore[call-overload]
    if isinstance(value, dict):
        return "=".join(str(value.get(group, "")) for group in ("Alphabetic", "Ideographic", "Phonetic")).rstrip("=")
    return "" if value is None else str(value)


@dataclass(frozen=True)
class Move:
    """The move of a study to another patient, as it is in force.

    Attributes
    ----------
    patient : dict
        What `of_values` returned.
    at : str
        When it was made, as a value of DT.
    """

    patient: Json
    at: str

    @classmethod
    def of(cls, found: str | None) -> Self | None:
        """Read what the catalog returns for each image of a study."""
        if found is None:
            return None
        document = _read(found)
        return cls(document["patient"], document["at"])


@lru_cache(maxsize=256)
def _read(found: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(found)
    return document
