"""Writes images to a folder: one file for each, under its name only when it is whole on the disk."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from hapacs_node.catalog.tasks import Task
from hapacs_node.outbox import answers
from hapacs_node.outbox.answers import Ended
from hapacs_node.routing import names
from hapacs_node.routing.destination import FolderDestination
from hapacs_node.routing.image import Message
from hapacs_node.routing.peer import OneByOne, PeerError, UnansweredError
from hapacs_node.storage.files import FOLDER, opener, unlink_quietly, write_file

_FOLDER_MODE = 0o750


@dataclass(frozen=True)
class FolderSession(OneByOne):
    """An open folder.

    Attributes
    ----------
    destination : FolderDestination
        The folder.
    root : int
        Its file descriptor.
    proven : bool
        A folder can be opened that takes no file, so only a written one shows that it works.
    """

    destination: FolderDestination
    root: int
    proven: bool = False
    _flushed: set[str] = field(default_factory=set)

    def _attempt(self, task: Task, message: Message) -> Ended:
        if not names.are_safe(task):
            return Ended(task.id, "dead", names.UNSAFE)
        try:
            with self._below(task.study, task.series) as folder:
                if task.attempts > 1:
                    _remove_leftovers(folder, task)
                temporary = f".{task.id}-{uuid4().hex}.part"
                try:
                    write_file(folder, temporary, [message.file], durable=True)
                    os.rename(temporary, f"{task.sop}.dcm", src_dir_fd=folder, dst_dir_fd=folder)
                except BaseException:
                    unlink_quietly(folder, temporary)
                    raise
                os.fsync(folder)
                found = _digest(folder, f"{task.sop}.dcm")
        except OSError as error:
            raise UnansweredError(f"{self.destination.where} takes no file: {error.strerror}") from error
        if found != hashlib.sha256(message.file).hexdigest():
            return answers.unanswered(task.id, task.attempts, "the folder returns other bytes than were written")
        return Ended(task.id, "confirmed")

    @contextmanager
    def _below(self, *levels: str) -> Iterator[int]:
        """Open a folder below the root, and make what is missing. Its name is on the disk before a file is in it."""
        current, path = os.dup(self.root), ""
        try:
            for name in levels:
                path = f"{path}/{name}"
                below = _open_folder(current, name)
                try:
                    # Another writer may have made it a moment ago without flushing it.
                    if path not in self._flushed:
                        os.fsync(current)
                        self._flushed.add(path)
                finally:
                    os.close(current)
                    current = below
            yield current
        finally:
            os.close(current)


@contextmanager
def enter(destination: FolderDestination) -> Iterator[FolderSession]:
    """Open the folder of a destination.

    Raises
    ------
    PeerError
        When it is missing, or on the system's disk.
    """
    root = _root(destination)
    try:
        yield FolderSession(destination, root)
    finally:
        os.close(root)


def present(destination: FolderDestination, tasks: Sequence[Task]) -> set[str]:
    """Return the SOP Instance UIDs of those images that have a file in the folder.

    Raises
    ------
    PeerError
        When the folder is missing, or can't be read.
    """
    with enter(destination) as session:
        try:
            return {task.sop for task in tasks if _has(session.root, task)}
        except OSError as error:
            raise PeerError(f"{destination.where} can't be read: {error.strerror}") from error


def ping(destination: FolderDestination) -> str:
    """Write a file to the folder, read it, and remove it; return the free space in words.

    Raises
    ------
    PeerError
        When the folder is missing, or does not take the file.
    """
    name, content = f".probe-{uuid4().hex}.part", os.urandom(4096)
    with enter(destination) as session:
        try:
            try:
                write_file(session.root, name, [content], durable=True)
                found = _digest(session.root, name)
            finally:
                unlink_quietly(session.root, name)
            numbers = os.fstatvfs(session.root)
        except OSError as error:
            raise PeerError(f"{destination.where} takes no file: {error.strerror}") from error
    if found != hashlib.sha256(content).hexdigest():
        raise PeerError(f"{destination.where} returns other bytes than were written")
    return f"a file was written; {numbers.f_bavail * numbers.f_frsize / 1e9:.1f} GB free"


def _root(destination: FolderDestination) -> int:
    try:
        root = os.open(destination.path, FOLDER)
    except OSError as error:
        raise PeerError(f"{destination.where} can't be opened: {error.strerror}; mount or make it") from error
    if destination.must_be_mount and os.fstat(root).st_dev == _above(destination).stat().st_dev:
        os.close(root)
        raise PeerError(
            f"{destination.where} is not mounted: mount its share "
            "(or set must_be_mount to false where it is a plain folder on purpose)"
        )
    return root


def _above(destination: FolderDestination) -> Path:
    """Return the folder below which a folder has to be, such as ``/mnt``."""
    return Path(*Path(destination.path).parts[:2])


def _has(root: int, task: Task) -> bool:
    if not names.are_safe(task):
        return False
    try:
        os.stat(names.path(task), dir_fd=root, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _open_folder(parent: int, name: str) -> int:
    with suppress(FileNotFoundError):
        return os.open(name, FOLDER, dir_fd=parent)
    # Another writer may have made it a moment ago.
    with suppress(FileExistsError):
        os.mkdir(name, _FOLDER_MODE, dir_fd=parent)
    return os.open(name, FOLDER, dir_fd=parent)


def _remove_leftovers(folder: int, task: Task) -> None:
    """Remove what attempts of this task left that were killed. One that still runs fails, and is recorded so."""
    for name in os.listdir(folder):
        if name.startswith(f".{task.id}-"):
            unlink_quietly(folder, name)


def _digest(folder: int, name: str) -> str:
    with open(name, "rb", buffering=0, opener=opener(folder)) as file:
        # The bytes come from the disk or the server, not from this node's memory.
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return hashlib.file_digest(file, "sha256").hexdigest()
