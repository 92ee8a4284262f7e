"""Writes the patient of a move into a file that leaves (DICOM PS3.5 7.1, PS3.10 7.1).

The elements of the patient are cut out of the file and put into an item of the Original Attributes Sequence, and
new ones take their place. Every other byte stays, those of pixel data as well: nothing is decoded, or encoded in
another way. Only when the name can't be written in the character set of the file, the text of the file is converted to
UTF-8.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from hapacs_node.correction import original, patient, unicode
from hapacs_node.correction.patient import Move
from hapacs_node.errors import UncorrectedError
from hapacs_node.query import attributes, repertoire
from hapacs_node.query.dicom_json import PIXELS, Json
from hapacs_node.record import identity
from hapacs_node.record.elements import LONG, Elements

_IMPLICIT, _BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
_DEFLATED = frozenset({"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})
_META_GROUP, _SYNTAX, _CHARACTER_SET = 0x0002, 0x00020010, 0x00080005
_SEQUENCE, _MODIFIED, _ITEM = int(original.SEQUENCE, 16), int(original.MODIFIED, 16), 0xFFFEE000
# Lengths of groups that change, and of everything up to the end: retired, and wrong afterwards.
_LENGTHS = frozenset({0x00080000, 0x00080001, 0x00100000, 0x04000000})
_DELIMITER_BYTES = 8


@dataclass(frozen=True)
class _Encoding:
    """How the data set of a file is encoded."""

    implicit: bool
    big: bool
    characters: str

    def element(self, tag: int, vr: str, value: bytes) -> bytes:
        order = ">" if self.big else "<"
        head = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)
        if self.implicit or tag == _ITEM:
            return head + struct.pack(f"{order}I", len(value)) + value
        if vr.encode() in LONG:
            return head + vr.encode() + struct.pack(f"{order}HI", 0, len(value)) + value
        return head + vr.encode() + struct.pack(f"{order}H", len(value)) + value

    def all(self, elements: Json) -> list[tuple[int, bytes]]:
        """Encode elements whose values are text."""
        made = []
        for key, element in elements.items():
            value = patient.text(element).encode(self.characters)
            made.append((int(key, 16), self.element(int(key, 16), element["vr"], value + b" " * (len(value) % 2))))
        return made

    def nested(self, tag: int, *, items: bytes) -> bytes:
        """Encode a sequence of items that are encoded already."""
        return self.element(tag, "SQ", items)


def given(content: bytes, move: Move | None, undeclared: str) -> bytes:
    """Return a file as clients get it: see `corrected`; as it was received without a move."""
    return content if move is None else corrected(content, move, undeclared)


def corrected(content: bytes, move: Move, undeclared: str) -> bytes:
    """Return a file with the patient of a move.

    Parameters
    ----------
    content : bytes
        A file as in PS3.10, as it was received.
    move : Move
        The patient, and when the study was moved.
    undeclared : str
        Character set of a file that declares none.

    Raises
    ------
    UncorrectedError
        When the file can't be taken apart, or its data set is deflated as a whole.
    """
    about = identity.of(content)
    if None in {about.study, about.series, about.sop}:
        raise UncorrectedError("the correction can't be written into the file: its UIDs can't be read")
    try:
        made = _corrected(content, move, undeclared)
    except UncorrectedError:
        raise
    except Exception as error:
        # The parsers raise whatever they like about damaged files. Their values are not for a log.
        raise UncorrectedError(f"the correction can't be written into the file: {type(error).__name__}") from error
    if identity.of(made) != about:
        raise UncorrectedError("the correction would change the UIDs of the file")
    return made


def _corrected(content: bytes, move: Move, undeclared: str) -> bytes:
    start, syntax = _meta(content)
    if syntax in _DEFLATED:
        raise UncorrectedError("the data set is deflated, so that no correction can be written into it")
    implicit, big = syntax == _IMPLICIT, syntax == _BIG_ENDIAN
    spans, end = _spans(content, start, implicit=implicit, big=big)
    characters = _characters(spans, move.patient)
    if characters is None:
        header = unicode.converted(content[:end], undeclared)
        spans, _ = _spans(header, 0, implicit=implicit, big=big)
        characters = "utf-8"
    encoding = _Encoding(implicit, big, characters)
    replaced = [span for tag, span in spans if patient.is_patients(attributes.key(tag)) and tag not in _LENGTHS]
    before = b"".join(replaced)
    kept = [(tag, span) for tag, span in spans if tag not in _LENGTHS and not patient.is_patients(attributes.key(tag))]
    history = b"".join(_items(span, encoding) for tag, span in kept if tag == _SEQUENCE)
    modified = encoding.nested(_MODIFIED, items=encoding.element(_ITEM, "", before))
    about = sorted([(_MODIFIED, modified), *encoding.all(original.about(move))])
    item = encoding.element(_ITEM, "", b"".join(element for _, element in about))
    sequence = encoding.nested(_SEQUENCE, items=history + item)
    new = sorted([*encoding.all(move.patient), (_SEQUENCE, sequence)])
    rest = [(tag, span) for tag, span in kept if tag != _SEQUENCE]
    return b"".join([content[:start], *_merged(rest, new), content[end:]])


def _meta(content: bytes) -> tuple[int, str]:
    """Return where the data set starts, and its transfer syntax."""
    elements = Elements(content, 132 if content[128:132] == b"DICM" else 0)
    syntax = _IMPLICIT
    while elements.peek() >> 16 == _META_GROUP:
        tag, value = elements.next()
        if tag == _SYNTAX and value is not None:
            syntax = value.rstrip(b"\0 ").decode("ascii")
    return elements.at, syntax


def _spans(content: bytes, start: int, *, implicit: bool, big: bool) -> tuple[list[tuple[int, bytes]], int]:
    """Return the elements before the pixel data as they are encoded, and where those end."""
    elements = Elements(content, start, implicit=implicit, big=big)
    spans = []
    while elements.at < len(content) and (tag := elements.peek()) not in PIXELS:
        at = elements.at
        elements.next()
        spans.append((tag, content[at : elements.at]))
    return spans, elements.at


def _characters(spans: Iterable[tuple[int, bytes]], elements: Json) -> str | None:
    """Return the encoding for the text of the patient; None when the character set of the file has no such letters."""
    texts = "".join(patient.text(element) for element in elements.values())
    declared = next((span for tag, span in spans if tag == _CHARACTER_SET), b"")[8:].decode("ascii").strip(" \0")
    # Several values are no character set: with code extensions, text has escape sequences.
    return repertoire.codec(declared, texts)


def _items(span: bytes, encoding: _Encoding) -> bytes:
    """Return the items of a sequence, without delimiters of its end."""
    order = ">" if encoding.big else "<"
    if not encoding.implicit and span[4:6] != b"SQ":
        raise UncorrectedError("the Original Attributes Sequence of the file is not encoded as a sequence")
    head = 8 if encoding.implicit else 12
    (length,) = struct.unpack_from(f"{order}I", span, head - 4)
    return span[head:-_DELIMITER_BYTES] if length == 0xFFFFFFFF else span[head:]  # noqa: PLR2004 - undefined


def _merged(kept: list[tuple[int, bytes]], new: list[tuple[int, bytes]]) -> Iterable[bytes]:
    """Put new elements before the first one with a larger tag."""
    waiting = list(new)
    for tag, span in kept:
        while waiting and waiting[0][0] < tag:
            yield waiting.pop(0)[1]
        yield span
    yield from (element for _, element in waiting)
