"""What is asked for by WADO-RS, and what its answer looks like, byte for byte (DICOM PS3.18 8.6.1.2, 8.7, 10.4).

Instances in the transfer syntax in which they are stored, and nothing else: what has to be taken apart first, such as
frames, metadata and other transfer syntaxes, is Orthanc's.
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
# Whatever a stored file says of itself must not become a header of its own.
_UID = re.compile(r"[0-9.]{1,64}", re.ASCII)


def named(path: str) -> Named:
    """Read which study, series or instance a path names.

    Raises
    ------
    RefusedError
        When it names nothing of the kind, or asks for something in addition.
    """
    found = _PATH.fullmatch(path)
    if found is None:
        raise RefusedError("only a study, a series or an instance can be retrieved here")
    return Named(*found.groups())


def is_as_stored(accept: str) -> bool:
    """Tell whether DICOM files in any transfer syntax are asked for, and no alternative to them (PS3.18 8.7.3.2)."""
    found = _AS_STORED.fullmatch(accept)
    if found is None:
        return False
    parameters = {name.lower(): quoted or plain for name, quoted, plain in _PARAMETER.findall(found[1])}
    return parameters.get("type", "").lower() == "application/dicom" and parameters.get("transfer-syntax") == "*"


@dataclass(frozen=True)
class Multipart:
    """The frame of an answer of several parts (RFC 2387): all but the instances themselves.

    Attributes
    ----------
    boundary : str
        Between the parts.
    heads : tuple of bytes
        What comes before each instance.
    tail : bytes
        What comes after the last.
    length : int
        Bytes of the whole answer, so that whoever gets less knows it.
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
        """The header of the whole answer."""
        return f'multipart/related; type="application/dicom"; boundary={self.boundary}'


def _syntax(instance: Instance) -> str:
    return f"; transfer-syntax={instance.transfer_syntax}" if _UID.fullmatch(instance.transfer_syntax) else ""
