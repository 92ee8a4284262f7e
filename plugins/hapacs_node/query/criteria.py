"""What a search asks for, whether it came by QIDO-RS or C-FIND."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from hapacs_node.query import attributes, matching
from hapacs_node.query.attributes import Level

_WILDCARDS = frozenset("*?")
# As in 20240315+0100.
_OFFSET_CHARACTERS = 4


@dataclass(frozen=True)
class Criterion:
    """One key that restricts a search.

    Attributes
    ----------
    level : Level
        Level of the attribute.
    path : str
        Its tags, such as ``00100010`` or ``00400275.00400009``.
    vr : str
        Value representation of the last tag.
    values : tuple of str
        Normal forms; an answer has one of them at least. Patterns of LIKE where `wild`.
    wild : bool
        Whether `values` are patterns.
    span : tuple of str or None
        First and last value of a range, each possibly empty; then `values` is empty.
    """

    level: Level
    path: str
    vr: str
    values: tuple[str, ...] = ()
    wild: bool = False
    span: tuple[str, str] | None = None


@dataclass(frozen=True)
class Search:
    """A search for studies, series or instances.

    Attributes
    ----------
    level : Level
        Level of the answers.
    criteria : tuple of Criterion
        All of them hold.
    limit : int or None
        Most answers.
    offset : int
        Answers to leave out, from the first one.
    """

    level: Level
    criteria: tuple[Criterion, ...] = ()
    limit: int | None = None
    offset: int = 0


@dataclass(frozen=True)
class Found:
    """One answer, with the attributes of its level and those above.

    Attributes
    ----------
    study : str
        Study Instance UID.
    series, sop : str or None
        UIDs of the lower levels.
    shown : dict
        Its attributes in the DICOM JSON model.
    counts : Counts
        What was counted below it.
    """

    study: str
    series: str | None
    sop: str | None
    shown: dict[str, dict[str, object]]
    counts: "Counts"


@dataclass(frozen=True)
class Counts:
    """What a study or series holds.

    Attributes
    ----------
    series, instances : int
        Their numbers.
    series_instances : int
        The number of instances of the series of the answer.
    modalities, classes : tuple of str
        Modalities and SOP Classes of the study.
    """

    series: int = 0
    instances: int = 0
    series_instances: int = 0
    modalities: Sequence[str] = field(default=())
    classes: Sequence[str] = field(default=())


MODALITIES_IN_STUDY, SOP_CLASSES_IN_STUDY = "00080061", "00080062"
# What is compared for a computed attribute.
_STANDS_FOR = {MODALITIES_IN_STUDY: (Level.SERIES, "00080060"), SOP_CLASSES_IN_STUDY: (Level.INSTANCE, "00080016")}


def criterion(path: Sequence[int], text: str) -> Criterion | None:
    """Return what a key demands; None when any value does, or none (PS3.4 C.2.2.2.3).

    Parameters
    ----------
    path : sequence of int
        Tags, from the attribute of the level to one inside its items.
    text : str
        The key's value.

    Raises
    ------
    KeyError
        When searches don't know the attribute.
    """
    joined = ".".join(map(attributes.key, path))
    level, joined = _STANDS_FOR.get(joined) or (attributes.LEVELS[path[0]], joined)
    return demanded(level, joined, attributes.vr(path[-1]), text)


def demanded(level: Level, joined: str, vr: str, text: str) -> Criterion | None:
    """Return what a value of a key demands; None when any value does, or none.

    Parameters
    ----------
    level : Level
        Level of the attribute.
    joined : str
        Its tags, as in `Criterion`.
    vr : str
        Its value representation.
    text : str
        The key's value.
    """
    text = text.strip(" \0")
    if not text.strip("*"):
        return None
    if vr in matching.RANGES and "-" in text and (ends := _span(text, vr)) is not None:
        return Criterion(level, joined, vr, span=ends)
    parts = [part for part in (text.replace(",", "\\") if vr == "UI" else text).split("\\") if part.strip()]
    if vr in matching.RANGES:
        # A time without seconds means the whole minute.
        if len(parts) == 1:
            ends = matching.moment(parts[0], vr), matching.moment(parts[0], vr, "9")
            return Criterion(level, joined, vr, span=ends)
        return Criterion(level, joined, vr, tuple(matching.moment(part, vr) for part in parts))
    normal = [matching.folded(part) if vr == "PN" else matching.normal(part, vr)[0] for part in parts]
    wild = vr in matching.TEXTS and any(_WILDCARDS & set(part) for part in normal)
    return Criterion(level, joined, vr, tuple(map(matching.pattern, normal) if wild else normal), wild=wild)


def uid(level: Level, value: str) -> Criterion:
    """Return the criterion of a Study, Series or SOP Instance UID."""
    path = {Level.STUDY: "0020000D", Level.SERIES: "0020000E", Level.INSTANCE: "00080018"}[level]
    return Criterion(level, path, "UI", (value,))


def _span(text: str, vr: str) -> tuple[str, str] | None:
    # A hyphen of DT may begin an offset from UTC.
    first, _, last = text.partition("-")
    if vr == "DT" and len(last) == _OFFSET_CHARACTERS and not last.startswith(("19", "20")):
        return None
    return matching.moment(first, vr), matching.moment(last, vr, "9")
