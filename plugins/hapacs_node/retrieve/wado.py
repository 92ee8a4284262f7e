"""Parses WADO-RS requests and frames their answers (DICOM PS3.18 8.6.1.2, 8.7, 10.4).

Only instances in the transfer syntax in which they are stored. Orthanc answers requests that need parsing, such as
frames, metadata and other transfer syntaxes.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self
from uuid import uuid4

from hapacs_node.catalog.retrieval import Instance, Named
from hapacs_node.errors import RefusedError

# A UID has 64 characters at most (PS3.5 9.1).
_PATH = re.compile(
    r"/dicom-web/studies/([0-9.]{1,64})(?:/series/([0-9.]{1,64})(?:/instances/([0-9.]{1,64}))?)?/?", re.ASCII
)
_AS_STORED = re.compile(r'multipart/related((?:\s*;\s*[a-z-]+=(?:"[^"]*"|[^\s;,"]+))+)\s*', re.ASCII | re.IGNORECASE)
_PARAMETER = re.compile(r';\s*([a-z-]+)=(?:"([^"]*)"|([^\s;,"]+))', re.ASCII | re.IGNORECASE)
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


def is_as_stored(accept: str) -> bool:
    """Return whether an Accept header asks only for DICOM files in any transfer syntax (PS3.18 8.7.3.2)."""
    found = _AS_STORED.fullmatch(accept)
    if found is None:
        return False
    parameters = {name.lower(): quoted or plain for name, quoted, plain in _PARAMETER.findall(found[1])}
    return parameters.get("type", "").lower() == "application/dicom" and parameters.get("transfer-syntax") == "*"


@dataclass(frozen=True)
class Multipart:
    """The frame of a multipart answer (RFC 2387): all bytes except the instances.

    Attributes
    ----------
    boundary : str
        Separator of the parts.
    heads : tuple of bytes
        The bytes before each instance.
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
            f"{'\r\n' if number else ''}--{boundary}\r\n"
            f"Content-Type: application/dicom{_syntax(instance)}\r\n"
            f"Content-Length: {instance.object.size}\r\n\r\n".encode("ascii")
            for number, instance in enumerate(instances)
        )
        tail = f"\r\n--{boundary}--\r\n".encode("ascii")
        length = sum(map(len, heads)) + sum(instance.object.size for instance in instances) + len(tail)
        return cls(boundary, heads, tail, length)

    @property
    def content_type(self) -> str:
        """Content-Type of the whole answer."""
        return f'multipart/related; type="application/dicom"; boundary={self.boundary}'


def _syntax(instance: Instance) -> str:
    return f"; transfer-syntax={instance.transfer_syntax}" if _UID.fullmatch(instance.transfer_syntax) else ""
