"""Which files a WADO-RS request asks for, and the form of the answer (DICOM PS3.18 8.6.1.2, 8.7, 10.4)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self
from uuid import uuid4

from hapacs_node.catalog.retrieval import Instance, Named
from hapacs_node.errors import RefusedError
from hapacs_node.retrieve.accept import ANY, Range
from hapacs_node.retrieve.frames import EXPLICIT

_DICOM = "application/dicom"
_WHOLE = frozenset({ANY, "multipart/*"})
# A UID has 64 characters at most (PS3.5 9.1).
_PATH = re.compile(
    r"/dicom-web/studies/([0-9.]{1,64})(?:/series/([0-9.]{1,64})(?:/instances/([0-9.]{1,64}))?)?/?", re.ASCII
)
# The value comes from a stored file, and must not inject a header.
_UID = re.compile(r"[0-9.]{1,64}", re.ASCII)


def named(path: str) -> Named:
    """Return the study, series or instance that a path names.

    Raises
    ------
    RefusedError
        When the path has another form.
    """
    found = _PATH.fullmatch(path)
    if found is None:
        raise RefusedError("only a study, a series or an instance can be retrieved here")
    return Named(*found.groups())


@dataclass(frozen=True)
class Form:
    """How files are sent.

    Attributes
    ----------
    multipart : bool
        As parts; else one file is the whole body.
    syntaxes : tuple of str
        Accepted transfer syntaxes, the best first; ``*`` for any.
    """

    multipart: bool
    syntaxes: tuple[str, ...]

    def takes(self, syntax: str) -> bool:
        """Whether a transfer syntax is accepted."""
        return "*" in self.syntaxes or syntax in self.syntaxes


def form(accepted: Sequence[Range], count: int) -> Form | None:
    """Choose the form of an answer (PS3.18 8.7.3.2); None when none is accepted.

    Parameters
    ----------
    accepted : sequence of Range
        The best first.
    count : int
        Number of files.
    """
    multipart: bool | None = None
    syntaxes: list[str] = []
    for one in accepted:
        as_parts = one.type in _WHOLE or one.type == "multipart/related"
        if not as_parts and (count != 1 or one.type not in {_DICOM, "application/*"}):
            continue
        if as_parts and one.part not in {None, _DICOM}:
            continue
        multipart = as_parts if multipart is None else multipart
        # Who names the type and no transfer syntax wants explicit little endian (PS3.18 8.7.3.3).
        is_named = _DICOM in {one.type, one.part}
        syntaxes.append(one.syntax or (EXPLICIT if is_named else "*"))
    return None if multipart is None else Form(multipart, tuple(syntaxes))


@dataclass(frozen=True)
class Multipart:
    """The frame of a multipart answer (RFC 2387): all bytes except the instances.

    Attributes
    ----------
    boundary : str
        Separator of the parts.
    heads : tuple of bytes
        The bytes before each instance as it is stored.
    tail : bytes
        The bytes after the last instance.
    length : int
        Bytes of the whole answer, so that a caller notices when it gets fewer.
    """

    boundary: str
    heads: tuple[bytes, ...]
    tail: bytes
    length: int

    @classmethod
    def of(cls, instances: Sequence[Instance]) -> Self:
        """Frame instances, in their order."""
        boundary = uuid4().hex
        heads = tuple(
            head(boundary, number, instance.transfer_syntax, instance.object.size)
            for number, instance in enumerate(instances)
        )
        tail = f"\r\n--{boundary}--\r\n".encode("ascii")
        length = sum(map(len, heads)) + sum(instance.object.size for instance in instances) + len(tail)
        return cls(boundary, heads, tail, length)

    @property
    def content_type(self) -> str:
        """Content-Type of the whole answer."""
        return f'multipart/related; type="{_DICOM}"; boundary={self.boundary}'


def head(boundary: str, number: int, syntax: str, size: int) -> bytes:
    """Return the bytes before a file.

    Parameters
    ----------
    boundary : str
        Separator of the parts.
    number : int
        Of the part, from 0.
    syntax : str
        Transfer syntax of the file.
    size : int
        Its bytes.
    """
    return (
        f"{'\r\n' if number else ''}--{boundary}\r\n"
        f"Content-Type: {content_type(syntax)}\r\n"
        f"Content-Length: {size}\r\n\r\n"
    ).encode("ascii")


def content_type(syntax: str) -> str:
    """Return the Content-Type of one file."""
    return f"{_DICOM}; transfer-syntax={syntax}" if _UID.fullmatch(syntax) else _DICOM
