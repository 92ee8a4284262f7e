"""Normal forms of values, so that a stored value and a key can be compared (PS3.4 C.2.2.2).

Names are compared without case and accents, which the standard leaves open; all other text is compared exactly.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from hapacs_node.query import attributes

_NOT_DECOMPOSED = str.maketrans(
    {"ß": "ss", "ø": "o", "ł": "l", "đ": "d", "æ": "ae", "œ": "oe", "\u0131": "i", "þ": "th"}
)
_ACCENTS = re.compile("[\u0300-\u036f]")
_DIGITS = re.compile(r"[^0-9]")
_TIMES = {"DA": 8, "TM": 12, "DT": 20}
TEXTS = frozenset({"AE", "AS", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
RANGES = frozenset(_TIMES)


def folded(name: str) -> str:
    """Return a person name without case, accents and empty components at the end."""
    groups = (re.sub(r"[\^ ]+$", "", group).strip() for group in name.split("="))
    text = unicodedata.normalize("NFKD", "=".join(groups).rstrip("=").casefold())
    plain = _ACCENTS.sub("", text).translate(_NOT_DECOMPOSED)
    # Together again what is no accent: the marks of kana, the letters of a Hangul syllable.
    return unicodedata.normalize("NFKC", plain)


def names(name: str) -> Iterator[str]:
    """Yield the forms by which a person name is found: the whole name, and each of its component groups."""
    whole = folded(name)
    yield whole
    if "=" in whole:
        yield from (group for group in whole.split("=") if group)


def moment(text: str, vr: str, fill: str = "0") -> str:
    """Return a date or time with all its digits.

    Parameters
    ----------
    text : str
        A value of DA, TM or DT; an offset from UTC is left out.
    vr : str
        Its value representation.
    fill : str
        The digit in place of missing ones: ``0`` for the earliest moment, ``9`` for the latest one.
    """
    digits = _DIGITS.sub("", re.sub(r"[+-]\d{4}$", "", text.strip()))
    return digits[: _TIMES[vr]].ljust(_TIMES[vr], fill) if digits else ""


def number(text: str) -> str:
    """Return a number in its shortest form; other text unchanged."""
    try:
        value = float(text)
        return str(int(value)) if value.is_integer() else repr(value)
    except (ValueError, OverflowError):
        return text.strip()


@lru_cache(maxsize=8192)
def normal(value: str, vr: str) -> tuple[str, ...]:
    """Return the normal forms of one stored value."""
    if vr == "PN":
        return tuple(names(value))
    if vr in RANGES:
        return (moment(value, vr),)
    if vr in attributes.NUMBERS:
        return (number(value),)
    return (value.strip(),)


def pattern(text: str) -> str:
    """Return the LIKE pattern of a key with the wildcards ``*`` and ``?``."""
    escaped = re.sub(r"([%_\\])", r"\\\1", text)
    return escaped.replace("*", "%").replace("?", "_")
