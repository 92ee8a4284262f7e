"""The C-STORE sub-operations of a C-MOVE or C-GET (DICOM PS3.4 C.4.2 and C.4.3).

One that fails changes nothing for the others.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from pydicom import Dataset

from hapacs_node import log
from hapacs_node.catalog.selection import Selected
from hapacs_node.correction import file as file_
from hapacs_node.dimse import contexts
from hapacs_node.dimse.contexts import Context
from hapacs_node.dimse.transcoded import as_jpeg_2000, without_additions
from hapacs_node.dimse.wire import EndedError
from hapacs_node.errors import BusyError, NodeError
from hapacs_node.retrieve.budget import Budget
from hapacs_node.routing import image
from hapacs_node.storage.reader import Reader

_LOG = log.get("dimse")
NO_CONTEXT, UNREADABLE, UNANSWERED = 0x0122, 0xA700, 0xC000
"""What is noted for an image that was not sent: no context for it; it can't be read or transcoded; no answer."""
_WARNINGS = frozenset({0x0001, 0x0107, 0x0116})
_CLASS, _WARNING = 0xF000, 0xB000
# Command fields (PS3.7 E.1).
_STORE_RQ = 0x0001
_MESSAGES = 0xFFFF
# How often an image waits for memory.
_PATIENCE = 6

type Transcode = Callable[[bytes, str], bytes]
"""Transcodes a DICOM file; raises when it can't."""


class LostError(EndedError):
    """The association for the sub-operations ended, or there is none.

    Parameters
    ----------
    why : str
        For the log.
    final : bool
        Whether the images that follow need not be tried.
    """

    def __init__(self, why: str, *, final: bool) -> None:
        super().__init__(why)
        self.final = final


@dataclass(frozen=True)
class Originator:
    """Who asked by C-MOVE for what is sent: AE title and message identifier."""

    title: str
    message: int


@dataclass(frozen=True)
class Image:
    """An image as it is sent in one presentation context."""

    context: Context
    sop: str
    dataset: bytes | memoryview


class Target(Protocol):
    """Takes the images of a C-MOVE or C-GET."""

    def contexts(self, instance: Selected) -> Sequence[Context]:
        """Return the presentation contexts that are open for an image, all classes.

        Raises
        ------
        LostError
            When there is no association.
        """
        ...

    def store(self, sent: Image) -> int:
        """Send an image, and return the status of the answer.

        Raises
        ------
        LostError
            When there is none.
        """
        ...


@dataclass
class Tally:
    """The sub-operations of one request."""

    total: int
    completed: int = 0
    warned: int = 0
    failed: list[str] = field(default_factory=list)

    @property
    def remaining(self) -> int:
        """Those that were not tried yet."""
        return self.total - self.completed - self.warned - len(self.failed)

    def count(self, sop: str, status: int) -> None:
        """Count one by its status."""
        if status == 0:
            self.completed += 1
        elif status & _CLASS == _WARNING or status in _WARNINGS:
            self.warned += 1
        else:
            self.failed.append(sop)


@dataclass
class Transcoder:
    """Transcodes one image at a time, which bounds its memory.

    Parameters
    ----------
    transcode : callable or None
        Orthanc's transcoder; None where there is none.
    """

    transcode: Transcode | None
    _one: threading.Lock = field(default_factory=threading.Lock, init=False)

    def to(self, content: bytes, syntax: str) -> bytes | None:
        """Return a DICOM file in another transfer syntax; None when it can't be transcoded."""
        if self.transcode is None:
            return None
        with self._one:
            try:
                return without_additions(content, self.transcode(as_jpeg_2000(content), syntax))
            except Exception as error:  # noqa: BLE001 - Orthanc's own exception, or memory, or no DICOM file
                _LOG.warning(log.line("not_transcoded", syntax=syntax, error=repr(error)))
                return None


@dataclass(frozen=True)
class Sender:
    """Reads images and gives them to a target.

    Parameters
    ----------
    reader : Reader
        Reads from DAS and archive.
    budget : Budget
        Limits the memory of all answers.
    transcoder : Transcoder
        Makes other transfer syntaxes.
    undeclared : str
        Character set of files that declare none.
    """

    reader: Reader
    budget: Budget
    transcoder: Transcoder
    undeclared: str

    def send(self, instances: Sequence[Selected], target: Target) -> Iterator[tuple[Selected, int]]:
        """Send images; yield each with the status of its sub-operation.

        Raises
        ------
        LostError
            When the target takes no more.
        EndedError
            When the association of the caller ended.
        BusyError
            When there is no memory.
        """
        readable = [one for one in instances if one.object is not None]
        contents = self.reader.read_all([one.object for one in readable if one.object is not None])
        for instance in instances:
            if instance.object is None:
                yield instance, UNREADABLE
                continue
            with self._hold(instance.object.size * (1 if instance.move is None else 2)):
                try:
                    # Also what is not wanted is read: the reading ahead keeps its order. The reader continues after an
                    # error.
                    status = self._one(instance, next(contents), target)
                except LostError as error:
                    _LOG.warning(log.line("association_lost", sop=instance.sop, study=instance.study, error=error))
                    if error.final:
                        raise
                    status = UNANSWERED
                except EndedError:
                    raise
                except NodeError as error:
                    _LOG.error(log.line("not_read", sop=instance.sop, study=instance.study, error=error))
                    status = UNREADABLE
            yield instance, status

    def _one(self, instance: Selected, content: bytes, target: Target) -> int:
        content = file_.given(content, instance.move, self.undeclared)
        usable = contexts.usable(target.contexts(instance), instance.sop_class, instance.transfer_syntax)
        for context in usable:
            file = content
            if context.syntax != instance.transfer_syntax:
                transcoded = self.transcoder.to(content, context.syntax)
                # An object without pixels stays in an uncompressed syntax whatever is asked for.
                if transcoded is None or image.parse(transcoded).transfer_syntax != context.syntax:
                    continue
                file = transcoded
            return target.store(Image(context, instance.sop, image.parse(file).dataset))
        return UNREADABLE if usable else NO_CONTEXT

    @contextmanager
    def _hold(self, size: int) -> Iterator[None]:
        """Reserve memory; a request waits longer than one of the web, which another node can answer."""
        with ExitStack() as held:
            for last in (*[False] * (_PATIENCE - 1), True):
                try:
                    held.enter_context(self.budget.hold(size))
                    break
                except BusyError:
                    if last:
                        raise
            yield


def store_request(sent: Image, number: int, priority: int, originator: Originator | None) -> Dataset:
    """Make the command set of a C-STORE-RQ (PS3.7 table 9.3-1).

    Parameters
    ----------
    sent : Image
        The image.
    number : int
        Number of the message in its association.
    priority : int
        Of the request that it belongs to.
    originator : Originator or None
        Who asked by C-MOVE.
    """
    command = Dataset()
    command.AffectedSOPClassUID = sent.context.abstract
    command.CommandField = _STORE_RQ
    command.MessageID = (number - 1) % _MESSAGES + 1
    command.Priority = priority
    command.AffectedSOPInstanceUID = sent.sop
    if originator is not None:
        command.MoveOriginatorApplicationEntityTitle = originator.title
        command.MoveOriginatorMessageID = originator.message
    return command


def failed_list(sops: Iterable[str]) -> Dataset:
    """Make the identifier of a response that names what was not sent."""
    identifier = Dataset()
    identifier.FailedSOPInstanceUIDList = list(sops)
    return identifier
