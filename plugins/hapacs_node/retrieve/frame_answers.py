"""Answers requests for frames: from the whole file, or from the parts of a large one that was read before."""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

from hapacs_node import log
from hapacs_node.catalog.objects import StoredObject
from hapacs_node.errors import DasError
from hapacs_node.retrieve import frames
from hapacs_node.retrieve.budget import Budget
from hapacs_node.retrieve.pixels import NoFrameError, NoPixelsError
from hapacs_node.retrieve.request import Request
from hapacs_node.retrieve.sources import Sources
from hapacs_node.storage.das import Das

_LOG = log.get("retrieve")


@dataclass(frozen=True)
class FrameAnswers:
    """Sends frames.

    Parameters
    ----------
    das : Das
        Has the parts.
    sources : Sources
        Has the files.
    budget : Budget
        Limits the memory of answers.
    """

    das: Das
    sources: Sources
    budget: Budget

    def answer(self, request: Request, numbers: Sequence[int], row: StoredObject) -> None:
        """Answer a request for frames of a file.

        Raises
        ------
        NodeError
            When the file can't be read now.
        """
        try:
            if not self._answer_parts(request, numbers, row):
                with self.budget.hold(row.size):
                    self._answer_whole(request, numbers, row)
        except NoFrameError as error:
            request.refuse(HTTPStatus.NOT_FOUND, str(error))
        except NoPixelsError as error:
            request.refuse(HTTPStatus.NOT_ACCEPTABLE, str(error))

    def _answer_parts(self, request: Request, numbers: Sequence[int], row: StoredObject) -> bool:
        """Answer without reading the whole file; return whether that was possible."""
        parts = self.sources.parts(row)
        if parts is None:
            return False
        form = frames.form(request.accepted, parts.syntax, len(numbers))
        if form is not None and _decodes(form, parts.syntax):
            return False
        with self.budget.hold(parts.size_of(numbers)):
            try:
                taken = parts.take(numbers, self.das)
            except DasError as error:
                # The whole file is read then, and its copy restored.
                _LOG.warning(log.line("frame_not_on_das", digest=row.digest, error=error))
                return False
            _send(request, form, parts.syntax, taken)
        return True

    def _answer_whole(self, request: Request, numbers: Sequence[int], row: StoredObject) -> None:
        pixels = self.sources.stored(row)
        form = frames.form(request.accepted, pixels.syntax, len(numbers))
        if form is not None and _decodes(form, pixels.syntax):
            made = self.sources.decoded(row, pixels)
            pixels, form = (pixels, None) if made is None else (made, form)
        _send(request, form, pixels.syntax, pixels.take(numbers))


def _decodes(form: frames.Form, stored: str) -> bool:
    return form.syntax == frames.EXPLICIT and stored not in frames.NATIVE


def _send(request: Request, form: frames.Form | None, stored: str, taken: Sequence[bytes | memoryview]) -> None:
    if form is None:
        why = f"the frames are stored in transfer syntax {stored}, and can't be had in an accepted form"
        request.refuse(HTTPStatus.NOT_ACCEPTABLE, why)
        return
    body = frames.Body.of(form, taken)
    request.sent, request.sent_bytes = len(taken), body.length
    request.begin(body.content_type, body.length)
    for piece in body.pieces:
        request.send(piece)
