"""Lists the files of the DAS folder by folder with their time of last use, and removes single files.

Names are digests and UUIDs, so every folder is a random sample of all files.
"""

import ctypes
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from hapacs_node.errors import RefusedError
from hapacs_node.storage import names
from hapacs_node.storage.das import Das
from hapacs_node.storage.files import FOLDER, USE_GRAIN_S, translated

COUNT = 256 * 256
"""Number of shelves. A shelf is a folder of objects and the derived attachments' folder of the same name."""
Kind = Literal["object", "derived"]
KINDS: tuple[Kind, Kind] = ("object", "derived")
_FOLDERS: dict[Kind, str] = dict(zip(KINDS, (names.OBJECTS, names.DERIVED), strict=True))
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class DasFile:
    """One file of the DAS.

    Attributes
    ----------
    kind : str
        ``object`` or ``derived``.
    name : str
        The digest or the UUID.
    size : int
        Bytes.
    used_at : float
        When it was stored or last read, seconds since the epoch, exact to `USE_GRAIN_S`.
    inode : int
        Distinguishes it from another file that replaces it.
    """

    kind: Kind
    name: str
    size: int
    used_at: float
    inode: int

    @property
    def path(self) -> tuple[str, ...]:
        """Folder by folder below the root."""
        return names.das_path(self.name) if self.kind == "object" else names.derived_path(UUID(self.name))


@dataclass(frozen=True)
class Shelves:
    """The files of the DAS, shelf by shelf."""

    das: Das

    def walk(self, first: int) -> Iterator[tuple[int, list[DasFile]]]:
        """Walk over all shelves once.

        Parameters
        ----------
        first : int
            The first shelf, from 0 to `COUNT` - 1.

        Yields
        ------
        tuple of int and list of DasFile
            A shelf that exists, and its files.

        Raises
        ------
        DasError
        """
        above, below = divmod(first, 256)
        # When the walk begins in the middle of a folder, that folder comes again at the end for its first part.
        whole = [(number % 256, range(256)) for number in range(above + 1, above + 256)]
        for number, shelves in [(above, range(below, 256)), *whole, (above, range(below))]:
            with self._below("object", number) as objects, self._below("derived", number) as derived:
                made: list[tuple[Kind, int]] = [
                    (kind, folder) for kind, folder in zip(KINDS, (objects, derived), strict=True) if folder is not None
                ]
                there = [_names(folder) for _, folder in made]
                for shelf in sorted(frozenset[str]().union(*there).intersection(f"{low:02x}" for low in shelves)):
                    name = f"{number:02x}{shelf}"
                    copies: list[DasFile] = []
                    for (kind, folder), shelves_there in zip(made, there, strict=True):
                        if shelf in shelves_there:
                            copies += _listed(kind, folder, name)
                    yield int(name, 16), copies

    def remove(self, copy: DasFile) -> bool:
        """Remove a copy, unless it was used or stored again since it was listed. Open readers can read on.

        Raises
        ------
        DasError
        """
        *folders, name = copy.path
        with translated("remove"), suppress(FileNotFoundError), self.das.folder(folders) as folder:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if (status.st_ino, _used_at(status)) == (copy.inode, copy.used_at):
                os.unlink(name, dir_fd=folder)
                return True
        return False

    def size_bytes(self) -> int:
        """Measure the capacity of the DAS."""
        with translated("measure"), self.das.folder([]) as root:
            numbers = os.fstatvfs(root)
            return numbers.f_blocks * numbers.f_frsize

    def settle(self) -> None:
        """Wait until the free space includes the removed files: btrfs updates it at its next commit."""
        with translated("settle"), self.das.folder([]) as root:
            if _libc.syncfs(root) != 0:
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code))

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Lock the DAS for eviction, and yield whether that succeeded: another process of this node may hold the lock.

        The kernel releases the lock of a process that dies.
        """
        with translated("lock"), self.das.folder([]) as root:
            try:
                fcntl.flock(root, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    @contextmanager
    def _below(self, kind: Kind, above: int) -> Iterator[int | None]:
        with ExitStack() as stack, translated("list"):
            folder = None
            with suppress(FileNotFoundError):
                folder = stack.enter_context(self.das.folder([_FOLDERS[kind], f"{above:02x}"]))
            yield folder


def _names(folder: int) -> frozenset[str]:
    with translated("list"):
        return frozenset(os.listdir(folder))


def _listed(kind: Kind, above: int, shelf: str) -> list[DasFile]:
    found: list[DasFile] = []
    now = time.time()
    with translated("list"), _open(shelf[2:], above) as folder:
        for name in os.listdir(folder):  # noqa: PTH208 - of an open folder
            try:
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                continue
            if not stat.S_ISREG(status.st_mode) or not _is_named(kind, name, shelf):
                continue
            if _used_at(status) > now + USE_GRAIN_S:
                # The clock was wrong when it was used. Set the time to now, so that the file ages like the others.
                os.utime(name, dir_fd=folder, follow_symlinks=False)
                continue
            found.append(DasFile(kind, name, status.st_size, _used_at(status), status.st_ino))
    return found


@contextmanager
def _open(name: str, above: int) -> Iterator[int]:
    folder = os.open(name, FOLDER, dir_fd=above)
    try:
        yield folder
    finally:
        os.close(folder)


def _used_at(status: os.stat_result) -> float:
    return max(status.st_atime, status.st_mtime)


def _is_named(kind: Kind, name: str, shelf: str) -> bool:
    """Return whether a file is one of ours, by its name and its folder."""
    try:
        if kind == "object":
            names.checked_digest(name)
        else:
            names.checked_uuid(name)
    except RefusedError:
        return False
    return name.startswith(shelf)
