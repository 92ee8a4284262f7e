"""What the query tables hold of an image: its attributes of each level, as shown and as compared."""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydicom import Dataset

from hapacs_node import log
from hapacs_node.query import attributes, dicom_json, document, matching
from hapacs_node.query.attributes import Level
from hapacs_node.query.dicom_json import Json, UnreadableError
from hapacs_node.record import identity
from hapacs_node.record.identity import Identity

_LOG = log.get("query")
# PostgreSQL's indexes take no longer values, and no search needs them.
_COMPARED_CHARACTERS = 256
# One more when `attributes` or the normal forms change.
_VERSION = 2
HEAD_BYTES = 65_536
"""Length of a beginning, far more than most images have before their pixel data."""
FROM_INDEX = "index"
"""`Header.described_as` of what was copied from Orthanc's index."""
_TAGS = tuple(attributes.LEVELS)
_KEYS = {level: tuple(attributes.key(tag) for tag in _TAGS if attributes.LEVELS[tag] == level) for level in Level}
_PATIENT_ID, _PATIENT_NAME, _ACCESSION = "00100020", "00100010", "00080050"
_STUDY_DATE, _STUDY_TIME, _MODALITY, _SOP_CLASS, _NUMBER = "00080020", "00080030", "00080060", "00080016", "00200013"


@dataclass(frozen=True)
class Described:
    """The attributes of one level.

    Attributes
    ----------
    shown : dict
        In the DICOM JSON model.
    found : dict
        Path of tags (``00400275.00400009``) to the normal forms of its values.
    """

    shown: Json
    found: dict[str, list[str]]

    def first(self, path: str) -> str:
        """Return the first normal form at a path; empty without one."""
        return next(iter(self.found.get(path, ())), "")


@dataclass(frozen=True)
class Header:
    """The attributes of one image.

    Attributes
    ----------
    study, series, sop : str
        Its UIDs.
    levels : dict
        Its attributes by level.
    described_as : str
        How it was read: see `described_as`.
    has_pixels : bool
        Whether the beginning of the pixel data was seen, before which all attributes are.
    document : bytes or None
        Its metadata (`document.packed`); None when more than a beginning has to be read for it.
    """

    study: str
    series: str
    sop: str
    levels: dict[Level, Described]
    described_as: str
    has_pixels: bool = False
    document: bytes | None = None

    def row(self) -> dict[str, Any]:
        """Return the values of the query tables' columns."""
        study, series, instance = (self.levels[level] for level in Level)
        number = instance.first(_NUMBER)
        return {
            "described_as": self.described_as,
            "document": None if self.document is None else base64.b64encode(self.document).decode("ascii"),
            "study": self.study,
            "series": self.series,
            "sop": self.sop,
            "patient_id": study.first(_PATIENT_ID),
            "names": study.found.get(_PATIENT_NAME, []),
            "accession": study.first(_ACCESSION),
            "date": study.first(_STUDY_DATE),
            "time": study.first(_STUDY_TIME),
            "modality": series.first(_MODALITY),
            "sop_class": instance.first(_SOP_CLASS),
            "number": int(number) if number.lstrip("-").isdigit() and abs(int(number)) < 1 << 31 else None,
            **{
                f"{level.name.lower()}_{part}": getattr(self.levels[level], part)
                for level in Level
                for part in ("shown", "found")
            },
        }


def of(content: bytes, undeclared: str) -> Header | None:
    """Describe a file.

    Parameters
    ----------
    content : bytes
        A file as in PS3.10, or its beginning.
    undeclared : str
        Character set of a file that declares none.

    Returns
    -------
    Header or None
        With the UIDs alone when the rest can't be read; None without UIDs.
    """
    about = identity.of(content)
    if about.study is None or about.series is None or about.sop is None:
        return None
    kept = None
    try:
        if (found := _beginning(content, undeclared)) is not None:
            whole = document.attributes_of(*found, about)
            kept = document.packed(whole)
            pixels = found[1]
        else:
            # Of a large header only what searches need.
            dataset, pixels = dicom_json.read(content, undeclared, _TAGS)
            whole = dicom_json.of(dataset)
    except (UnreadableError, RecursionError) as error:
        _LOG.warning(log.line("header_unreadable", sop=about.sop, error=type(error).__name__))
        whole, pixels = {}, None
    # The index goes by these, whatever else the file has.
    levels = _levels(whole | dicom_json.identifiers(about))
    as_now = described_as(undeclared)
    return Header(about.study, about.series, about.sop, levels, as_now, pixels is not None, kept)


def _beginning(content: bytes, undeclared: str) -> tuple[Dataset, int | None] | None:
    """Read the beginning of a file; None when not all attributes are in it."""
    head = content[:HEAD_BYTES]
    try:
        dataset, pixels = dicom_json.read(head, undeclared)
    except UnreadableError:
        return None
    return (dataset, pixels) if pixels is not None or len(content) < HEAD_BYTES else None


def of_index(study: str, series: str, sop: str, tags: Mapping[str, str]) -> Header:
    """Describe an image by what Orthanc's index has, until its file is read.

    Parameters
    ----------
    study, series, sop : str
        Its UIDs.
    tags : mapping
        Values by tag, such as ``00100010``, several ones with backslashes between them.
    """
    whole: Json = {}
    for tag, text in tags.items():
        kind = attributes.vr(int(tag, 16))
        values = text.split("\\") if kind not in {"LT", "ST", "UT"} else [text]
        whole[tag] = {"vr": kind, "Value": [dicom_json.value(value, kind) for value in values]}
    return Header(study, series, sop, _levels(whole | dicom_json.identifiers(Identity(study, series, sop))), FROM_INDEX)


def described(shown: Json) -> Described:
    """Return attributes in the DICOM JSON model with the normal forms of their values."""
    return Described(shown, _found(shown))


def described_as(undeclared: str) -> str:
    """Return the name of this program's way to read a file; another way makes rows outdated."""
    return f"{_VERSION} {undeclared}"


def _levels(whole: Json) -> dict[Level, Described]:
    levels = {}
    for level, keys in _KEYS.items():
        shown = {key: _inline(whole[key]) for key in keys if key in whole}
        levels[level] = described(shown)
    return levels


def _inline(element: dict[str, Any]) -> dict[str, Any]:
    """Leave bulk data out of the items of a sequence."""
    if element["vr"] != "SQ" or "Value" not in element:
        return element
    items = [
        {key: _inline(inner) for key, inner in item.items() if "BulkDataURI" not in inner} for item in element["Value"]
    ]
    return {**element, "Value": items}


def _found(shown: Json) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path, value in _walk(shown):
        values = found.setdefault(path, [])
        if value and value not in values:
            values.append(value[:_COMPARED_CHARACTERS])
    return {path: values for path, values in found.items() if values}


def _walk(shown: Json, above: str = "") -> Iterator[tuple[str, str]]:
    for key, element in shown.items():
        path = f"{above}{key}"
        for value in element.get("Value", ()):
            if element["vr"] == "SQ":
                yield from _walk(value, f"{path}.")
            elif isinstance(value, dict):
                name = "=".join(value.get(group, "") for group in ("Alphabetic", "Ideographic", "Phonetic"))
                for form in matching.normal(name, "PN"):
                    yield path, form
            elif value is not None:
                for form in matching.normal(str(value), element["vr"]):
                    yield path, form
