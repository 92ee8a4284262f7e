"""Single frames of large files, read and checked without reading the whole file.

When a file was read whole and its digest was right, the digest of each of its frames is kept. A frame that is read
alone later is compared with that, so nothing leaves that was not checked after it was read.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from typing import Self

from pydicom.encaps import parse_basic_offsets, parse_fragments

from hapacs_node.errors import DasCorruptError
from hapacs_node.retrieve.pixels import NoFrameError, Pixels
from hapacs_node.storage.das import Das

_ITEM_HEAD_BYTES = 8
# Some 200 bytes each.
_MOST_FRAMES = 100_000


@dataclass(frozen=True)
class Parts:
    """The frames of a file on the DAS.

    Attributes
    ----------
    digest : str
        Of the file.
    syntax : str
        Transfer syntax of the file.
    places : tuple
        Offset and length of each frame in the file.
    checks : tuple of bytes
        SHA-256 of each frame.
    """

    digest: str
    syntax: str
    places: tuple[tuple[int, int], ...]
    checks: tuple[bytes, ...]

    @classmethod
    def of(cls, digest: str, pixels: Pixels) -> Self | None:
        """Describe the frames of a file that was checked; None when they are not pieces of it."""
        places = _fragments(pixels) if pixels.encapsulated else pixels.places()
        if places is None:
            return None
        content = memoryview(pixels.content)
        checks = tuple(sha256(content[at : at + length]).digest() for at, length in places)
        return cls(digest, pixels.syntax, places, checks)

    def size_of(self, numbers: Sequence[int]) -> int:
        """Return the bytes of frames; the first one is number 1.

        Raises
        ------
        NoFrameError
            When there is no frame with a number.
        """
        return sum(self.places[self._index(number)][1] for number in numbers)

    def take(self, numbers: Sequence[int], das: Das) -> list[bytes]:
        """Read frames and check them.

        Raises
        ------
        DasError
            When they are not on the DAS as they were, or can't be read.
        NoFrameError
            When there is no frame with a number.
        """
        return [self._read(self._index(number), das) for number in numbers]

    def _index(self, number: int) -> int:
        if not 1 <= number <= len(self.places):
            raise NoFrameError(f"there is no frame {number}: the image has {len(self.places)}")
        return number - 1

    def _read(self, index: int, das: Das) -> bytes:
        frame = das.part(self.digest, *self.places[index])
        if sha256(frame).digest() != self.checks[index]:
            raise DasCorruptError(
                f"frame {index + 1} of the DAS copy of {self.digest} has other bytes than were stored"
            )
        return frame


def _fragments(pixels: Pixels) -> tuple[tuple[int, int], ...] | None:
    """Return the places of compressed frames, when each is one fragment (PS3.5 A.4)."""
    stream = BytesIO(pixels.content)
    stream.seek(pixels.start)
    try:
        parse_basic_offsets(stream)
        count, items = parse_fragments(stream)
        if count != pixels.frames:
            return None
        frames = pixels.all()
        places = []
        for item in items:
            at = item + _ITEM_HEAD_BYTES
            frame = next(frames)
            # A table of offsets may give them another order.
            if pixels.content[at : at + len(frame)] != frame:
                return None
            places.append((at, len(frame)))
    except Exception:  # noqa: BLE001 - the parser raises whatever it likes; such a file is read whole each time
        return None
    return tuple(places)


@dataclass
class Known:
    """The frames of the large files that were read last, by digest.

    Parameters
    ----------
    most_frames : int
        Limit of what is kept of all files together.
    """

    most_frames: int = _MOST_FRAMES
    _parts: OrderedDict[str, Parts] = field(default_factory=OrderedDict, init=False)
    _frames: int = field(default=0, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def get(self, digest: str) -> Parts | None:
        """Return what is known of a file."""
        with self._lock:
            if (found := self._parts.get(digest)) is not None:
                self._parts.move_to_end(digest)
            return found

    def keep(self, digest: str, pixels: Pixels) -> None:
        """Describe a file that was checked."""
        if self.get(digest) is not None or (parts := Parts.of(digest, pixels)) is None:
            return
        with self._lock:
            if digest not in self._parts:
                self._parts[digest] = parts
                self._frames += len(parts.places)
            while self._frames > self.most_frames:
                _, gone = self._parts.popitem(last=False)
                self._frames -= len(gone.places)
