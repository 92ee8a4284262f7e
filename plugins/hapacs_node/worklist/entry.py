"""Checks an entry of the worklist, in the DICOM JSON model, before it is kept (PS3.4 table K.6-1, PS3.18 annex F).

What is kept can be sent: an entry that can't be encoded would end each query that it matches.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Self
from uuid import NAMESPACE_OID, UUID, uuid5

from pydicom import Dataset
from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from hapacs_node.errors import BadRequestError
from hapacs_node.query import attributes, dicom_json
from hapacs_node.query.dicom_json import Json

_TAG = re.compile(r"[0-9A-F]{8}", re.ASCII)
_UID = re.compile(r"[0-9.]{1,64}", re.ASCII)
_TIME = re.compile(r"[0-9]{2}([0-9]{2}([0-9]{2}(\.[0-9]{1,6})?)?)?", re.ASCII)
_TEXTS = frozenset({"AE", "AS", "CS", "DA", "DT", "LO", "LT", "SH", "ST", "TM", "UC", "UI", "UR", "UT"})
_VRS = _TEXTS | attributes.NUMBERS | {"PN", "SQ"}
_GROUPS = frozenset({"Alphabetic", "Ideographic", "Phonetic"})
_DEPTH = 8
_CHARACTER_SET = "00080005"


def _key(keyword: str) -> str:
    return attributes.key(tag_for_keyword(keyword) or 0)


STEPS = _key("ScheduledProcedureStepSequence")
# Return keys of type 1.
_NEEDED = tuple(map(_key, ("PatientName", "PatientID", "StudyInstanceUID", "RequestedProcedureID")))
_NEEDED_OF_STEP = tuple(
    map(
        _key,
        (
            "ScheduledStationAETitle",
            "ScheduledProcedureStepStartDate",
            "ScheduledProcedureStepStartTime",
            "Modality",
            "ScheduledProcedureStepID",
        ),
    )
)
_STUDY, _ID = _key("StudyInstanceUID"), _key("ScheduledProcedureStepID")
DATE, TIME = _key("ScheduledProcedureStepStartDate"), _key("ScheduledProcedureStepStartTime")


@dataclass(frozen=True)
class Entry:
    """One scheduled procedure step.

    Attributes
    ----------
    name : UUID
        Made of Study Instance UID and Scheduled Procedure Step ID: a RIS that sends an entry again replaces it.
    document : dict
        Its attributes in the DICOM JSON model.
    starts : date
        When the step starts.
    """

    name: UUID
    document: Json
    starts: date

    @classmethod
    def of(cls, content: bytes) -> Self:
        """Read one.

        Raises
        ------
        BadRequestError
            When it can't be used; the message names the attribute, and no value.
        """
        try:
            document = json.loads(content)
        except (ValueError, RecursionError):
            raise BadRequestError("the entry is not JSON") from None
        checked = _checked(document, 0)
        _require(checked, _NEEDED)
        steps = checked.get(STEPS, {}).get("Value", [])
        if len(steps) != 1:
            raise BadRequestError(f"{_named(STEPS)} must have one item: send an entry for each step")
        _require(steps[0], _NEEDED_OF_STEP)
        study, step = _one(checked, _STUDY), _one(steps[0], _ID)
        if _UID.fullmatch(study) is None:
            raise BadRequestError(f"{_named(_STUDY)} must be a UID")
        if _TIME.fullmatch(_one(steps[0], TIME)) is None:
            raise BadRequestError(f"{_named(TIME)} must be HHMMSS")
        try:
            starts = datetime.strptime(_one(steps[0], DATE), "%Y%m%d").replace(tzinfo=UTC).date()
        except ValueError:
            raise BadRequestError(f"{_named(DATE)} must be YYYYMMDD") from None
        _encode(checked)
        return cls(uuid5(NAMESPACE_OID, f"{study}/{step}"), checked, starts)


def _named(key: str) -> str:
    return keyword_for_tag(int(key, 16)) or key


def _one(document: Json, key: str) -> str:
    return str(document[key]["Value"][0])


def _require(document: Json, keys: tuple[str, ...]) -> None:
    for key in keys:
        if not any(document.get(key, {}).get("Value", [])):
            raise BadRequestError(f"{_named(key)} must have a value")


def _checked(document: Any, depth: int) -> Json:
    if not isinstance(document, dict) or depth > _DEPTH:
        raise BadRequestError(f"an entry is an object of attributes, with sequences in at most {_DEPTH} levels")
    found: Json = {}
    for key, element in document.items():
        if _TAG.fullmatch(key) is None or key.startswith("0002") or key.endswith("0000"):
            raise BadRequestError("an attribute is named by its tag, in eight hexadecimal digits of capital letters")
        vr = str(element.get("vr")) if isinstance(element, dict) else ""
        if vr not in _VRS or not set(element) <= {"vr", "Value"}:
            raise BadRequestError(f"{_named(key)} must have a vr of text or numbers, a Value, and nothing else")
        values = element.get("Value", [])
        if not isinstance(values, list):
            raise BadRequestError(f"Value of {_named(key)} must be an array")
        if key != _CHARACTER_SET:
            found[key] = {"vr": vr, "Value": list(_values(key, vr, values, depth))}
    return found


def _values(key: str, vr: str, values: list[Any], depth: int) -> Iterator[Any]:
    for value in values:
        if vr == "SQ":
            yield _checked(value, depth + 1)
        elif vr == "PN" and isinstance(value, dict) and set(value) <= _GROUPS:
            yield {group: dicom_json.clean(str(text)) for group, text in value.items()}
        elif value is None:
            yield None
        elif vr in _TEXTS and isinstance(value, str):
            yield dicom_json.clean(value)
        elif vr in attributes.NUMBERS and isinstance(value, int | float | str):
            yield value
        else:
            raise BadRequestError(f"{_named(key)} has a value that does not belong to its vr")


def _encode(document: Json) -> None:
    try:
        made = Dataset.from_json({**document, _CHARACTER_SET: {"vr": "CS", "Value": ["ISO_IR 192"]}})
        for implicit in (True, False):
            stream = DicomBytesIO()
            stream.is_implicit_VR, stream.is_little_endian = implicit, True
            write_dataset(stream, made)
    except Exception as error:  # noqa: BLE001 - pydicom raises anything, and its text could quote a value
        raise BadRequestError(f"the entry can't be encoded: {type(error).__name__}") from None
