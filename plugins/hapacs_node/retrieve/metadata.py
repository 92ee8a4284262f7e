"""Metadata of studies, series and instances: all but bulk data (DICOM PS3.18 10.4.1.1.2)."""

import json
import re
import threading
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import unquote

from hapacs_node import log
from hapacs_node.catalog.retrieval import Instance, Named
from hapacs_node.query import attributes, dicom_json
from hapacs_node.query.dicom_json import UnreadableError
from hapacs_node.record import identity
from hapacs_node.retrieve.budget import Budget
from hapacs_node.storage.reader import Reader

_LOG = log.get("retrieve")
_UID = r"[0-9.]{1,64}"
_PATH = re.compile(rf"/dicom-web/studies/({_UID})(?:/series/({_UID})(?:/instances/({_UID}))?)?/metadata/?", re.ASCII)
# Stands for the URL of the service in what is kept.
_ROOT = "\1root"
_MARK = json.dumps(_ROOT)[1:-1].encode("ascii")
_KEPT_BYTES = 64 << 20


def named(path: str) -> Named | None:
    """Return the study, series or instance whose metadata a path asks for; None for another path."""
    found = _PATH.fullmatch(unquote(path))
    return None if found is None else Named(*found.groups())


@dataclass
class Metadata:
    """Reads metadata from the files, and keeps what was read, compressed.

    Parameters
    ----------
    reader : Reader
        Reads the files.
    budget : Budget
        Limits the memory of answers.
    undeclared : str
        Character set of files that declare none.
    """

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
        contents = self.reader.read_all(missing)
        for row in missing:
            with self.budget.hold(row.size):
                known[row.digest] = self._keep(row.digest, self._read(next(contents)))
        parts = (zlib.decompress(known[one.object.digest]) for one in instances)
        return b"[" + b",".join(parts).replace(_MARK, root.encode()) + b"]"

    def _read(self, content: bytes) -> bytes:
        about = identity.of(content)
        bulk = partial(_link, f"/studies/{about.study}/series/{about.series}/instances/{about.sop}/bulk/")
        try:
            dataset, pixels = dicom_json.read(content, self.undeclared)
            found = dicom_json.of(dataset, bulk)
        except (UnreadableError, RecursionError) as error:
            # One hostile file hides no others of its study.
            _LOG.warning(log.line("metadata_unreadable", sop=about.sop, error=type(error).__name__))
            found, pixels = dicom_json.identifiers(about), None
        if pixels is not None:
            key = attributes.key(pixels)
            found[key] = {"vr": dicom_json.PIXELS[pixels], "BulkDataURI": bulk(key)}
        # No text of a file holds the mark: `dicom_json.clean` removes such control characters.
        return json.dumps(found, separators=(",", ":")).encode("ascii")

    def _get(self, digest: str) -> bytes | None:
        with self._lock:
            if (kept := self._kept.get(digest)) is not None:
                self._kept.move_to_end(digest)
            return kept

    def _keep(self, digest: str, document: bytes) -> bytes:
        kept = zlib.compress(document, 1)
        with self._lock:
            if digest not in self._kept:
                self._kept[digest] = kept
                self._kept_bytes += len(kept)
            while self._kept_bytes > _KEPT_BYTES:
                _, gone = self._kept.popitem(last=False)
                self._kept_bytes -= len(gone)
        return kept


def _link(place: str, path: str) -> str:
    return f"{_ROOT}{place}{path}"
