"""Answers C-FIND from the query tables (DICOM PS3.4 C.4.1)."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self

from pydicom import Dataset

from hapacs_node import log
from hapacs_node.errors import RefusedError
from hapacs_node.query import attributes
from hapacs_node.query.attributes import Level
from hapacs_node.query.criteria import Criterion, Found, Search, criterion
from hapacs_node.query.dicom_json import CHARACTER_SET
from hapacs_node.query.qido import computed
from hapacs_node.query.spoken import spoken

_LOG = log.get("query")
_LEVEL, _CHARACTER_SET, _PATIENT_ID = 0x00080052, 0x00080005, 0x00100020
_FIRST_GROUP = 0x0008
type Path = tuple[int, ...]
"""The tags of an attribute: one, or those of the sequences around it too."""
_LEVELS = {"PATIENT": Level.STUDY, "STUDY": Level.STUDY, "SERIES": Level.SERIES, "IMAGE": Level.INSTANCE}


@dataclass(frozen=True)
class Query:
    """An identifier of C-FIND.

    Attributes
    ----------
    level : str
        Query/Retrieve Level: ``PATIENT``, ``STUDY``, ``SERIES`` or ``IMAGE``.
    keys : tuple of int
        The attributes that it names, without those inside of sequences.
    search : Search
        What is searched.
    ignored : tuple of Path
        Keys with a value that searches don't know; they are ignored.
    character_set : str
        In which the caller would like the answers.
    """

    level: str
    keys: tuple[int, ...]
    search: Search
    ignored: tuple[Path, ...]
    character_set: str

    @classmethod
    def of(cls, keys: Mapping[Path, str], limit: int) -> Self:
        """Read an identifier.

        Parameters
        ----------
        keys : mapping
            Values by path.
        limit : int
            Most answers.

        Raises
        ------
        RefusedError
            When its level is none of the four.
        """
        level = keys.get((_LEVEL,), "").strip().upper()
        if level not in _LEVELS:
            raise RefusedError("QueryRetrieveLevel must be PATIENT, STUDY, SERIES or IMAGE")
        criteria: list[Criterion] = []
        ignored = []
        for path, value in keys.items():
            if path[0] in {_LEVEL, _CHARACTER_SET} or not value.strip("* \0"):
                continue
            try:
                found = criterion(path, value.replace("\0", ""))
            except KeyError:
                ignored.append(path)
                continue
            criteria += [] if found is None else [found]
        # One patient may have many studies, of which each is an answer of the search.
        most = None if level == "PATIENT" else limit + 1
        return cls(
            level,
            tuple(path[0] for path in keys if len(path) == 1),
            Search(_LEVELS[level], tuple(criteria), most),
            tuple(ignored),
            keys.get((_CHARACTER_SET,), ""),
        )

    def answers(self, found: Sequence[Found], title: str) -> Iterable[dict[str, dict[str, Any]]]:
        """Yield the answers in the DICOM JSON model: the attributes that the identifier names.

        Parameters
        ----------
        found : sequence of Found
            What the search found.
        title : str
            AE title from which the images can be retrieved.
        """
        patients: set[str] = set()
        for one in found:
            whole = {**one.shown, **computed(one, self.search.level, "", title)}
            if self.level == "PATIENT":
                patient = str(one.shown.get(attributes.key(_PATIENT_ID), {}).get("Value", [""]))
                if patient in patients:
                    continue
                patients.add(patient)
            answer = {
                attributes.key(tag): whole.get(attributes.key(tag), {"vr": attributes.vr(tag)})
                for tag in self.keys
                if tag & 0xFFFF and tag >> 16 >= _FIRST_GROUP and not (tag >> 16) & 1
            }
            answer["00080052"] = {"vr": "CS", "Value": [self.level]}
            answer["00080054"] = {"vr": "AE", "Value": [title]}
            answer[CHARACTER_SET] = {"vr": "CS", "Value": spoken(answer, self.character_set)}
            yield answer


@dataclass(frozen=True)
class Answers:
    """The answers to one C-FIND.

    Attributes
    ----------
    answers : tuple of Dataset
        Identifiers, each in the character set that it names.
    complete : bool
        False when there are more than the limit.
    ignored : bool
        Whether a key with a value was ignored.
    """

    answers: tuple[Dataset, ...]
    complete: bool
    ignored: bool


@dataclass(frozen=True)
class Finder:
    """Answers C-FIND.

    Parameters
    ----------
    search : callable
        Searches the catalog.
    limit, images : int
        Most answers to one request, and to one at the level IMAGE.
    """

    search: Callable[[Search], Sequence[Found]]
    limit: int = 2000
    images: int = 20_000

    def find(self, keys: Mapping[Path, str], caller: str, title: str) -> Answers:
        """Answer one request.

        Parameters
        ----------
        keys : mapping
            Values by path.
        caller : str
            AE title of the caller, for the log.
        title : str
            AE title from which the images can be retrieved.

        Raises
        ------
        NodeError
            When the request is wrong, or no database leader answers.
        """
        began = time.monotonic()
        most = self.images if keys.get((_LEVEL,), "").strip().upper() == "IMAGE" else self.limit
        query = Query.of(keys, most)
        found = list(islice(query.answers(self.search(query.search), title), most + 1))
        ignored = ",".join(".".join(map(attributes.key, path)) for path in query.ignored) or None
        seconds = f"{time.monotonic() - began:.3f}"
        _LOG.info(
            log.line("queried", what=query.level, caller=caller, objects=len(found), ignored=ignored, seconds=seconds)
        )
        answers = tuple(Dataset.from_json(answer) for answer in found[:most])
        return Answers(answers, len(found) <= most, bool(query.ignored))
