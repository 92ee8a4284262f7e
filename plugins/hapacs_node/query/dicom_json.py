"""Data sets in the DICOM JSON model (PS3.18 annex F), from files of any character set.

pydicom's own converter raises on the first value that it can't convert. Here such a value is returned as the text that
the file has, so that one wrong value hides no study.
"""

import base64
import logging
import math
import struct
import warnings
from collections.abc import Callable, Collection
from io import BytesIO
from typing import Any

import pydicom
from pydicom import Dataset, charset
from pydicom.config import IGNORE, settings
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag
from pydicom.valuerep import PersonName

from hapacs_node.query import attributes
from hapacs_node.record.identity import Identity

type Json = dict[str, dict[str, Any]]

# Validation costs time and changes nothing: the file was accepted.
settings.reading_validation_mode = IGNORE
# Its warnings can quote a value, and no log may hold patients' data.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module="pydicom")
# Latin alphabet No. 9 (PS3.3 table C.12-2), which pydicom 3.0 lacks.
charset.python_encoding |= {"ISO_IR 203": "iso8859_15", "ISO 2022 IR 203": "iso8859_15"}
charset.CODES_TO_ENCODINGS[b"\x1b-b"] = "iso8859_15"
# Python's codec of GB 2312 leaves the escape sequence in the text, other than pydicom 3.0 believes.
charset.handled_encodings = ("iso2022_jp", "iso2022_jp_2")  # type: ignore[assignment] # a tuple of three
_ASCII = "iso8859"
# Korean and GB 2312: two bytes of eight bits each, beside ASCII.
_BESIDE_ASCII = frozenset({"euc_kr", "iso_ir_58"})

_SPECIFIC_CHARACTER_SET = BaseTag(0x00080005)
CHARACTER_SET = "00080005"
"""Key of the character set."""
# Float, double and integer pixel data.
PIXELS = {0x7FE00008: "OF", 0x7FE00009: "OD", 0x7FE00010: "OW"}
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
# PS3.18 F.2.7: what is larger is bulk data.
_INLINE_BYTES = 1024
# Deeper items are left out of an answer: no client shows them, and each level costs stack.
_DEPTH = 60
# Most values are the same in all images of a series, and a conversion by pydicom takes 20 us.
_KNOWN_VALUES, _KNOWN_BYTES = 8192, 256
_known: dict[tuple[object, ...], dict[str, Any]] = {}
_NO_CONTROLS = dict.fromkeys(set(range(0x20)) - {0x09, 0x0A, 0x0C, 0x0D, 0x1B})
_DEFLATED = (b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.4.95", b"1.2.840.10008.1.2.4.205")


class UnreadableError(ValueError):
    """The bytes are no DICOM file that can be read here."""


def read(content: bytes, undeclared: str, tags: Collection[int] | None = None) -> tuple[Dataset, int | None]:
    """Read a file up to its pixel data; return it with the tag of its pixel data, None without.

    Parameters
    ----------
    content : bytes
        A file as in PS3.10, or its beginning.
    undeclared : str
        Character set of a file that declares none.
    tags : collection of int, optional
        Only these.

    Raises
    ------
    UnreadableError
        When it can't be parsed, or its data set is deflated and could expand to any size.
    """
    if any(syntax in content[:1024] for syntax in _DEFLATED):
        raise UnreadableError("the data set is deflated")
    stream = BytesIO(content)
    try:
        dataset = pydicom.dcmread(
            stream,
            stop_before_pixels=True,
            force=True,
            specific_tags=None if tags is None else [*tags, _SPECIFIC_CHARACTER_SET],
        )
        if not dataset.get(_SPECIFIC_CHARACTER_SET) or not dataset[_SPECIFIC_CHARACTER_SET].value:
            _declare(dataset, charset.convert_encodings(undeclared))
        else:
            found = dataset.original_character_set or _ASCII
            declared = [found] if isinstance(found, str) else list(found)
            if (tolerant := _tolerant(declared)) != declared:
                _declare(dataset, tolerant)
    except (Exception, RecursionError) as error:
        raise UnreadableError(f"{type(error).__name__}: {error}") from error
    # pydicom leaves the stream where it stopped.
    group, element = struct.unpack("<HH" if dataset.original_encoding[1] else ">HH", stream.read(4).ljust(4, b"\0"))
    tag = group << 16 | element
    return dataset, tag if tag in PIXELS else None


def _tolerant(encodings: list[str]) -> list[str]:
    """Read Korean and Chinese without escape sequences too, which many files have; ASCII has no such characters."""
    first, *others = encodings
    beside = _BESIDE_ASCII.intersection(others)
    return [*beside, *others] if first == _ASCII and len(beside) == 1 else encodings


def _declare(dataset: Dataset, encodings: list[str]) -> None:
    implicit, little = dataset.original_encoding
    dataset.set_original_encoding(implicit, little, encodings)
    for element in list(dataset.values()):
        if element.VR == "SQ" and isinstance(element, DataElement):
            for item in element.value:
                if _SPECIFIC_CHARACTER_SET not in item:
                    _declare(item, encodings)


def of(dataset: Dataset, bulk: Callable[[str], str] | None = None, *, path: str = "", depth: int = 0) -> Json:
    """Convert a data set; binary values that are large become links when `bulk` makes them.

    Parameters
    ----------
    dataset : Dataset
        What `read` returned.
    bulk : callable, optional
        Makes the link of a path such as ``00400275/1/0040A123``.
    path : str
        The path of this data set within its file, with a slash at its end.
    depth : int
        The number of items around it.
    """
    found: Json = {}
    encodings = tuple(dataset.original_character_set or ())
    for element in sorted(dataset.values(), key=_tag):
        tag = element.tag
        if not tag & 0xFFFF or (depth and tag == _SPECIFIC_CHARACTER_SET):
            continue
        mark = _mark(element, encodings)
        shown = None if mark is None else _known.get(mark)
        key = attributes.key(tag)
        if shown is None:
            shown = _shown(dataset, tag, bulk, f"{path}{key}", depth)
            if mark is not None and _is_alone(element, depth):
                _keep(mark, shown)
        found[key] = shown
    if depth == 0:
        # All text of the answer is UTF-8 (PS3.18 F.2).
        found[attributes.key(_SPECIFIC_CHARACTER_SET)] = {"vr": "CS", "Value": ["ISO_IR 192"]}
    return found


def _tag(element: DataElement | RawDataElement) -> int:
    return int(element.tag)


def _mark(element: DataElement | RawDataElement, encodings: tuple[str, ...]) -> tuple[object, ...] | None:
    """Return all that the conversion of a small value depends on; None for others."""
    if not isinstance(element, RawDataElement) or element.value is None or len(element.value) > _KNOWN_BYTES:
        return None
    return int(element.tag), element.VR, element.value, element.is_little_endian, encodings


def _is_alone(raw: DataElement | RawDataElement, depth: int) -> bool:
    """Whether the conversion of a value depends on no other element, and not on where it is."""
    if raw.VR in {None, "UN"}:
        # Of private elements the creator decides, and of some others the pixel representation.
        kind = "" if raw.tag.is_private or not dictionary_has_tag(raw.tag) else dictionary_VR(raw.tag)
        return bool(kind) and kind != "SQ" and " or " not in kind
    return raw.VR != "SQ" or depth == 0


def _keep(mark: tuple[object, ...], shown: dict[str, Any]) -> None:
    if len(_known) >= _KNOWN_VALUES:
        _known.clear()
    _known[mark] = shown


def _shown(dataset: Dataset, tag: BaseTag, bulk: Callable[[str], str] | None, path: str, depth: int) -> dict[str, Any]:
    try:
        return _element(dataset[tag], bulk, path, depth)
    except Exception:  # noqa: BLE001 - of any value that can't be converted
        return _as_text(dataset, tag)


def _element(element: DataElement, bulk: Callable[[str], str] | None, path: str, depth: int) -> dict[str, Any]:
    vr = str(element.VR).split(" or ")[0]
    if element.VR == "SQ":
        items = element.value if depth < _DEPTH else ()
        values: list[Any] = [
            of(item, bulk, path=f"{path}/{number}/", depth=depth + 1) for number, item in enumerate(items, start=1)
        ]
        return {"vr": vr, "Value": values} if values else {"vr": vr}
    if vr in _BINARY:
        content = element.value or b""
        if not content:
            return {"vr": vr}
        if len(content) > _INLINE_BYTES and bulk is not None:
            return {"vr": vr, "BulkDataURI": bulk(path)}
        return {"vr": vr, "InlineBinary": base64.b64encode(content).decode("ascii")}
    value = element.value
    if value is None or (isinstance(value, str | bytes | PersonName) and not value):
        return {"vr": vr}
    several = list(value) if isinstance(value, MultiValue | list | tuple) else [value]
    values = [_converted(one, vr) for one in several]
    return {"vr": vr, "Value": values} if values else {"vr": vr}


def identifiers(about: Identity) -> Json:
    """Return the UIDs of an instance, as far as they are known."""
    tags = {"00080018": about.sop, "0020000D": about.study, "0020000E": about.series}
    return {tag: {"vr": "UI", "Value": [uid]} for tag, uid in tags.items() if uid is not None}


def value(text: str, vr: str) -> Any:
    """Convert one value, or return it as text when it can't be converted."""
    try:
        return _converted(text, vr)
    except (ValueError, OverflowError):
        return clean(text)


def _converted(value: Any, vr: str) -> Any:
    if value is None or value == "":
        return None
    if vr == "PN":
        groups = zip(_GROUPS, (clean(str(group)) for group in PersonName(value).components), strict=False)
        return {name: group for name, group in groups if group}
    if vr == "AT":
        return attributes.key(int(value))
    if vr in attributes.DECIMALS:
        number = float(value)
        # JSON has no other numbers (PS3.18 F.2.3 note).
        return number if math.isfinite(number) else str(value)
    return int(value) if vr in attributes.INTEGERS else clean(str(value))


def _as_text(dataset: Dataset, tag: BaseTag) -> dict[str, Any]:
    raw = dataset.get_item(tag)
    vr = str(getattr(raw, "VR", None) or attributes.vr(int(tag)))
    content = getattr(raw, "value", b"")
    if not isinstance(content, bytes) or not content or vr == "SQ":
        return {"vr": vr}
    if vr in _BINARY:
        return {"vr": vr, "InlineBinary": base64.b64encode(content[:_INLINE_BYTES]).decode("ascii")}
    return {"vr": vr, "Value": [clean(part) for part in content.decode("latin-1").split("\\")]}


def clean(text: str) -> str:
    """Return text that JSON and PostgreSQL accept, without padding and what PS3.5 6.1.3 forbids."""
    return text.translate(_NO_CONTROLS).encode("utf-8", "replace").decode("utf-8").rstrip(" ")
