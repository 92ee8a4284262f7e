"""Which characters a character set of DICOM has (PS3.3 C.12.1.1.2).

A C-FIND is answered in the caller's set, and a corrected file keeps its own, where that one has all characters.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

UTF8 = "ISO_IR 192"
"""Specific Character Set for UTF-8."""
# Python's codecs of the sets in PS3.3 C.12.1.1.2. pydicom's own table has wider ones, which would write characters that
# the caller did not say it reads.
_CODECS = {
    "6": "ascii", "100": "iso8859_1", "101": "iso8859_2", "109": "iso8859_3", "110": "iso8859_4", "144": "iso8859_5",
    "127": "iso8859_6", "126": "iso8859_7", "138": "iso8859_8", "148": "iso8859_9", "203": "iso8859_15",
    "166": "tis_620", "13": "shift_jis", "87": "iso2022_jp", "159": "iso2022_jp_1", "149": "euc_kr", "58": "gb2312",
}  # fmt: skip
_WHOLE = {"GB18030": "gb18030", "GBK": "gbk"}
_SINGLE, _EXTENDED = re.compile(r"ISO_IR (\d+)"), re.compile(r"ISO 2022 IR (\d+)")
# The default repertoire, for which UTF-8 is as good where a text is ASCII; and those of several bytes.
_NEVER_ALONE = {"6", "87", "159", "149", "58"}
# JIS X 0201 has one byte for a character; the codec knows Kanji of two bytes besides.
_ONE_BYTE = "13"
# JIS X 0212 has none of JIS X 0208; its codec knows both.
_KANJI, _SUPPLEMENT = "87", "159"


def codec(term: str, text: str) -> str | None:
    """Return Python's codec for a text in a character set; None where the set does not have all characters of it.

    Parameters
    ----------
    term : str
        The one value of Specific Character Set of a file. The default repertoire has ASCII only.
    """
    if text.isascii():
        # All character sets of DICOM have ASCII.
        return "ascii"
    if term == UTF8:
        return "utf-8"
    sets = sets_of((term,))
    if sets is None or not has_all(sets, text):
        return None
    return _CODECS.get(sets[0], sets[0])


def sets_of(terms: Sequence[str]) -> tuple[str, ...] | None:
    """Return the numbers of the sets, or the name of a codec; None for what can't be answered in."""
    if len(terms) == 1:
        if terms[0] in _WHOLE:
            return (_WHOLE[terms[0]],)
        found = _SINGLE.fullmatch(terms[0]) or _EXTENDED.fullmatch(terms[0])
        return (found[1],) if found and found[1] in _CODECS and found[1] not in _NEVER_ALONE else None
    numbers = []
    for place, term in enumerate(terms):
        found = _EXTENDED.fullmatch(term or "ISO 2022 IR 6" if place == 0 else term)
        if found is None or found[1] not in _CODECS:
            return None
        numbers.append(found[1])
    return tuple(numbers)


def has_all(sets: tuple[str, ...], text: str) -> bool:
    """Return whether each character of a text is in one of the sets."""
    return all(_has(sets, character) for character in set(text) if not character.isascii())


@lru_cache(maxsize=65536)
def _has(sets: tuple[str, ...], character: str) -> bool:
    return any(_is_in(one, character) for one in sets)


def _is_in(one: str, character: str) -> bool:
    try:
        encoded = character.encode(_CODECS.get(one, one))
    except UnicodeEncodeError:
        return False
    if one == _SUPPLEMENT:
        return not _is_in(_KANJI, character)
    return one != _ONE_BYTE or len(encoded) == 1
