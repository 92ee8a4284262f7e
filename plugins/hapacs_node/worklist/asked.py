"""What a C-FIND of the worklist asks for, which entries match, and what is answered (DICOM PS3.4 K.2.2, K.6.1.2)."""

import fnmatch
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

from hapacs_node.query import attributes, criteria, matching
from hapacs_node.query.attributes import Level
from hapacs_node.query.cfind import Path
from hapacs_node.query.criteria import Criterion
from hapacs_node.query.dicom_json import Json
from hapacs_node.query.spoken import spoken
from hapacs_node.worklist.entry import DATE, STEPS, TIME

_CHARACTER_SET = 0x00080005
_FIRST_GROUP = 0x0008
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_START = tuple((int(STEPS, 16), int(key, 16)) for key in (DATE, TIME))
type _Tree = dict[int, "_Tree"]


@dataclass(frozen=True)
class Asked:
    """An identifier.

    Attributes
    ----------
    criteria : tuple of Criterion
        All of them hold.
    period : tuple of str or None
        First and last moment of the start, when both its date and its time are ranges: they are one range then.
    character_set : str
        In which the caller would like the answers.
    """

    criteria: tuple[Criterion, ...]
    period: tuple[str, str] | None
    character_set: str
    _tree: _Tree

    @classmethod
    def of(cls, keys: Mapping[Path, str]) -> Self:
        """Read an identifier; `keys` has its values by path."""
        tree: _Tree = {}
        found: dict[Path, Criterion] = {}
        for path, value in keys.items():
            level = tree
            for tag in path:
                level = level.setdefault(tag, {})
            if path[-1] == _CHARACTER_SET or not value.strip("* \0"):
                continue
            joined = ".".join(map(attributes.key, path))
            demanded = criteria.demanded(Level.STUDY, joined, attributes.vr(path[-1]), value.replace("\0", ""))
            if demanded is not None:
                found[path] = demanded
        period = None
        if all("-" in keys.get(path, "") for path in _START):
            (first, last), (begin, end) = (found.pop(path).span or ("", "") for path in _START)
            # Without a date there is nothing that a time could belong to.
            period = first and first + begin, last and last + end
        return cls(tuple(found.values()), period, keys.get((_CHARACTER_SET,), ""), tree)

    def matches(self, entry: Json) -> bool:
        """Whether an entry matches."""
        if self.period is not None:
            date, time = (next(_values(entry, path), "") for path in _START)
            moment = matching.moment(date, "DA") + matching.moment(time, "TM")
            if not _within(moment, self.period):
                return False
        return all(_holds(one, entry) for one in self.criteria)

    def answer(self, entry: Json) -> Json:
        """Return the attributes of an entry that the identifier names."""
        answer = _shown(entry, self._tree)
        answer[attributes.key(_CHARACTER_SET)] = {"vr": "CS", "Value": spoken(answer, self.character_set)}
        return answer


def _shown(entry: Json, tree: _Tree) -> Json:
    shown: Json = {}
    for tag, below in sorted(tree.items()):
        if tag == _CHARACTER_SET or not tag & 0xFFFF or tag >> 16 < _FIRST_GROUP or (tag >> 16) & 1:
            continue
        key = attributes.key(tag)
        element = entry.get(key) or {"vr": attributes.vr(tag)}
        if below and element["vr"] == "SQ":
            element = {"vr": "SQ", "Value": [_shown(item, below) for item in element.get("Value", [])]}
        shown[key] = element
    return shown


def _holds(one: Criterion, entry: Json) -> bool:
    path = tuple(int(part, 16) for part in one.path.split("."))
    forms = {form for value in _values(entry, path) for form in matching.normal(value, one.vr)}
    if one.span is not None:
        return any(_within(form, one.span) for form in forms)
    if one.wild:
        return any(_pattern(value).fullmatch(form) for value in one.values for form in forms)
    return not forms.isdisjoint(one.values)


def _within(moment: str, span: tuple[str, str]) -> bool:
    first, last = span
    return bool(moment) and first <= moment and (not last or moment <= last)


@lru_cache(maxsize=256)
def _pattern(like: str) -> re.Pattern[str]:
    """Return a pattern of LIKE as a regular expression, by way of `fnmatch`, whose expressions never take long."""
    wild = {"%": "*", "_": "?"}
    parts = re.findall(r"\\.|.", like, re.DOTALL)
    return re.compile(fnmatch.translate("".join(wild.get(part) or _literal(part[-1]) for part in parts)))


def _literal(character: str) -> str:
    return f"[{character}]" if character in "*?[" else character


def _values(entry: Json, path: Path) -> Iterator[str]:
    for value in entry.get(attributes.key(path[0]), {}).get("Value", []):
        if len(path) > 1:
            yield from _values(value, path[1:])
        elif isinstance(value, dict):
            yield "=".join(str(value.get(group, "")) for group in _GROUPS).rstrip("=")
        elif value is not None:
            yield str(value)
