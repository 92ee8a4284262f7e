"""Sends bulk data: pixel data as frames or as one value, other values whole or a range of their bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

from hapacs_node.catalog.objects import StoredObject
from hapacs_node.query.dicom_json import PIXELS
from hapacs_node.retrieve import bulk, frames
from hapacs_node.retrieve.bulk import NoValueError, OutsideError
from hapacs_node.retrieve.frames import Body
from hapacs_node.retrieve.pixels import NoPixelsError, Pixels
from hapacs_node.retrieve.request import Request
from hapacs_node.retrieve.sources import Sources
from hapacs_node.storage.reader import Reader


@dataclass(frozen=True)
class Bulk:
    """Sends bulk data.

    Parameters
    ----------
    reader : Reader
        Reads the files.
    sources : Sources
        Reads pixels.
    undeclared : str
        Character set of files that declare none.
    """

    reader: Reader
    sources: Sources
    undeclared: str

    def answer(self, request: Request, path: Sequence[int], row: StoredObject) -> None:
        """Answer a request for the value at a path of a file.

        Raises
        ------
        NodeError
            When it can't be read now.
        """
        try:
            if len(path) == 1 and path[0] in PIXELS:
                self._pixels(request, path[0], row)
            else:
                found = bulk.value(next(self.reader.read_all([row])), path, self.undeclared)
                self._value(request, memoryview(found.content), found.type)
        except NoValueError as error:
            request.refuse(HTTPStatus.NOT_FOUND, str(error))
        except NoPixelsError as error:
            request.refuse(HTTPStatus.NOT_ACCEPTABLE, str(error))

    def _pixels(self, request: Request, tag: int, row: StoredObject) -> None:
        try:
            stored = self.sources.stored(row)
        except NoPixelsError as error:
            raise NoValueError(str(error)) from None
        if stored.tag != tag:
            raise NoValueError("the instance has another kind of pixel data")
        if stored.syntax in frames.NATIVE:
            self._value(request, stored.whole(), bulk.OCTETS)
            return
        pixels: Pixels | None = stored
        form = frames.form(request.accepted, stored.syntax, stored.frames if stored.encapsulated else 1)
        if form is not None and form.syntax == frames.EXPLICIT:
            pixels = self.sources.decoded(row, stored)
        if form is None or pixels is None:
            why = f"the pixel data are stored in transfer syntax {stored.syntax}, and can't be had in an accepted form"
            request.refuse(HTTPStatus.NOT_ACCEPTABLE, why)
            return
        # A compressed frame is a part of its own (PS3.18 8.7.3.3); frames that are not compressed are one value.
        sent = pixels.take(range(1, pixels.frames + 1)) if pixels.encapsulated else [pixels.whole()]
        self._send(request, Body.of(form, sent))

    def _value(self, request: Request, value: memoryview, kind: str) -> None:
        # A condition can't be met: values have no validators (RFC 9110 13.1.5). HEAD has no ranges (14.2).
        asked = None if request.command == "HEAD" or "If-Range" in request.headers else request.headers.get("Range")
        try:
            part = bulk.wanted_range(asked, len(value))
        except OutsideError as error:
            bounds = {"Content-Range": f"bytes */{len(value)}"}
            request.refuse(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, str(error), **bounds)
            return
        form = bulk.form(request.accepted, kind, ranged=part is not None)
        if form is None:
            request.refuse(HTTPStatus.NOT_ACCEPTABLE, f"the value can be had as {bulk.OCTETS} or {kind}")
            return
        in_parts = frames.Form(True, form.type, "")
        if part is None:
            body = Body.of(in_parts, [value]) if form.multipart else Body(form.type, (value,))
            self._send(request, body, {"Accept-Ranges": "bytes"})
            return
        piece, said = value[part.start : part.stop], f"bytes {part.start}-{part.stop - 1}/{len(value)}"
        if form.multipart:
            # As in multipart/byteranges (RFC 9110 14.6): the range is one of the value, not of the whole body.
            body, headers = Body.of(in_parts, [piece], f"Content-Range: {said}\r\n"), {}
        else:
            body, headers = Body(form.type, (piece,)), {"Content-Range": said}
        self._send(request, body, headers, HTTPStatus.PARTIAL_CONTENT)

    @staticmethod
    def _send(
        request: Request, body: Body, headers: dict[str, str] | None = None, status: HTTPStatus = HTTPStatus.OK
    ) -> None:
        request.sent, request.sent_bytes = 1, body.length
        request.begin(body.content_type, body.length, headers, status)
        for piece in body.pieces:
            request.send(piece)
