"""Bulk data of an instance: values that its metadata links (DICOM PS3.18 10.4.1.1.5), whole or a range of bytes."""

import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from pydicom.tag import Tag

from hapacs_node.catalog.retrieval import Named
from hapacs_node.errors import NodeError
from hapacs_node.query import dicom_json
from hapacs_node.query.dicom_json import UnreadableError
from hapacs_node.retrieve.accept import ANY, Range

OCTETS = "application/octet-stream"
_UID, _TAG = r"[0-9.]{1,64}", r"[0-9A-Fa-f]{8}"
# Orthanc, and so the metadata of a site's images, names it `bulk`; others name it `bulkdata`.
_PATH = re.compile(
    rf"/dicom-web/studies/({_UID})/series/({_UID})/instances/({_UID})/bulk(?:data)?/"
    rf"((?:{_TAG}/[1-9][0-9]{{0,8}}/)*{_TAG})/?",
    re.ASCII,
)
_MULTIPART = frozenset({"multipart/related", "multipart/*"})
_DOCUMENT = Tag(0x00420011)
# The value comes from a stored file, and must not inject a header.
_TYPE = re.compile(r"[A-Za-z0-9.+-]{1,64}/[A-Za-z0-9.+-]{1,64}", re.ASCII)
# Array codes of the words of values that depend on the order of bytes (PS3.5 6.2).
_WORDS = {"OW": "H", "OF": "I", "OL": "I", "OD": "Q", "OV": "Q"}
_RANGE = re.compile(r"\s*bytes\s*=\s*(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))\s*", re.ASCII | re.IGNORECASE)


class NoValueError(NodeError):
    """An instance has no bulk data at a path."""


class OutsideError(NodeError):
    """A range begins behind the end."""


@dataclass(frozen=True)
class Asked:
    """A request for bulk data.

    Attributes
    ----------
    named : Named
        The instance.
    path : tuple of int
        Tag of the element; before it a sequence and the number of its item, from 1, for each level.
    """

    named: Named
    path: tuple[int, ...]

    @classmethod
    def of(cls, path: str) -> Self | None:
        """Read a path; None when it asks for no bulk data."""
        if (found := _PATH.fullmatch(path)) is None:
            return None
        *uids, place = found.groups()
        return cls(
            Named(*uids), tuple(int(part, 10 if number % 2 else 16) for number, part in enumerate(place.split("/")))
        )


@dataclass(frozen=True)
class Value:
    """A value.

    Attributes
    ----------
    content : bytes
        Its bytes, in little endian.
    type : str
        Media type of the document that it is, else that of octets.
    """

    content: bytes
    type: str = OCTETS


def value(content: bytes, path: Sequence[int], undeclared: str) -> Value:
    """Return a binary value of a file that is before its pixel data.

    Parameters
    ----------
    content : bytes
        The file, as in PS3.10.
    path : sequence of int
        As in `Asked`.
    undeclared : str
        Character set of files that declare none.

    Raises
    ------
    NoValueError
        When there is none, or the file can't be read.
    """
    try:
        dataset, _ = dicom_json.read(content, undeclared)
        little = dataset.original_encoding[1]
        for tag, number in zip(path[:-1:2], path[1::2], strict=True):
            dataset = dataset[Tag(tag)].value[number - 1]
        element = dataset[Tag(path[-1])]
        found = element.value
    except UnreadableError as error:
        raise NoValueError(f"the file can't be taken apart: {error.args[0].partition(':')[0]}") from error
    except Exception as error:
        # The parser raises whatever it likes about damaged files. Their values are not for an answer.
        raise NoValueError("the instance has no such attribute") from error
    if not isinstance(found, bytes) or not found:
        raise NoValueError("the attribute is no bulk data: the metadata have its value")
    if not little and (code := _WORDS.get(str(element.VR))) is not None:
        words = array(code, found[: len(found) // array(code).itemsize * array(code).itemsize])
        words.byteswap()
        found = words.tobytes()
    kind = str(dataset.get("MIMETypeOfEncapsulatedDocument", OCTETS)) if element.tag == _DOCUMENT else OCTETS
    return Value(found, kind.lower() if _TYPE.fullmatch(kind) else OCTETS)


@dataclass(frozen=True)
class Form:
    """How a value is sent.

    Attributes
    ----------
    multipart : bool
        As a part; else it is the whole body.
    type : str
        Its media type.
    """

    multipart: bool
    type: str


def form(accepted: Sequence[Range], kind: str, *, ranged: bool) -> Form | None:
    """Choose the form of an answer; None when none is accepted.

    Parameters
    ----------
    accepted : sequence of Range
        The best first.
    kind : str
        Media type of the value. Octets are preferred to a document: every client can read them.
    ranged : bool
        Whether a range of bytes is asked for: who takes anything gets it without parts then.
    """
    for wanted in (OCTETS, kind):
        for one in accepted:
            multipart = one.type in _MULTIPART or (one.type == ANY and not ranged)
            if multipart or one.type == ANY:
                if one.part in {None, wanted}:
                    return Form(multipart, wanted)
            elif one.type in {wanted, f"{wanted.partition('/')[0]}/*"}:
                return Form(False, wanted)
    return None


def wanted_range(header: str | None, length: int) -> range | None:
    """Return the bytes that a header `Range` asks for; None for all of them (RFC 9110 14.1.2).

    Several ranges at once are ignored, as a server may.

    Raises
    ------
    OutsideError
        When there are no such bytes.
    """
    if header is None or (found := _RANGE.fullmatch(header)) is None:
        return None
    first, last, final = found.groups()
    if final is not None:
        start, end = max(0, length - int(final)), length
    else:
        start, end = int(first), min(int(last) + 1, length) if last else length
        if last and int(last) < start:
            return None
    if start >= length:
        raise OutsideError(f"the value has {length} bytes")
    return range(start, end)
