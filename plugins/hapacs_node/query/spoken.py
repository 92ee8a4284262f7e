"""In which character set a C-FIND is answered (DICOM PS3.4 C.4.1.1.3.2): the caller's, where it has all characters."""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from io import BytesIO

from pydicom import Dataset
from pynetdicom.dsutils import decode, encode

from hapacs_node.query.dicom_json import CHARACTER_SET, Json

UTF8 = "ISO_IR 192"
# Python's codecs of the sets in PS3.3 C.12.1.1.2. pydicom's own table has wider ones, which would write characters that
# the caller did not say it reads.
_CODECS = {
    "6": "ascii", "100": "iso8859_1", "101": "iso8859_2", "109": "iso8859_3", "110": "iso8859_4", "144": "iso8859_5",
    "127": "iso8859_6", "126": "iso8859_7", "138": "iso8859_8", "148": "iso8859_9", "203": "iso8859_15",
    "166": "tis_620", "13": "shift_jis", "87": "iso2022_jp", "159": "iso2022_jp_1", "149": "euc_kr", "58": "gb2312",
}  # fmt: skip
_WHOLE = {"GB18030": "gb18030", "GBK": "gbk"}
_SINGLE, _EXTENDED = re.compile(r"ISO_IR (\d+)"), re.compile(r"ISO 2022 IR (\d+)")
# What has characters of a set (PS3.5 6.2).
_TEXTS = {"LO", "LT", "PN", "SH", "ST", "UC", "UT"}
# The default repertoire, for which UTF-8 is as good where a text is ASCII; and those of several bytes.
_NEVER_ALONE = {"6", "87", "159", "149", "58"}
# JIS X 0201 has one byte for a character; the codec knows Kanji of two bytes besides.
_ONE_BYTE = "13"
# JIS X 0212 has none of JIS X 0208; its codec knows both.
_KANJI, _SUPPLEMENT = "87", "159"


def spoken(answer: Json, asked: str) -> list[str]:
    """Return the values of Specific Character Set for an answer.

    Parameters
    ----------
    answer : dict
        In the DICOM JSON model.
    asked : str
        Specific Character Set of the identifier. Some callers can't read UTF-8.

    Returns
    -------
    list of str
        What was asked for if it has all characters; else UTF-8.
    """
    terms = tuple(term.strip(" \0") for term in asked.split("\\"))
    sets = _sets(terms)
    if sets is None:
        return [UTF8]
    foreign = [text for text in _texts(answer) if not text.isascii()]
    if not all(_has(sets, character) for character in set("".join(foreign)) if not character.isascii()):
        return [UTF8]
    if len(terms) > 1 and foreign and not _comes_back(answer, terms):
        return [UTF8]
    return list(terms)


def _sets(terms: Sequence[str]) -> tuple[str, ...] | None:
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


def _comes_back(answer: Json, terms: Sequence[str]) -> bool:
    """Return whether the answer is the same after it was written with code extensions and read again."""
    written = Dataset.from_json(answer | {CHARACTER_SET: {"vr": "CS", "Value": list(terms)}})
    encoded = encode(written, is_implicit_vr=True, is_little_endian=True)
    if encoded is None:
        return False
    read = decode(BytesIO(encoded), is_implicit_vr=True, is_little_endian=True)
    # Not the data sets: numbers may be written in another way.
    before, after = ([str(one.value) for one in each.iterall() if one.VR in _TEXTS] for each in (written, read))
    return before == after


def _texts(answer: Json) -> Iterator[str]:
    for element in answer.values():
        for value in element.get("Value", []):
            if isinstance(value, str):
                yield value
            elif isinstance(value, dict):
                # A name has groups, an item has elements. An empty one of several values is null (PS3.18 F.2.5).
                yield from map(str, value.values()) if element["vr"] == "PN" else _texts(value)
