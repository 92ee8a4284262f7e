"""Answers QIDO-RS requests from the query tables."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hapacs_node.query.criteria import Found, Search
from hapacs_node.query.qido import Request

_HOST = re.compile(r"[A-Za-z0-9.:_\[\]-]{1,255}", re.ASCII)


@dataclass(frozen=True)
class Reply:
    """An answer in JSON.

    Attributes
    ----------
    body : bytes
        UTF-8.
    answers : int
        The number of its elements.
    warnings : tuple of str
        What of the request was ignored.
    """

    body: bytes
    answers: int
    warnings: tuple[str, ...] = ()


def root(host: str) -> str:
    """Return the URL of the DICOMweb service as a caller's Host header names it."""
    return f"https://{host if _HOST.fullmatch(host) else 'localhost'}/dicom-web"


def reply(asked: Request, search: Callable[[Search], Sequence[Found]], host: str, title: str) -> Reply:
    """Answer a search.

    Parameters
    ----------
    asked : Request
        The request.
    search : callable
        Searches the catalog.
    host : str
        Host header of the request.
    title : str
        AE title from which the images can be retrieved.
    """
    found = search(asked.search)
    answers = asked.answer(found, root(host), title)
    return Reply(json.dumps(answers, separators=(",", ":"), ensure_ascii=False).encode(), len(answers), asked.warnings)
