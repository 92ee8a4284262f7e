"""File operations of the DAS on open folders, without following links."""

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from hapacs_node import log
from hapacs_node.errors import DasCorruptError, DasError, DasFullError

_LOG = log.get("das")
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""Flags for opening a folder; a link in its place is refused."""
USE_GRAIN_S = 3600
"""Precision of a file's time of last use. The file system is mounted with `noatime`; `read_file` updates the access
time itself, and only when the recorded time is older than this."""


def make_folder(parent: int, name: str) -> None:
    """Make a folder in an open folder, unless it exists. Its owner is the owner of the parent folder."""
    # Another store may have made it a moment ago.
    with suppress(FileExistsError):
        os.mkdir(name, 0o750, dir_fd=parent)
        if os.geteuid() == 0:
            # A command that an administrator runs must not make folders that Orthanc can't use.
            owner = os.fstat(parent)
            os.chown(name, owner.st_uid, owner.st_gid, dir_fd=parent, follow_symlinks=False)


def write_file(folder: int, name: str, parts: list[bytes], *, durable: bool) -> None:
    """Write a new file in an open folder. With `durable`, flush its bytes to the disk."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(name, flags, 0o440, dir_fd=folder)
    try:
        for part in parts:
            rest = memoryview(part)
            while rest:
                written = os.write(file, rest)
                if written <= 0:
                    raise OSError(errno.EIO, "the disk wrote no bytes")
                rest = rest[written:]
        if os.fstat(file).st_size != sum(map(len, parts)):
            raise OSError(errno.EIO, "the file is shorter than what was written")
        if durable:
            os.fdatasync(file)
    finally:
        os.close(file)


def read_file(folder: int, name: str, size: int | None, *, used: bool = True) -> bytes:
    """Read a file of an open folder. With `used`, record the time of use.

    Raises
    ------
    DasCorruptError
        When it is not a regular file, or has another size.
    OSError
        When it can't be opened or read.
    """
    try:
        # O_NONBLOCK: opening a FIFO in place of the file must not block the thread.
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise DasCorruptError(f"{name} is a link in place of a file") from error
        raise
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise DasCorruptError(f"{name} is not a file")
        if size is not None and status.st_size != size:
            raise DasCorruptError(f"{name} has {status.st_size} bytes in place of {size}")
        with open(file, "rb", buffering=0, closefd=False) as stream:
            content = stream.readall()
        if used:
            _note_use(file, status)
        return content
    finally:
        os.close(file)


def read_part(folder: int, name: str, at: int, length: int) -> bytes:
    """Read bytes of a file of an open folder, fewer where it ends before, and record the time of use.

    Raises
    ------
    OSError
        When it can't be opened or read.
    """
    with open(name, "rb", buffering=0, opener=opener(folder)) as stream:
        stream.seek(at)
        parts, left = [], length
        while left and (part := stream.read(left)):
            parts.append(part)
            left -= len(part)
        _note_use(stream.fileno(), os.fstat(stream.fileno()))
    return b"".join(parts)


def opener(folder: int) -> Callable[[str, int], int]:
    """Return an opener for `open` that opens names in an open folder and follows no links."""
    # O_NONBLOCK: opening a FIFO in place of the file must not block the thread.
    flags = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    return lambda name, mode: os.open(name, mode | flags, dir_fd=folder)


def _note_use(file: int, status: os.stat_result) -> None:
    # A read neither waits for a flush of this time nor fails because of it.
    if abs(time.time() - status.st_atime) > USE_GRAIN_S:
        with suppress(OSError):
            os.utime(file, ns=(time.time_ns(), status.st_mtime_ns))


def unlink_quietly(folder: int, name: str) -> None:
    """Remove a file of an open folder; log a failure instead of raising it."""
    try:
        os.unlink(name, dir_fd=folder)
    except OSError as error:
        # `Das.clean` removes the file later.
        _LOG.debug(log.line("leftover_kept", name=name, error=error.strerror))


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise a DasError in place of the OSError of a file operation.

    Parameters
    ----------
    doing : str
        The operation as a verb, for the message.
    """
    try:
        yield
    except OSError as error:
        if error.errno == errno.EIO:
            raise DasCorruptError(f"the DAS can't {doing}: {error.strerror}") from error
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DasFullError(f"the DAS can't {doing}: {error.strerror}") from error
        raise DasError(f"the DAS can't {doing}: {error.strerror}") from error
