"""Parses QIDO-RS requests and writes their answers (DICOM PS3.18 8.3.4, 10.6)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import unquote_plus

from pydicom.datadict import keyword_dict

from hapacs_node.errors import BadRequestError
from hapacs_node.query import attributes
from hapacs_node.query.attributes import Level
from hapacs_node.query.criteria import Criterion, Found, Search, criterion, uid

_UID = r"[0-9.]{1,64}"
_PATH = re.compile(
    rf"/dicom-web(?:/studies/(?P<study>{_UID})(?:/series/(?P<series>{_UID}))?)?/(?P<what>studies|series|instances)/?",
    re.ASCII,
)
_WHAT = {"studies": Level.STUDY, "series": Level.SERIES, "instances": Level.INSTANCE}
_HEXADECIMAL = re.compile(r"[0-9A-Fa-f]{8}", re.ASCII)
_MOST = 20_000
_DIGITS = 12
# PS3.18 8.3.4.4: what a server may leave out, it says so.
_NO_FUZZY = "The fuzzymatching parameter is not supported. Only literal matching has been performed."


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes
    ----------
    search : Search
        What is searched.
    fields : frozenset of int or None
        Attributes that the answers have; None for all.
    warnings : tuple of str
        What was ignored.
    """

    search: Search
    fields: frozenset[int] | None
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, target: str) -> Self | None:
        """Read path and query of a URL; None when it is not a search.

        Raises
        ------
        BadRequestError
            When a parameter has no meaning.
        """
        path, _, query = target.partition("?")
        found = _PATH.fullmatch(unquote_plus(path))
        if found is None or (found["what"] == "studies" and found["study"]):
            return None
        level = _WHAT[found["what"]]
        if found["series"] and level is not Level.INSTANCE:
            return None
        above = {Level.STUDY: found["study"], Level.SERIES: found["series"]}
        criteria = [uid(one, value) for one, value in above.items() if value]
        # Without the UID in the path, answers couldn't be told apart (PS3.18 10.6.3.3).
        unnamed = [one for one, value in above.items() if one < level and not value]
        fields: set[int] | None = set().union(*(attributes.REQUIRED[one] for one in (level, *unnamed)))
        warnings: list[str] = []
        page = {"limit": _MOST, "offset": 0}
        for name, value in _parameters(query):
            if name in page:
                page[name] = _number(name, value)
            elif name == "fuzzymatching":
                warnings += [_NO_FUZZY] if value.lower() == "true" else []
            elif name == "includefield":
                fields = _included(value, fields, warnings)
            else:
                _add(name, value, criteria, fields, warnings)
        asked = Search(level, tuple(criteria), min(page["limit"], _MOST), page["offset"])
        return cls(asked, None if fields is None else frozenset(fields), tuple(warnings))

    def answer(self, found: Sequence[Found], root: str, title: str) -> list[dict[str, Any]]:
        """Return the answers in the DICOM JSON model.

        Parameters
        ----------
        found : sequence of Found
            What the search found.
        root : str
            URL of the DICOMweb service, without a slash at its end.
        title : str
            AE title from which the images can be retrieved.
        """
        wanted = None if self.fields is None else {attributes.key(tag) for tag in self.fields}
        answers = []
        for one in found:
            whole = {**one.shown, **computed(one, self.search.level, root, title)}
            shown = {key: whole[key] for key in sorted(whole) if wanted is None or key in wanted}
            # A required attribute without a value is there all the same (PS3.18 10.6.3.3).
            for tag in attributes.REQUIRED[self.search.level]:
                if tag not in _IF_PRESENT:
                    shown.setdefault(attributes.key(tag), {"vr": attributes.vr(tag)})
            shown["00080005"] = {"vr": "CS", "Value": ["ISO_IR 192"]}
            answers.append(shown)
        return answers


_IF_PRESENT = frozenset(
    keyword_dict[name]
    for name in (
        "TimezoneOffsetFromUTC", "SeriesDescription", "StudyDescription", "Rows", "Columns", "BitsAllocated",
        "NumberOfFrames", "RequestAttributesSequence", "PerformedProcedureStepStartDate",
        "PerformedProcedureStepStartTime", "SeriesDate", "SeriesTime", "BodyPartExamined", "Laterality",
    )
)  # fmt: skip


def computed(one: Found, level: Level, root: str, title: str) -> dict[str, dict[str, Any]]:
    """Return the attributes of an answer that no file has."""
    counts = one.counts
    url = f"{root}/studies/{one.study}"
    if level > Level.STUDY:
        url += f"/series/{one.series}"
    if level > Level.SERIES:
        url += f"/instances/{one.sop}"
    answer: dict[str, dict[str, Any]] = {
        "00080054": {"vr": "AE", "Value": [title]},
        "00080056": {"vr": "CS", "Value": ["ONLINE"]},
        "00080061": {"vr": "CS", "Value": list(counts.modalities)},
        "00080062": {"vr": "UI", "Value": list(counts.classes)},
        "00081190": {"vr": "UR", "Value": [url]},
        "00201206": {"vr": "IS", "Value": [counts.series]},
        "00201208": {"vr": "IS", "Value": [counts.instances]},
    }
    if level > Level.STUDY:
        answer["00201209"] = {"vr": "IS", "Value": [counts.series_instances]}
    return {key: element if element["Value"] else {"vr": element["vr"]} for key, element in answer.items()}


def _parameters(query: str) -> list[tuple[str, str]]:
    pairs = (part.partition("=") for part in query.split("&") if part)
    try:
        decoded = [
            (unquote_plus(name, errors="strict"), unquote_plus(value, errors="strict")) for name, _, value in pairs
        ]
    except UnicodeDecodeError:
        raise BadRequestError("the query is not percent-encoded UTF-8 (RFC 3986)") from None
    # No value has a zero byte, which PostgreSQL can't hold.
    return [(name, value.replace("\0", "")) for name, value in decoded]


def _number(name: str, value: str) -> int:
    if not value.isascii() or not value.isdigit() or len(value) > _DIGITS:
        raise BadRequestError(f"{name} must be a whole number, it is {value[:20]!r}")
    return int(value)


def _path(name: str) -> tuple[int, ...] | None:
    """Return the tags of an attribute that is named by keywords or hexadecimal tags; None for an unknown one."""
    tags = []
    for part in name.split("."):
        tag = int(part, 16) if _HEXADECIMAL.fullmatch(part) else keyword_dict.get(part)
        if tag is None:
            return None
        tags.append(tag)
    return tuple(tags)


def _included(value: str, fields: set[int] | None, warnings: list[str]) -> set[int] | None:
    for name in filter(None, value.split(",")):
        if name.lower() == "all":
            return None
        path = _path(name)
        if path is None or not _is_known(path[0]):
            warnings.append(_ignored("includefield", name))
        elif fields is not None:
            fields.add(path[0])
    return fields


def _add(name: str, value: str, criteria: list[Criterion], fields: set[int] | None, warnings: list[str]) -> None:
    path = _path(name)
    if path is None:
        warnings.append(_ignored("parameter", name))
        return
    try:
        found = criterion(path, value) if value.strip("*") or not _is_known(path[0]) else None
    except KeyError:
        warnings.append(_ignored("key", name))
        return
    if found is not None:
        criteria.append(found)
    if fields is not None:
        fields.add(path[0])


def _is_known(tag: int) -> bool:
    return tag in attributes.LEVELS or tag in attributes.COMPUTED


def _ignored(what: str, name: str) -> str:
    # The header is ASCII, and its text is in quotes.
    shown = re.sub(r"[^A-Za-z0-9.,_-]", "?", name)[:64]
    return f"The {what} {shown} is not supported and was ignored."
