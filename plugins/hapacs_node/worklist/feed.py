"""The feed of the worklist, over HTTPS: a RIS sends, reads and deletes entries in the DICOM JSON model."""

import json
import re
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING
from uuid import UUID

from hapacs_node.catalog.catalog import Catalog
from hapacs_node.errors import BadRequestError, RefusedError
from hapacs_node.worklist.entry import Entry
from hapacs_node.worklist.settings import Worklist

if TYPE_CHECKING:
    from hapacs_node.retrieve.request import Request

_PATH = re.compile(r"/worklist(?:/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}))?", re.ASCII)
_JSON = "application/dicom+json"
_MOST_BYTES = 64 << 10
MOST_ENTRIES = 20_000
ALLOWED = "GET, HEAD, POST, PUT, DELETE"


def is_path(path: str) -> bool:
    """Whether a path is one of the feed."""
    return _PATH.fullmatch(path) is not None


@dataclass(frozen=True)
class Feed:
    """Answers requests of a RIS.

    Parameters
    ----------
    catalog : Catalog
        Keeps the entries.
    settings : Worklist
        Who may, and how long entries are kept.
    """

    catalog: Catalog
    settings: Worklist

    def answer(self, request: "Request") -> None:
        """Answer one request.

        Raises
        ------
        NodeError
            When it is wrong, or no database leader answers.
        """
        found = _PATH.fullmatch(request.bare_path)
        name = UUID(found[1]) if found is not None and found[1] else None
        reads = request.command in {"GET", "HEAD"}
        request.event = "worklist_read" if reads else "worklist_changed"
        if request.headers.get("X-Hapacs-User") not in self.settings.users:
            request.refuse_unread(HTTPStatus.FORBIDDEN, "this user may not use the worklist")
        elif reads:
            self._read(request, name)
        elif request.command == "DELETE" and name is not None:
            if request.headers.get("Content-Length", "0") != "0":
                request.close_connection = True
            if not self.catalog.delete_entry(name):
                raise RefusedError("no such entry")
            request.reply_empty(HTTPStatus.NO_CONTENT)
        elif (request.command == "POST") is (name is None) and request.command != "DELETE":
            self._keep(request, name)
        else:
            why = "POST is for /worklist; PUT and DELETE are for an entry below it"
            request.refuse_unread(
                HTTPStatus.METHOD_NOT_ALLOWED,
                why,
                Allow="GET, HEAD, POST" if name is None else "GET, HEAD, PUT, DELETE",
            )

    def _read(self, request: "Request", name: UUID | None) -> None:
        if name is None:
            entries = self.catalog.entries()
            body = json.dumps(entries).encode("ascii")
            request.sent = len(entries)
        else:
            entry = self.catalog.entry(name)
            if entry is None:
                raise RefusedError("no such entry")
            body, request.sent = json.dumps(entry).encode("ascii"), 1
        request.sent_bytes = len(body)
        request.begin(_JSON, len(body))
        request.send(body)

    def _keep(self, request: "Request", name: UUID | None) -> None:
        length = request.headers.get("Content-Length", "")
        if not re.fullmatch(r"[0-9]{1,9}", length, re.ASCII):
            request.refuse_unread(HTTPStatus.LENGTH_REQUIRED, "the length of the entry must be said")
            return
        if int(length) > _MOST_BYTES:
            request.refuse_unread(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"an entry has at most {_MOST_BYTES} bytes")
            return
        content = request.rfile.read(int(length))
        if len(content) < int(length):
            request.close_connection = True
            raise BadRequestError("the entry is cut short")
        entry = Entry.of(content)
        if name not in {None, entry.name}:
            request.refuse(HTTPStatus.CONFLICT, f"the entry of this study and step is {entry.name}")
            return
        keep = timedelta(days=self.settings.keep_days)
        made = self.catalog.keep_entry(entry, keep, request.headers["X-Hapacs-User"], MOST_ENTRIES)
        if made is None:
            request.refuse(HTTPStatus.INSUFFICIENT_STORAGE, f"there are {MOST_ENTRIES} entries: delete some")
            return
        request.sent, request.sent_bytes = 1, len(content)
        request.reply_empty(HTTPStatus.CREATED if made else HTTPStatus.NO_CONTENT, Location=f"/worklist/{entry.name}")
