"""Answers C-FIND (DICOM PS3.4 C.4.1)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from pydicom import DataElement, Dataset
from pydicom.multival import MultiValue

from hapacs_node import log
from hapacs_node.dimse.answering import (
    BAD_IDENTIFIER,
    CANCEL,
    OUT_OF_RESOURCES,
    PENDING,
    PENDING_WITH_WARNING,
    SUCCESS,
    UNABLE,
    Association,
    identifier,
)
from hapacs_node.dimse.wire import Message
from hapacs_node.errors import NodeError, RefusedError
from hapacs_node.query.cfind import Answers, Path

_LOG = log.get("dimse")


class Finds(Protocol):
    """Answers identifiers."""

    def find(self, keys: Mapping[Path, str], caller: str, title: str) -> Answers:
        """Answer one request; see `hapacs_node.query.cfind.Finder`."""
        ...


@dataclass(frozen=True)
class Find:
    """Answers C-FIND.

    Parameters
    ----------
    title : str
        Our AE title.
    finder : Finds
        Searches the catalog.
    """

    title: str
    finder: Finds

    def serve(self, association: Association, request: Message) -> None:
        """Answer one request.

        Raises
        ------
        EndedError
            When the caller ends the association.
        """
        caller = association.accepted.caller.title
        try:
            named = identifier(request, association.context(request))
            found = self.finder.find(dict(_keys(named, ())), caller, self.title)
        except RefusedError as error:
            association.respond(request, BAD_IDENTIFIER, comment=str(error))
            return
        except NodeError as error:
            _LOG.error(log.line("queried", caller=caller, outcome="failed", error=error))
            association.respond(request, UNABLE, comment="the index can't be read now: ask again later")
            return
        # A key that is not known has been ignored (PS3.4 C.4.1.1.4).
        pending = PENDING_WITH_WARNING if found.ignored else PENDING
        for answer in found.answers:
            if association.is_cancelled(request):
                association.respond(request, CANCEL)
                return
            association.respond(request, pending, identifier=answer)
        if not found.complete:
            association.respond(request, OUT_OF_RESOURCES, comment="there are more answers: restrict the query")
            return
        association.respond(request, SUCCESS)


def _keys(named: Dataset, above: Path) -> Iterator[tuple[Path, str]]:
    """Yield the keys with their values as text; those inside of a sequence with the path to them."""
    for element in named:
        path = (*above, int(element.tag))
        if element.VR != "SQ":
            yield path, _text(element)
            continue
        yield path, ""
        for item in list(element.value or ())[:1]:
            yield from _keys(item, path)


def _text(element: DataElement) -> str:
    value = element.value
    if value is None or isinstance(value, bytes):
        return "" if value is None else value.decode("utf-8", "replace")
    if isinstance(value, (MultiValue, list)):
        return "\\".join(str(one) for one in value)
    return str(value)
