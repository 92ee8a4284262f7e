"""Answers C-FIND from the entries of the worklist."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from pydicom import Dataset

from hapacs_node import log
from hapacs_node.query.cfind import Answers, Path
from hapacs_node.query.dicom_json import Json
from hapacs_node.worklist.asked import Asked

_LOG = log.get("worklist")


@dataclass(frozen=True)
class WorklistFinder:
    """Answers C-FIND.

    Parameters
    ----------
    entries : callable
        Returns the entries in the order in which their steps start.
    limit : int
        Most answers to one request.
    """

    entries: Callable[[], Sequence[Json]]
    limit: int = 2000

    def find(self, keys: Mapping[Path, str], caller: str, title: str) -> Answers:  # noqa: ARG002 - as `Finder` has it
        """Answer one request; every key with a value is matched.

        Raises
        ------
        NodeError
            When no database leader answers.
        """
        began = time.monotonic()
        asked = Asked.of(keys)
        found = list(islice(filter(asked.matches, self.entries()), self.limit + 1))
        seconds = f"{time.monotonic() - began:.3f}"
        _LOG.info(log.line("queried", what="WORKLIST", caller=caller, objects=len(found), seconds=seconds))
        answers = tuple(Dataset.from_json(asked.answer(entry)) for entry in found[: self.limit])
        return Answers(answers, len(found) <= self.limit, ignored=False)
