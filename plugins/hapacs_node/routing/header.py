"""Reads of an image only what the rules need: its header up to the last attribute that they name."""

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Self

from pydicom import Dataset
from pydicom.datadict import dictionary_VR
from pydicom.dataset import FileDataset
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag

from hapacs_node.query import attributes as query_attributes
from hapacs_node.query.dicom_json import UnreadableError
from hapacs_node.routing import attributes
from hapacs_node.routing.attributes import Attribute
from hapacs_node.routing.model import Condition, Prefetch, Routing, Rule

_PIXELS = 0x7FE0
# The DICOM JSON model has them as numbers, so their text in the file is lost.
_NOT_AS_TEXT = {"AT", "DS", "IS"}


@dataclass(frozen=True)
class Needed:
    """What rules need of an image.

    Attributes
    ----------
    tags : tuple of int or None
        The tags that they name; None when a private one is among them, whose place each image decides.
    last : int
        The last tag at which one of them can be.
    documented : bool
        Whether the metadata that the catalog keeps decide as the file does.
    """

    tags: tuple[int, ...] | None
    last: int
    documented: bool

    @classmethod
    def of(cls, routing: Routing) -> Self:
        """Return what the rules of a site need."""
        wishes: list[Rule | Prefetch] = [*routing.rules, *routing.prefetch]
        conditions = [condition for wish in wishes for condition in (*wish.when, *wish.unless)]
        named = [(condition, attributes.parse(condition.attribute)) for condition in conditions]
        private = any(attribute.creator for _, attribute in named)
        return cls(
            tags=None if private else tuple(sorted({int(one.tag) for _, one in named if one.tag is not None})),
            last=max((_last(attribute) for _, attribute in named), default=0),
            documented=not private and not any(_is_exact(condition, attribute) for condition, attribute in named),
        )

    def read(self, content: bytes) -> tuple[FileDataset, bool]:
        """Read a file or its beginning; return it, and whether all that is needed was certainly read.

        Raises
        ------
        UnreadableError
            When it can't be parsed, which may be because it is a beginning only.
        """
        passed = False

        def is_beyond(tag: BaseTag, _vr: str | None, _length: int) -> bool:
            nonlocal passed
            passed = tag > self.last or tag.group == _PIXELS
            return passed

        try:
            tags: list[BaseTag | int] | None = None if self.tags is None else list(self.tags)
            return read_partial(BytesIO(content), is_beyond, specific_tags=tags), passed
        except (Exception, RecursionError) as error:
            raise UnreadableError(f"{type(error).__name__}: {error}") from error

    def of_file(self, head: bytes, whole: Callable[[], bytes]) -> FileDataset:
        """Read a file by its beginning, and only when that is not enough by all of it.

        Parameters
        ----------
        head : bytes
            The beginning.
        whole : callable
            Returns all of it.

        Raises
        ------
        UnreadableError
            When it can't be parsed.
        """
        try:
            dataset, enough = self.read(head)
        except UnreadableError:
            enough = False
        return dataset if enough else self.read(whole())[0]

    def of_document(self, document: bytes) -> Dataset:
        """Read the metadata that the catalog keeps of an image.

        Raises
        ------
        UnreadableError
            When they can't be parsed.
        """
        try:
            known = json.loads(zlib.decompress(document))
            named = {key: known[key] for key in map(query_attributes.key, self.tags or ()) if key in known}
            return Dataset.from_json({key: one for key, one in named.items() if "BulkDataURI" not in one})
        except (Exception, RecursionError) as error:
            raise UnreadableError(f"{type(error).__name__}: {error}") from error


def _last(attribute: Attribute) -> int:
    if attribute.tag is None:
        return 0
    return int(attribute.tag) | 0xFFFF if attribute.creator else int(attribute.tag)


def _is_exact(condition: Condition, attribute: Attribute) -> bool:
    """Return whether a condition is about the text of a number."""
    textual = condition.equals is not None or condition.one_of is not None or condition.matches is not None
    try:
        return textual and attribute.tag is not None and dictionary_VR(attribute.tag) in _NOT_AS_TEXT
    except KeyError:
        return True
