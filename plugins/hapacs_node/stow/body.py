"""The body of a request while it arrives: its length, and its parts (RFC 9112 6 and 7.1, RFC 2046 5.1, RFC 2387)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message
from io import BufferedIOBase

from hapacs_node.errors import BadRequestError, NodeError

_PIECE_BYTES = 1 << 18
_LONGEST_LINE = 4096
_LONGEST_HEAD = 1 << 14
_TRAILERS = 64
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\n")
_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)


class TooLargeError(NodeError):
    """The body is longer than the limit."""


class CutShortError(NodeError):
    """The connection ended, or the body has no end of its last part."""


@dataclass
class Body:
    """The body of a request, of a length that is said before or by chunks.

    Parameters
    ----------
    source : BufferedIOBase
        The connection, after the headers.
    length : int or None
        Bytes; None for chunks.
    limit : int
        Most bytes.
    """

    source: BufferedIOBase
    length: int | None
    limit: int
    _left: int = field(default=0, init=False)
    _ended: bool = field(default=False, init=False)
    _taken: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.length is not None:
            self._left = self.length
            self._check(self.length)

    @classmethod
    def of(cls, source: BufferedIOBase, headers: Message, limit: int) -> "Body":
        """Read what the headers say of the length.

        Raises
        ------
        BadRequestError
            When they say nothing, or two things.
        TooLargeError
            When it is more than the limit.
        """
        coding, length = headers.get("Transfer-Encoding", ""), headers.get("Content-Length")
        if coding:
            # Both together could be read as two requests (RFC 9112 6.3).
            if coding.strip().lower() != "chunked" or length is not None:
                raise BadRequestError("Transfer-Encoding must be chunked, without a Content-Length")
            return cls(source, None, limit)
        if length is None or not _LENGTH.fullmatch(length):
            raise BadRequestError("Content-Length is missing or no number")
        return cls(source, int(length), limit)

    def read(self) -> bytes:
        """Return some of the next bytes; none at the end.

        Raises
        ------
        TooLargeError
            When there are more than the limit.
        CutShortError
            When the connection ends before.
        """
        if self._left == 0 and not self._next():
            return b""
        piece = self.source.read(min(self._left, _PIECE_BYTES))
        if not piece:
            raise CutShortError("the connection ended before the body")
        self._left -= len(piece)
        if self._left == 0 and self.length is None and self._line().strip():
            raise BadRequestError("a chunk is longer than it says")
        return piece

    def _next(self) -> bool:
        if self.length is not None or self._ended:
            return False
        found = _CHUNK.fullmatch(self._line())
        if found is None:
            raise BadRequestError("a chunk has no length")
        self._left = int(found[1], 16)
        self._taken += self._left
        self._check(self._taken)
        if self._left == 0:
            self._ended = True
            for _ in range(_TRAILERS):
                if not self._line().strip():
                    return False
            raise BadRequestError("the body has too many trailers")
        return True

    def _line(self) -> bytes:
        line = self.source.readline(_LONGEST_LINE)
        if not line.endswith(b"\n"):
            raise CutShortError("the connection ended within a chunk, or a line of it is too long")
        return line

    def _check(self, size: int) -> None:
        if size > self.limit:
            raise TooLargeError(f"the body is larger than {self.limit} bytes")


@dataclass(frozen=True)
class Part:
    """A part of a multipart body.

    Attributes
    ----------
    type : str
        Its media type in lower case, without parameters.
    content : bytes
        Its content.
    whole : bool
        False when the body ended before it did.
    """

    type: str
    content: bytes
    whole: bool = True


def boundary(content_type: str) -> bytes:
    """Return the boundary of a Content-Type of the kind multipart/related.

    Raises
    ------
    BadRequestError
        When it has none.
    """
    message = Message()
    message["Content-Type"] = content_type
    found = message.get_param("boundary")
    if message.get_content_type() != "multipart/related" or not isinstance(found, str) or not found.strip():
        raise BadRequestError("the body must be multipart/related with a boundary")
    return found.encode("latin-1", "replace")


def parts(body: Body, mark: bytes) -> Iterator[Part]:
    """Yield the parts, each when it has arrived, so that one is in memory at a time.

    Raises
    ------
    BadRequestError
        When what arrives is no multipart body with this boundary.
    TooLargeError, CutShortError
        As `Body.read` does.
    """
    delimiter = b"\r\n--" + mark
    # The first delimiter has no line break before it when nothing precedes it.
    buffer = bytearray(b"\r\n")
    if not _fill(body, buffer, delimiter):
        raise BadRequestError("the body has no part with this boundary")
    while True:
        del buffer[: buffer.index(delimiter) + len(delimiter)]
        if not _fill(body, buffer, b"\r\n", _LONGEST_HEAD) or buffer.startswith(b"--"):
            if not buffer.startswith(b"--"):
                raise CutShortError("the body ends without its last boundary")
            _drain(body)
            return
        padding = buffer.index(b"\r\n")
        if buffer[:padding].strip():
            raise BadRequestError("a boundary is followed by something else than a line break")
        # The line break stays: without headers it is half of the empty line.
        del buffer[:padding]
        if not _fill(body, buffer, b"\r\n\r\n", _LONGEST_HEAD):
            raise CutShortError("the body ends within the headers of a part")
        end = buffer.index(b"\r\n\r\n")
        kind = _type(bytes(buffer[:end]))
        # Again a line break stays: the part may be empty.
        del buffer[: end + 2]
        whole = _fill(body, buffer, delimiter)
        content = bytes(memoryview(buffer)[2 : buffer.index(delimiter) if whole else len(buffer)])
        yield Part(kind, content, whole)
        del content
        if not whole:
            return


def _fill(body: Body, buffer: bytearray, wanted: bytes, limit: int | None = None) -> bool:
    """Read until the buffer has `wanted`; return False when the body ends before."""
    start = 0
    while buffer.find(wanted, start) < 0:
        if limit is not None and len(buffer) > limit + _PIECE_BYTES:
            raise BadRequestError("the headers of a part are too long")
        start = max(0, len(buffer) - len(wanted) + 1)
        try:
            piece = body.read()
        except CutShortError:
            return False
        if not piece:
            return False
        buffer += piece
    return True


def _drain(body: Body) -> None:
    while body.read():
        continue


def _type(head: bytes) -> str:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-type":
            return value.partition(b";")[0].strip().strip(b'"').lower().decode("latin-1")
    return ""
