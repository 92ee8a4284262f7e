"""In which character set a C-FIND is answered (DICOM PS3.4 C.4.1.1.3.2): the caller's, where it has all characters."""

from collections.abc import Iterator, Sequence
from io import BytesIO

from pydicom import Dataset
from pynetdicom.dsutils import decode, encode

from hapacs_node.query import repertoire
from hapacs_node.query.dicom_json import CHARACTER_SET, Json

# What has characters of a set (PS3.5 6.2).
_TEXTS = {"LO", "LT", "PN", "SH", "ST", "UC", "UT"}


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
    sets = repertoire.sets_of(terms)
    if sets is None:
        return [repertoire.UTF8]
    foreign = [text for text in _texts(answer) if not text.isascii()]
    if not repertoire.has_all(sets, "".join(foreign)):
        return [repertoire.UTF8]
    if len(terms) > 1 and foreign and not _comes_back(answer, terms):
        return [repertoire.UTF8]
    return list(terms)


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
