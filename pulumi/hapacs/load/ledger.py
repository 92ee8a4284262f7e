"""A ledger of acknowledged stores, and the check that all of them are in the archive.

A modality may delete an image as soon as its C-STORE is answered with success, so none of these may be lost.
"""

from __future__ import annotations

import hashlib
import itertools
import sqlite3
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Protocol

_SCHEMA = """
create table if not exists acknowledged (
    sop_instance text not null, study text not null, series text not null, patient_id text not null,
    digest text not null, sent_at real not null, acknowledged_at real not null, attempts integer not null
)
"""


@dataclass(frozen=True)
class Entry:
    """One acknowledged store.

    Attributes
    ----------
    digest
        SHA-256 of the encoded data set.
    sent_at, acknowledged_at
        Seconds since the epoch; `sent_at` is that of the acknowledged attempt.
    attempts
        Number of times that it was sent.
    """

    sop_instance: str
    study: str
    series: str
    patient_id: str
    digest: str
    sent_at: float
    acknowledged_at: float
    attempts: int = 1


class Ledger:
    """Acknowledged stores, written to disk at once.

    Parameters
    ----------
    path
        An SQLite file; existing entries are kept.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.execute(_SCHEMA)

    def record(self, entry: Entry) -> None:
        """Record an acknowledged store."""
        with self._lock:
            self._database.execute("insert into acknowledged values (?, ?, ?, ?, ?, ?, ?, ?)", astuple(entry))

    def entries(self) -> list[Entry]:
        """Return all entries, in the order of acknowledgement."""
        with self._lock:
            rows = self._database.execute("select * from acknowledged order by acknowledged_at, rowid").fetchall()
        return [Entry(*row) for row in rows]

    def first_after(self, moment: float) -> Entry | None:
        """Return the first store that was sent and acknowledged after a moment."""
        later = [entry for entry in self.entries() if entry.sent_at >= moment]
        return later[0] if later else None

    def longest_gap(self, since: float, until: float) -> float:
        """Return the longest time without an acknowledgement between two moments, in seconds.

        A period without any acknowledgement is one gap.
        """
        times = [entry.acknowledged_at for entry in self.entries() if since <= entry.acknowledged_at <= until]
        marks = [since, *times, until]
        return max(later - earlier for earlier, later in itertools.pairwise(marks))

    def close(self) -> None:
        """Close the file."""
        self._database.close()


class Archive(Protocol):
    """The archive in which acknowledged instances are checked."""

    def instances(self, study: str, series: str) -> list[str]:
        """Return the SOP Instance UIDs that a search finds, each as often as it is found."""
        ...

    def dataset_bytes(self, entry: Entry) -> bytes | None:
        """Return the encoded data set of an instance, or None when it can't be read."""
        ...


def missing(entries: Sequence[Entry], archive: Archive, readers: int = 6) -> list[str]:
    """Return the problems of acknowledged instances: not found exactly once, not readable, or with other bytes.

    Raises
    ------
    ValueError
        When there are no entries.
    """
    if not entries:
        raise ValueError("the ledger is empty: no store was acknowledged, so none can be checked")
    problems = []
    for study, series in dict.fromkeys((entry.study, entry.series) for entry in entries):
        found = Counter(archive.instances(study, series))
        problems += [
            f"{entry.sop_instance} is found {found[entry.sop_instance]} times instead of once"
            for entry in entries
            if entry.series == series and found[entry.sop_instance] != 1
        ]

    def read(entry: Entry) -> str:
        content = archive.dataset_bytes(entry)
        if content is None:
            return f"{entry.sop_instance} can't be read"
        return "" if hashlib.sha256(content).hexdigest() == entry.digest else f"{entry.sop_instance} has other bytes"

    with ThreadPoolExecutor(max_workers=readers) as pool:
        problems += [problem for problem in pool.map(read, entries) if problem]
    return problems
