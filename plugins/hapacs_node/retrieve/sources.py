"""Where frames are cut from: files as they are stored, or decoded.

A viewer that plays a loop asks for one frame after the other. Reading, checking and decoding the whole file for each of
them would take longer with each frame that it has.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from hapacs_node.catalog.objects import StoredObject
from hapacs_node.dimse.transfer import Transcoder
from hapacs_node.retrieve.frames import EXPLICIT
from hapacs_node.retrieve.parts import Known, Parts
from hapacs_node.retrieve.pixels import Pixels
from hapacs_node.storage.reader import Reader

# Of all files with several frames together. Of a larger file each frame is read alone.
_KEPT_BYTES = 64 << 20


@dataclass
class Sources:
    """Reads pixels, and keeps those of the last files with several frames.

    Parameters
    ----------
    reader : Reader
        Reads the files, and checks each against its digest.
    transcoder : Transcoder
        Decodes them.
    most_bytes : int
        Limit of what is kept.
    """

    reader: Reader
    transcoder: Transcoder
    most_bytes: int = _KEPT_BYTES
    # By digest, so that nothing in it can be out of date.
    _kept: OrderedDict[tuple[str, bool], Pixels] = field(default_factory=OrderedDict, init=False)
    _kept_bytes: int = field(default=0, init=False)
    _parts: Known = field(default_factory=Known, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def stored(self, row: StoredObject) -> Pixels:
        """Return the pixels of a file as they are stored.

        Raises
        ------
        NodeError
            When it can't be read now, or has no pixels.
        """
        if (kept := self._get(row.digest, decoded=False)) is not None:
            return kept
        pixels = Pixels.of(self.reader.read_row(row))
        if pixels.frames > 1 and len(pixels.content) > self.most_bytes:
            self._parts.keep(row.digest, pixels)
        return self._keep(row.digest, pixels, decoded=False)

    def parts(self, row: StoredObject) -> Parts | None:
        """Return how frames of a large file are read alone; None before it was read whole."""
        return self._parts.get(row.digest)

    def decoded(self, row: StoredObject, stored: Pixels) -> Pixels | None:
        """Return the pixels of a file in explicit little endian; None when they can't be decoded."""
        if (kept := self._get(row.digest, decoded=True)) is not None:
            return kept
        made = self.transcoder.to(stored.content, EXPLICIT)
        if made is None or (pixels := Pixels.of(made)).syntax != EXPLICIT:
            return None
        return self._keep(row.digest, pixels, decoded=True)

    def _get(self, digest: str, *, decoded: bool) -> Pixels | None:
        with self._lock:
            if (kept := self._kept.get((digest, decoded))) is not None:
                self._kept.move_to_end((digest, decoded))
            return kept

    def _keep(self, digest: str, pixels: Pixels, *, decoded: bool) -> Pixels:
        if pixels.frames == 1 or len(pixels.content) > self.most_bytes:
            return pixels
        with self._lock:
            if (digest, decoded) not in self._kept:
                self._kept[digest, decoded] = pixels
                self._kept_bytes += len(pixels.content)
            while self._kept_bytes > self.most_bytes:
                _, gone = self._kept.popitem(last=False)
                self._kept_bytes -= len(gone.content)
        return pixels
