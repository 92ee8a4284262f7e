"""Sends the files of a study, a series or an instance.

A file that the client does not take as it is stored is transcoded. One of several that can't be is sent as it is
stored: the part says its transfer syntax, and the others are of use.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

from hapacs_node import log
from hapacs_node.catalog.retrieval import Instance
from hapacs_node.correction import file
from hapacs_node.dimse.transfer import Transcoder
from hapacs_node.errors import NodeError
from hapacs_node.retrieve import wado
from hapacs_node.retrieve.budget import Budget
from hapacs_node.retrieve.request import Request
from hapacs_node.routing import image
from hapacs_node.storage.reader import Reader

_LOG = log.get("retrieve")


@dataclass(frozen=True)
class Whole:
    """Sends files.

    Parameters
    ----------
    reader : Reader
        Reads them.
    budget : Budget
        Limits the memory of answers.
    transcoder : Transcoder
        Makes other transfer syntaxes.
    undeclared : str
        Character set of files that declare none.
    """

    reader: Reader
    budget: Budget
    transcoder: Transcoder
    undeclared: str

    def answer(self, request: Request, instances: Sequence[Instance]) -> None:
        """Answer a request for files.

        Raises
        ------
        NodeError
            When one of them can't be read now.
        """
        form = wado.form(request.accepted, len(instances))
        if form is None:
            request.refuse(
                HTTPStatus.NOT_ACCEPTABLE,
                "DICOM files are sent as multipart/related; type=application/dicom, and one also as application/dicom",
            )
            return
        frame = wado.Multipart.of(instances)
        kept = all(form.takes(instance.transfer_syntax) and instance.move is None for instance in instances)
        if request.command == "HEAD":
            # No file is read for it.
            self._begin(request, form, frame, instances, kept=kept)
            return
        contents = self.reader.read_all([instance.object for instance in instances])
        for number, instance in enumerate(instances):
            # The first instance is read before the first byte is sent, while the balancer can still ask another node.
            with self.budget.hold(instance.object.size * (1 if instance.move is None else 2)):
                content, syntax = self._in_form(next(contents), instance, form)
                if len(instances) == 1 and not form.takes(syntax):
                    why = f"it is stored in transfer syntax {syntax}, and can't be had in an accepted one"
                    request.refuse(HTTPStatus.NOT_ACCEPTABLE, why)
                    return
                if number == 0:
                    self._begin(request, form, frame, instances, kept=kept, syntax=syntax)
                if form.multipart:
                    request.send(wado.head(frame.boundary, number, syntax, len(content)))
                request.send(content)
                request.sent += 1
                request.sent_bytes += len(content)
                del content
        if form.multipart:
            request.send(frame.tail)
        request.end()

    @staticmethod
    def _begin(
        request: Request,
        form: wado.Form,
        frame: wado.Multipart,
        instances: Sequence[Instance],
        *,
        kept: bool,
        syntax: str | None = None,
    ) -> None:
        if form.multipart:
            request.begin(frame.content_type, frame.length if kept else None)
        else:
            (one,) = instances
            request.begin(
                wado.content_type(one.transfer_syntax if syntax is None else syntax), one.object.size if kept else None
            )

    def _in_form(self, content: bytes, instance: Instance, form: wado.Form) -> tuple[bytes, str]:
        """Return a file in a transfer syntax that is wanted, else as it is stored, and its transfer syntax."""
        content = file.given(content, instance.move, self.undeclared)
        if form.takes(instance.transfer_syntax):
            return content, instance.transfer_syntax
        for syntax in form.syntaxes:
            if (made := self.transcoder.to(content, syntax)) is None:
                continue
            try:
                # An object without pixels stays in an uncompressed syntax whatever is asked for.
                if image.parse(made).transfer_syntax == syntax:
                    return made, syntax
            except NodeError as error:
                _LOG.warning(log.line("not_transcoded", syntax=syntax, error=error))
        return content, instance.transfer_syntax
