"""Metadata of studies, series and instances: all but bulk data (DICOM PS3.18 10.4.1.1.2)."""

import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

from hapacs_node import log
from hapacs_node.catalog.catalog import Catalog
from hapacs_node.catalog.retrieval import Instance, Named
from hapacs_node.correction import original
from hapacs_node.correction.patient import Move
from hapacs_node.query import dicom_json, document, header
from hapacs_node.query.dicom_json import UnreadableError
from hapacs_node.record import identity
from hapacs_node.retrieve.budget import Budget
from hapacs_node.storage.reader import Reader

_LOG = log.get("retrieve")
_UID = r"[0-9.]{1,64}"
_PATH = re.compile(rf"/dicom-web/studies/({_UID})(?:/series/({_UID})(?:/instances/({_UID}))?)?/metadata/?", re.ASCII)
_KEPT_BYTES = 64 << 20
_ROWS_AT_A_TIME = 1000


def named(path: str) -> Named | None:
    """Return the study, series or instance whose metadata a path asks for; None for another path."""
    found = _PATH.fullmatch(unquote(path))
    return None if found is None else Named(*found.groups())


@dataclass
class Metadata:
    """Returns metadata from memory, else from the catalog, else from the files.

    Parameters
    ----------
    catalog : Catalog
        Has the metadata of most images since they were stored.
    reader : Reader
        Reads the files.
    budget : Budget
        Limits the memory of answers.
    undeclared : str
        Character set of files that declare none.
    """

    catalog: Catalog
    reader: Reader
    budget: Budget
    undeclared: str
    _kept: OrderedDict[str, bytes] = field(default_factory=OrderedDict, init=False)
    _kept_bytes: int = field(default=0, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def of(self, instances: Sequence[Instance], root: str) -> bytes:
        """Return the metadata of instances as one JSON array.

        Parameters
        ----------
        instances : sequence of Instance
            From the catalog.
        root : str
            URL of the DICOMweb service, without a slash at its end.

        Raises
        ------
        NodeError
            When one of them can't be read, because part of a study would look like all of it.
        """
        known = {one.object.digest: kept for one in instances if (kept := self._get(one.object.digest)) is not None}
        missing = [one.object for one in instances if one.object.digest not in known]
        described_as = header.described_as(self.undeclared)
        for at in range(0, len(missing), _ROWS_AT_A_TIME):
            rows = {row.uuid: row.digest for row in missing[at : at + _ROWS_AT_A_TIME]}
            for uuid, kept in self.catalog.documents(list(rows), described_as).items():
                known[rows[uuid]] = self._keep(rows[uuid], kept)
        unkept = [row for row in missing if row.digest not in known]
        contents = self.reader.read_all(unkept)
        for row in unkept:
            with self.budget.hold(row.size):
                known[row.digest] = self._keep(row.digest, self._read(next(contents)))
        return document.array((self._given(known[one.object.digest], one.move) for one in instances), root)

    @staticmethod
    def _given(kept: bytes, move: Move | None) -> bytes:
        return kept if move is None else document.packed(original.corrected(document.unpacked(kept), move))

    def _read(self, content: bytes) -> bytes:
        about = identity.of(content)
        try:
            dataset, pixels = dicom_json.read(content, self.undeclared)
            return document.packed(document.attributes_of(dataset, pixels, about))
        except (UnreadableError, RecursionError) as error:
            # One hostile file hides no others of its study.
            _LOG.warning(log.line("metadata_unreadable", sop=about.sop, error=type(error).__name__))
            return document.packed(dicom_json.identifiers(about))

    def _get(self, digest: str) -> bytes | None:
        with self._lock:
            if (kept := self._kept.get(digest)) is not None:
                self._kept.move_to_end(digest)
            return kept

    def _keep(self, digest: str, kept: bytes) -> bytes:
        with self._lock:
            if digest not in self._kept:
                self._kept[digest] = kept
                self._kept_bytes += len(kept)
            while self._kept_bytes > _KEPT_BYTES:
                _, gone = self._kept.popitem(last=False)
                self._kept_bytes -= len(gone)
        return kept
