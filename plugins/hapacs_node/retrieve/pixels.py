"""Takes the frames out of a DICOM file (PS3.5 8 and annex A), as they are encoded in it."""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Self

from pydicom.encaps import generate_frames, get_frame

from hapacs_node.errors import NodeError
from hapacs_node.query.dicom_json import PIXELS
from hapacs_node.retrieve import description
from hapacs_node.retrieve.description import Description

_UNDEFINED = 0xFFFFFFFF
_DEFLATED = frozenset({"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})


class NoPixelsError(NodeError):
    """A file has no pixels, or none that can be taken apart."""


class NoFrameError(NodeError):
    """An image has fewer frames."""


@dataclass(frozen=True)
class Pixels:
    """The pixel data of a file.

    Attributes
    ----------
    syntax : str
        Transfer syntax of the file.
    frames : int
        Number of frames.
    content : bytes
        The file.
    tag : int
        Of integer, float or double pixel data.
    start : int
        Where its value begins.
    """

    syntax: str
    frames: int
    content: bytes
    tag: int
    start: int
    _length: int
    _frame_bits: int | None
    _offsets: tuple[bytes, bytes] | None

    @classmethod
    def of(cls, content: bytes) -> Self:
        """Find the pixel data of a file as in PS3.10.

        Raises
        ------
        NoPixelsError
            When there is none, or its description can't be read.
        """
        if any(syntax.encode() in content[:1024] for syntax in _DEFLATED):
            raise NoPixelsError("the image is deflated: it can only be retrieved as a whole file")
        try:
            return cls._read(description.of(content), content)
        except NodeError:
            raise
        except Exception as error:
            # The parser raises whatever it likes about damaged files. Their values are not for an answer.
            raise NoPixelsError(f"the image can't be taken apart: {type(error).__name__}") from error

    @classmethod
    def _read(cls, about: Description, content: bytes) -> Self:
        order = ">" if about.big else "<"
        group, element = struct.unpack_from(f"{order}HH", content, about.at) if about.at < len(content) else (0, 0)
        tag = group << 16 | element
        if tag not in PIXELS:
            raise NoPixelsError("the object has no pixel data")
        start = about.at + (8 if about.implicit else 12)
        (length,) = struct.unpack_from(f"{order}I", content, start - 4)
        frames = max(1, about.frames)
        if length == _UNDEFINED:
            return cls(about.syntax, frames, content, tag, start, len(content) - start, None, about.offsets)
        if about.frame_bits <= 0:
            raise NoPixelsError("the image has no size")
        return cls(about.syntax, frames, content, tag, start, length, about.frame_bits, None)

    @property
    def encapsulated(self) -> bool:
        """Whether each frame is a stream of its own, such as JPEG."""
        return self._frame_bits is None

    def whole(self) -> memoryview:
        """Return the value of native pixel data, with all frames."""
        return memoryview(self.content)[self.start : self.start + self._length]

    def places(self) -> tuple[tuple[int, int], ...] | None:
        """Return offset and length of each native frame in the file; None when frames do not begin at a byte.

        Frames of one bit for each pixel follow each other without padding (PS3.5 8.2).
        """
        bits = self._frame_bits or 0
        if bits % 8 or self.frames * bits // 8 > min(self._length, len(self.content) - self.start):
            return None
        return tuple((self.start + number * bits // 8, bits // 8) for number in range(self.frames))

    def all(self) -> Iterator[bytes]:
        """Return all compressed frames one after the other. It raises whatever pydicom does about damaged ones."""
        stream = BytesIO(self.content)
        stream.seek(self.start)
        return generate_frames(stream, number_of_frames=self.frames, extended_offsets=self._offsets)

    def take(self, numbers: Sequence[int]) -> list[bytes | memoryview]:
        """Return frames; the first one is number 1.

        Raises
        ------
        NoFrameError
            When there is no frame with a number.
        NoPixelsError
            When the file has fewer bytes than it says.
        """
        for number in numbers:
            if not 1 <= number <= self.frames:
                raise NoFrameError(f"there is no frame {number}: the image has {self.frames}")
        return [self._encapsulated(number) if self.encapsulated else self._native(number) for number in numbers]

    def _encapsulated(self, number: int) -> bytes:
        stream = BytesIO(self.content)
        stream.seek(self.start)
        try:
            return get_frame(stream, number - 1, number_of_frames=self.frames, extended_offsets=self._offsets)
        except Exception as error:
            raise NoPixelsError(f"frame {number} can't be found in the image: {type(error).__name__}") from error

    def _native(self, number: int) -> bytes | memoryview:
        bits = self._frame_bits or 0
        start = (number - 1) * bits
        first, last = start // 8, -(-(start + bits) // 8)
        piece = self.whole()[first:last]
        if len(piece) < last - first:
            raise NoPixelsError(f"frame {number} is cut off")
        if start % 8 == 0:
            return piece
        # Frames of one bit for each pixel follow each other without padding (PS3.5 8.2).
        whole = int.from_bytes(piece, "little") >> start % 8 & (1 << bits) - 1
        return whole.to_bytes(-(-bits // 8), "little")
