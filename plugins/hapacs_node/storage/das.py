"""The online copy: files on the node's own disks, named by the digest of their content."""

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from hapacs_node import log
from hapacs_node.errors import DasCorruptError, DasError, DasFullError, DasMissingError
from hapacs_node.metrics import Metrics
from hapacs_node.settings import Das as DasSettings
from hapacs_node.storage import names
from hapacs_node.storage.files import (
    FOLDER,
    make_folder,
    opener,
    read_file,
    read_part,
    translated,
    unlink_quietly,
    write_file,
)

_LOG = log.get("das")
_INCOMING = "incoming"
_LEFTOVER_AGE_S = 3600  # far above every deadline, so that no file of a store in progress is removed
_DIGEST_BYTES = 32
_SPREAD = [f"{number:02x}" for number in range(256)]  # as names.das_path spreads objects


@dataclass
class Das:
    """The DAS of this node.

    Every path is opened folder by folder without following links, so that nothing on the disk can lead elsewhere.

    Parameters
    ----------
    settings : hapacs_node.settings.Das
        Root and watermark.
    metrics : Metrics
        Free space.
    """

    settings: DasSettings
    metrics: Metrics
    _clean_at: float = field(default=0.0, init=False)
    _flushed: set[str] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        self._free = self.metrics.gauge("hapacs_das_free_bytes", "Free space for the DAS")

    def write(self, digest: str, content: bytes, *, durable: bool = True) -> None:
        """Write bytes under their digest, and replace a file that exists there.

        Parameters
        ----------
        digest : str
            SHA-256 of `content`.
        content : bytes
            The whole attachment.
        durable : bool
            Return only when the file and its name would survive a loss of power. A restored copy does not need this,
            because every read checks it.

        Raises
        ------
        DasError
            When the bytes could not be written. No partial file remains under the digest.
        """
        self._write(names.das_path(digest), [content], durable=durable)

    def read(self, digest: str, size: int, *, used: bool = True) -> bytes:
        """Read the bytes of a digest and check them. With `used`, record the time of use, which eviction follows.

        Raises
        ------
        DasMissingError, DasCorruptError
            When there is no copy, or it is damaged.
        DasError
            When the disks fail.
        """
        content = self._read(names.das_path(digest), size, used=used)
        if names.digest_of(content) != digest:
            raise DasCorruptError(f"the DAS copy of {digest} has other bytes than were stored")
        return content

    def head(self, digest: str, length: int) -> bytes:
        """Read the first bytes of a digest's file, unchecked.

        Raises
        ------
        DasMissingError, DasError
            When there is no copy, or the disks fail.
        """
        *folders, name = names.das_path(digest)
        with translated("read"):
            try:
                with self.folder(folders) as folder, open(name, "rb", buffering=0, opener=opener(folder)) as file:
                    return file.read(length)
            except FileNotFoundError as error:
                raise DasMissingError(f"the DAS has no {name}") from error

    def part(self, digest: str, at: int, length: int) -> bytes:
        """Read bytes of a digest's file, unchecked: the caller has to know their own digest.

        Raises
        ------
        DasMissingError, DasError
            When there is no copy, or the disks fail.
        """
        *folders, name = names.das_path(digest)
        with translated("read"):
            try:
                with self.folder(folders) as folder:
                    return read_part(folder, name, at, length)
            except FileNotFoundError as error:
                raise DasMissingError(f"the DAS has no {name}") from error

    def has(self, digest: str, size: int) -> bool:
        """Return whether there is a copy of that size. Only `read` checks its content.

        Raises
        ------
        DasError
            When the disks fail.
        """
        *folders, name = names.das_path(digest)
        with translated("stat"):
            try:
                with self.folder(folders) as folder:
                    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                return False
        return stat.S_ISREG(status.st_mode) and status.st_size == size

    def write_derived(self, uuid: UUID, content: bytes) -> None:
        """Write a derived attachment with its digest in front. It can be rebuilt, so it is not flushed."""
        self._write(names.derived_path(uuid), [bytes.fromhex(names.digest_of(content)), content], durable=False)

    def read_derived(self, uuid: UUID) -> bytes:
        """Read a derived attachment and check it.

        Raises
        ------
        DasMissingError, DasCorruptError
            When it is missing or damaged, and has to be rebuilt.
        DasError
            When the disks fail.
        """
        content = self._read(names.derived_path(uuid), None)
        digest, content = content[:_DIGEST_BYTES].hex(), content[_DIGEST_BYTES:]
        if names.digest_of(content) != digest:
            raise DasCorruptError(f"the derived attachment {uuid} is damaged")
        return content

    def remove_derived(self, uuid: UUID) -> None:
        """Remove this node's copy of a derived attachment, if there is one."""
        *folders, name = names.derived_path(uuid)
        with translated("remove"):
            try:
                with self.folder(folders) as folder:
                    os.unlink(name, dir_fd=folder)
            except FileNotFoundError:
                return

    def free_bytes(self) -> int:
        """Measure the free space."""
        with translated("measure"), self._root() as root:
            return self._free_bytes(root)

    def probe(self) -> str:
        """Check that a file can be stored now: watermark, write, flush, read, remove. Once an hour, also clean up.

        Returns
        -------
        str
            The free space, for people.

        Raises
        ------
        DasError
        """
        if time.monotonic() >= self._clean_at:
            self.clean()
            self._clean_at = time.monotonic() + _LEFTOVER_AGE_S
        content = os.urandom(4096)
        with translated("probe"), self._root() as root:
            free = self._ensure_space(root, 0)
        with translated("probe"), self.folder([_INCOMING], create=True) as folder:
            name = f"probe-{uuid4()}"
            try:
                write_file(folder, name, [content], durable=True)
                if read_file(folder, name, len(content)) != content:
                    raise DasCorruptError("the DAS returns other bytes than were written")
            finally:
                unlink_quietly(folder, name)
        return f"{free / 1e9:.1f} GB free"

    def prepare(self) -> int:
        """Make the missing folders of objects, so that stores need not make and flush them one by one.

        Returns
        -------
        int
            How many were made.

        Raises
        ------
        DasError
        """
        made = 0
        with translated("prepare"):
            for name in _SPREAD:
                with self.folder([names.OBJECTS, name], create=True) as folder:
                    missing = set(_SPREAD).difference(os.listdir(folder))  # noqa: PTH208 - of an open folder
                    for below in missing:
                        make_folder(folder, below)
                        self._flushed.discard(f"{names.OBJECTS}/{name}/{below}")
                made += len(missing)
        return made

    def clean(self) -> int:
        """Remove temporary files that interrupted stores left.

        Returns
        -------
        int
            How many files.
        """
        removed = 0
        before = time.time() - _LEFTOVER_AGE_S
        with translated("clean"), suppress(FileNotFoundError), self.folder([_INCOMING]) as folder:
            for name in os.listdir(folder):  # noqa: PTH208 - of an open folder
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if stat.S_ISREG(status.st_mode) and status.st_mtime < before:
                    unlink_quietly(folder, name)
                    removed += 1
        if removed:
            _LOG.warning(log.line("leftovers_removed", files=removed))
        return removed

    def _write(self, path: tuple[str, ...], parts: list[bytes], *, durable: bool) -> None:
        *folders, name = path
        temporary = str(uuid4())
        with translated("write"), self._root() as root:
            self._ensure_space(root, sum(map(len, parts)))
            with (
                self._below(root, [_INCOMING], create=True) as incoming,
                self._below(root, folders, create=True, flush=durable) as folder,
            ):
                try:
                    write_file(incoming, temporary, parts, durable=durable)
                    os.rename(temporary, name, src_dir_fd=incoming, dst_dir_fd=folder)
                except BaseException:
                    unlink_quietly(incoming, temporary)
                    raise
                if durable:
                    os.fsync(folder)

    def _read(self, path: tuple[str, ...], size: int | None, *, used: bool = True) -> bytes:
        *folders, name = path
        with translated("read"):
            try:
                with self.folder(folders) as folder:
                    return read_file(folder, name, size, used=used)
            except FileNotFoundError as error:
                raise DasMissingError(f"the DAS has no {name}") from error

    def _free_bytes(self, root: int) -> int:
        numbers = os.fstatvfs(root)
        free = numbers.f_bavail * numbers.f_frsize
        self._free.set(free)
        return free

    def _ensure_space(self, root: int, wanted: int) -> int:
        free = self._free_bytes(root)
        if free - wanted < self.settings.minimum_free_bytes:
            raise DasFullError(
                f"the DAS {self.settings.root} has {free} bytes free and must keep {self.settings.minimum_free_bytes}: "
                "`hapacs-node das status` shows why eviction does not free enough; or add disks"
            )
        return free

    @contextmanager
    def _root(self) -> Iterator[int]:
        root = os.open(self.settings.root, FOLDER)
        try:
            if self.settings.must_be_mount and os.fstat(root).st_dev == os.stat("..", dir_fd=root).st_dev:
                raise DasError(
                    f"the DAS {self.settings.root} is not a mount point: mount its disks "
                    "(or set das.must_be_mount to false where it is a plain folder on purpose)"
                )
            yield root
        finally:
            os.close(root)

    @contextmanager
    def folder(self, folders: list[str], *, create: bool = False) -> Iterator[int]:
        """Open a folder below the root, step by step and without following links.

        Raises
        ------
        OSError
            `files.translated` turns it into a DasError.
        """
        with self._root() as root, self._below(root, folders, create=create) as folder:
            yield folder

    @contextmanager
    def _below(self, root: int, folders: list[str], *, create: bool = False, flush: bool = False) -> Iterator[int]:
        """Open a folder. With `flush`, make sure that it and its parents would survive a loss of power."""
        current = os.dup(root)
        try:
            for depth, name in enumerate(folders, 1):
                path = "/".join(folders[:depth])
                below = self._open_folder(current, name, path) if create else os.open(name, FOLDER, dir_fd=current)
                try:
                    if flush and path not in self._flushed:
                        # Another process may have made the folder a moment ago without flushing it. A flush is slow
                        # and folders stay, so it is done once, before this process first relies on the folder.
                        os.fsync(current)
                        self._flushed.add(path)
                finally:
                    os.close(current)
                    current = below
            yield current
        finally:
            os.close(current)

    def _open_folder(self, parent: int, name: str, path: str) -> int:
        with suppress(FileNotFoundError):
            return os.open(name, FOLDER, dir_fd=parent)
        make_folder(parent, name)
        self._flushed.discard(path)
        return os.open(name, FOLDER, dir_fd=parent)
