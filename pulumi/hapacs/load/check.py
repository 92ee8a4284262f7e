"""Proves, instance by instance, that a site keeps what it acknowledged: once, with equal bytes, archived and locked.

An instance whose answer is unknown, or that was refused, may be there or not; when it is there, the same holds for it.
The instances of one series are looked up together, and a few series at the same time, so that the memory needed does
not depend on the number of instances.
"""

from __future__ import annotations

import hashlib
import itertools
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from pydicom.errors import InvalidDicomError

from hapacs import interruption
from hapacs.dicom import NotSendable, compare, files, marks, read_sample
from hapacs.errors import HapacsError
from hapacs.load.archive import SiteArchive
from hapacs.load.evidence import Archive, Copies, Row, Rows
from hapacs.load.ledger import Entry, Ledger, Series
from hapacs.site.access import Site

Kind = Literal["lost", "corrupted", "duplicated", "unprotected"]
_BATCH = 100
_SERIES, _READERS = 3, 6


class Reason(StrEnum):
    """What is wrong with an instance."""

    NOT_IN_QIDO = "not-in-qido"
    NOT_IN_C_FIND = "not-in-c-find"
    UNREADABLE = "unreadable"
    NOT_IN_CATALOG = "not-in-catalog"
    NOT_IN_ARCHIVE = "not-in-archive"
    OTHER_BYTES = "other-bytes"
    CATALOG_DIFFERS = "catalog-differs"
    ARCHIVE_DIFFERS = "archive-differs"
    FOUND_TWICE = "found-twice"
    INDEXED_TWICE = "indexed-twice"
    PATIENT_DOUBLED = "patient-doubled"
    STUDY_DOUBLED = "study-doubled"
    SERIES_DOUBLED = "series-doubled"
    COPY_MISSING = "copy-missing"
    NOT_LOCKED = "not-locked"


_KINDS: Mapping[Kind, frozenset[Reason]] = {
    "lost": frozenset({
        Reason.NOT_IN_QIDO, Reason.NOT_IN_C_FIND, Reason.UNREADABLE, Reason.NOT_IN_CATALOG, Reason.NOT_IN_ARCHIVE,
    }),
    "corrupted": frozenset({Reason.OTHER_BYTES, Reason.CATALOG_DIFFERS, Reason.ARCHIVE_DIFFERS}),
    "duplicated": frozenset({
        Reason.FOUND_TWICE, Reason.INDEXED_TWICE, Reason.PATIENT_DOUBLED, Reason.STUDY_DOUBLED, Reason.SERIES_DOUBLED,
    }),
    "unprotected": frozenset({Reason.COPY_MISSING, Reason.NOT_LOCKED}),
}  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """One finding.

    Attributes
    ----------
    uid
        SOP Instance UID; of a doubled patient, study or series the UID of the study or series.
    detail
        What was found, without a patient's name.
    """

    uid: str
    reason: Reason
    detail: str = ""

    @property
    def kind(self) -> Kind:
        """The class of the finding."""
        return next(kind for kind, reasons in _KINDS.items() if self.reason in reasons)


@dataclass
class Verdict:
    """Result of a check.

    Attributes
    ----------
    acknowledged, refused, unknown
        Number of instances of each outcome.
    kept
        Number of refused and unknown instances that the site has nevertheless.
    problems
        Empty when nothing is lost, corrupted, duplicated or unprotected.
    """

    acknowledged: int
    refused: int
    unknown: int
    kept: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether the site keeps all that it acknowledged."""
        return not self.problems

    def uids(self, kind: Kind) -> list[str]:
        """Return the instances, studies and series with a problem of that kind."""
        return list(dict.fromkeys(one.uid for one in self.problems if one.kind == kind))

    @property
    def lost(self) -> int:
        """Number of instances that can't be found or read."""
        return len(self.uids("lost"))

    @property
    def corrupted(self) -> int:
        """Number of instances with other bytes, or another catalog row."""
        return len(self.uids("corrupted"))

    @property
    def duplicated(self) -> int:
        """Number of instances, studies and series that are there more than once."""
        return len(self.uids("duplicated"))

    @property
    def unprotected(self) -> int:
        """Number of instances that have too few archive copies or no lock."""
        return len(self.uids("unprotected"))

    def document(self) -> dict[str, Any]:
        """Describe it for JSON."""
        counts = ("acknowledged", "refused", "unknown", "kept", "lost", "corrupted", "duplicated", "unprotected")
        problems = [
            {"uid": one.uid, "kind": one.kind, "reason": one.reason.value, "detail": one.detail}
            for one in self.problems
        ]
        return {"ok": self.ok, **{name: getattr(self, name) for name in counts}, "problems": problems}


OnProgress = Callable[[int], None]


def check(site: Site, ledger: Ledger, nodes: Sequence[str] = (), on_progress: OnProgress = lambda _: None) -> Verdict:
    """Check every instance of a ledger at a site.

    Parameters
    ----------
    nodes
        The nodes that run; all without names.
    on_progress
        Called with the number of instances that are done.

    Raises
    ------
    HapacsError
        When nothing was acknowledged, or the site does not answer.
    """
    return examine(SiteArchive(site, nodes or list(site.nodes)), ledger, on_progress)


def examine(archive: Archive, ledger: Ledger, on_progress: OnProgress = lambda _: None) -> Verdict:
    """Check every instance of a ledger.

    Parameters
    ----------
    on_progress
        Called with the number of instances that are done.

    Raises
    ------
    HapacsError
        When nothing was acknowledged, or the site does not answer.
    """
    counts = ledger.counts()
    if not counts["acknowledged"]:
        raise HapacsError("The ledger has no acknowledged store, so none can be checked.", "`hapacs load run` first.")
    verdict = Verdict(counts["acknowledged"], counts["refused"], counts["unknown"])
    done = 0
    with interruption.Workers(_READERS) as readers, interruption.Workers(_SERIES) as pool:
        tasks = (
            lambda series=series: _Series(archive, readers, series).check(ledger.entries(series))
            for series in ledger.series()
        )
        for found in _few_at_once(pool, tasks, 2 * _SERIES):
            verdict.problems += found.problems
            verdict.kept += found.kept
            done += found.entries
            on_progress(done)
    return verdict


def _few_at_once[T](pool: ThreadPoolExecutor, tasks: Iterator[Callable[[], T]], limit: int) -> Iterator[T]:
    """Run tasks in a pool and yield their results; no task is made before it can be run soon."""
    running: set[Future[T]] = set()
    while True:
        running |= {pool.submit(task) for task in itertools.islice(tasks, limit - len(running))}
        if not running:
            return
        finished, running = wait(running, return_when=FIRST_COMPLETED)
        yield from (one.result() for one in finished)


@dataclass
class _Series:
    """The check of one series, and its result."""

    archive: Archive
    readers: ThreadPoolExecutor
    series: Series
    problems: list[Problem] = field(default_factory=list)
    entries: int = 0
    kept: int = 0

    def check(self, entries: Iterator[Entry]) -> _Series:
        by_qido = Counter(self.archive.qido(self.series))
        by_c_find = Counter(self.archive.c_find(self.series))
        for batch in itertools.batched(entries, _BATCH):
            self.entries += len(batch)
            present = [entry for entry in batch if self._is_found(entry, by_qido, by_c_find)]
            self.kept += sum(entry.outcome != "acknowledged" for entry in present)
            if present:
                self._check_bytes(present, first=self.entries == len(batch))
        return self

    def _add(self, uid: str, reason: Reason, detail: str = "") -> None:
        self.problems.append(Problem(uid, reason, detail))

    def _is_found(self, entry: Entry, by_qido: Counter[str], by_c_find: Counter[str]) -> bool:
        """Compare the two searches; return whether one of them finds the instance."""
        uid = entry.sop_instance
        often = by_qido[uid], by_c_find[uid]
        if entry.outcome != "acknowledged" and not any(often):
            return False
        for count, reason in zip(often, (Reason.NOT_IN_QIDO, Reason.NOT_IN_C_FIND), strict=True):
            if not count:
                self._add(uid, reason)
        if max(often) > 1:
            self._add(uid, Reason.FOUND_TWICE, f"QIDO-RS finds it {often[0]} times, C-FIND {often[1]} times")
        return any(often)

    def _check_bytes(self, entries: Sequence[Entry], *, first: bool) -> None:
        rows = self.archive.rows(self.series, entries)
        if first:
            self._check_levels(rows)
        read = self.readers.map(lambda entry: _read(self.archive, entry), entries)
        archived: list[tuple[str, Row]] = []
        for entry, content in zip(entries, read, strict=True):
            uid, found = entry.sop_instance, rows.files.get(entry.sop_instance, ())
            if content is None:
                self._add(uid, Reason.UNREADABLE)
            elif content.problem:
                self._add(uid, Reason.OTHER_BYTES, content.problem)
            if len(found) > 1:
                self._add(uid, Reason.INDEXED_TWICE, f"{len(found)} files in the index")
            for row in found:
                if row.digest is None or row.removed:
                    self._add(uid, Reason.NOT_IN_CATALOG, "removed" if row.removed else "")
                else:
                    self._check_row(uid, row, content)
                    archived.append((uid, row))
            if not found:
                self._add(uid, Reason.NOT_IN_CATALOG, "the index has no file of it")
        copies = self.archive.copies([row for _, row in archived])
        for uid, row in archived:
            self._check_copies(uid, copies.get(row, Copies(())))

    def _check_levels(self, rows: Rows) -> None:
        levels = (
            (rows.patients, Reason.PATIENT_DOUBLED, self.series.study),
            (rows.studies, Reason.STUDY_DOUBLED, self.series.study),
            (rows.series, Reason.SERIES_DOUBLED, self.series.uid),
        )
        for count, reason, uid in levels:
            if count > 1:
                self._add(uid, reason, f"{count} in the index")

    def _check_row(self, uid: str, row: Row, content: _Content | None) -> None:
        if row.key is None or row.length != row.size:
            self._add(uid, Reason.CATALOG_DIFFERS, f"{row.length} of {row.size} bytes in {row.key}")
        elif content is not None and (row.digest, row.size) != (content.digest, content.size):
            self._add(uid, Reason.CATALOG_DIFFERS, f"{row.digest}, {row.size} bytes; read {content.digest}")

    def _check_copies(self, uid: str, copies: Copies) -> None:
        if copies.damaged:
            self._add(uid, Reason.ARCHIVE_DIFFERS, f"on {', '.join(copies.damaged)}")
        there = len(copies.whole) + len(copies.damaged) + len(copies.silent)
        if not copies.whole and not copies.damaged:
            silent = f"no answer from {', '.join(copies.silent)}" if copies.silent else ""
            self._add(uid, Reason.NOT_IN_ARCHIVE, silent)
            return
        if there < copies.wanted:
            self._add(uid, Reason.COPY_MISSING, f"{there} of {copies.wanted} copies: {', '.join(copies.whole)}")
        elif not copies.apart:
            self._add(uid, Reason.COPY_MISSING, f"all copies are in one zone: {', '.join(copies.whole)}")
        if copies.lock:
            self._add(uid, Reason.NOT_LOCKED, copies.lock)


@dataclass(frozen=True)
class _Content:
    """What was read of an instance, without the bytes.

    Attributes
    ----------
    digest, size
        Of the whole file.
    problem
        How the data set differs from the one that was sent.
    """

    digest: str
    size: int
    problem: str


def _read(archive: Archive, entry: Entry) -> _Content | None:
    if (content := archive.file(entry)) is None:
        return None
    return _Content(hashlib.sha256(content).hexdigest(), len(content), _difference(entry, content))


def _difference(entry: Entry, content: bytes) -> str:
    """Say how a file differs from what was sent.

    An archive may encode a file that it receives by C-STORE again; then its values have to be equal.
    """
    try:
        encoded = files.split(content)
    except (InvalidDicomError, EOFError, ValueError) as error:
        return f"no DICOM file: {error}"
    if hashlib.sha256(encoded).hexdigest() == entry.digest:
        return ""
    if not entry.source:
        return "other bytes than those that were sent"
    sample = read_sample(Path(entry.source))
    if isinstance(sample, NotSendable):
        return f"encoded differently, and {entry.source} can't be compared: {sample.reason}"
    sent = marks.mark(sample.dataset_bytes, sample.transfer_syntax, marks.LOAD)
    if hashlib.sha256(sent).hexdigest() != entry.digest:
        return f"encoded differently, and {entry.source} is not what was sent any more"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = compare.differences(files.decode(files.with_meta(sample, sent)), files.decode(content))
    return ", ".join(found[:3])
