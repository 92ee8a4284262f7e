"""A ledger of stores on disk: what is sent is written before it is sent, and each answer when it comes.

A modality may delete an image as soon as its store is answered with success, so none of these may be lost. An answer
that does not come leaves open whether the image was stored.
"""

from __future__ import annotations

import itertools
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hapacs.errors import HapacsError

Outcome = Literal["acknowledged", "refused", "unknown"]
"""Acknowledged: success or a warning. Refused: a failure, or not sent. Unknown: sent, and the answer did not come."""

_VERSION = 1
_SCHEMA = """
create table instance (
    sop_instance text primary key, study text not null, series text not null, patient_id text not null,
    digest text not null, source text not null
) without rowid;
create index instance_series on instance (study, series);
create table attempt (
    id integer primary key, sop_instance text not null references instance, protocol text not null,
    sent_at real not null, ended_at real, reason text not null default '',
    outcome text not null default 'unknown' check (outcome in ('acknowledged', 'refused', 'unknown'))
);
create index attempt_instance on attempt (sop_instance);
create index attempt_ended on attempt (ended_at, outcome);
create view entry as
select i.sop_instance, i.study, i.series, i.patient_id, i.digest, i.source,
    case when sum(a.outcome = 'acknowledged') then 'acknowledged'
         when sum(a.outcome = 'unknown') then 'unknown' else 'refused' end as outcome,
    count(*) as attempts
from instance i join attempt a using (sop_instance) group by i.study, i.series, i.sop_instance;
"""
_COLUMNS = "sop_instance, study, series, patient_id, digest, source, outcome, attempts"


class LedgerError(HapacsError):
    """The ledger can't be written or read."""


@dataclass(frozen=True)
class Instance:
    """One instance as it is sent.

    Attributes
    ----------
    digest
        SHA-256 of the encoded data set.
    source
        The file that it was read from; empty for a made one.
    """

    sop_instance: str
    study: str
    series: str
    patient_id: str
    digest: str
    source: str = ""


@dataclass(frozen=True)
class Entry(Instance):
    """One instance and the outcome of all its attempts.

    Attributes
    ----------
    outcome
        Acknowledged when one attempt was; else unknown when the outcome of one attempt is; else refused.
    attempts
        Number of times that it was sent, or that a connection was tried for it.
    """

    outcome: Outcome = "unknown"
    attempts: int = 1


@dataclass(frozen=True)
class Series:
    """A series of which the ledger has instances."""

    study: str
    uid: str
    patient_id: str


@dataclass(frozen=True)
class Acknowledgement:
    """One acknowledged store; times in seconds since the epoch."""

    sop_instance: str
    sent_at: float
    acknowledged_at: float


@dataclass(frozen=True)
class Second:
    """Attempts that ended within one second.

    Attributes
    ----------
    at
        Seconds since the epoch.
    """

    at: int
    acknowledged: int = 0
    refused: int = 0
    unknown: int = 0


class Ledger:
    """Stores and their answers. Every change is on disk when the method returns; threads share their commits.

    Parameters
    ----------
    path
        An SQLite file; existing entries are kept.

    Raises
    ------
    LedgerError
        When the file is no ledger of this version.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with closing(self._connect()) as connection:
                _prepare(connection, path)
        except sqlite3.Error as error:
            raise LedgerError(f"{path} can't be used as a ledger: {error}.", "Give another file.") from error
        self._work: queue.SimpleQueue[tuple[Callable[[sqlite3.Connection], Any], Future[Any]] | None]
        self._work = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="ledger", daemon=True)
        self._writer.start()

    def begin(self, instance: Instance, protocol: str) -> int:
        """Record that an instance is about to be sent, and return the number of the attempt.

        Until `end` is called the outcome is unknown.

        Raises
        ------
        LedgerError
            When the ledger has other bytes under this SOP Instance UID, or can't be written.
        """
        return self._committed(lambda connection: _begin(connection, instance, protocol))

    def end(self, attempt: int, outcome: Outcome, reason: str = "") -> None:
        """Record the outcome of an attempt.

        Raises
        ------
        LedgerError
            When the ledger can't be written.
        """
        values = (time.time(), outcome, reason, attempt)
        sql = "update attempt set ended_at = ?, outcome = ?, reason = ? where id = ?"
        self._committed(lambda connection: connection.execute(sql, values).rowcount)

    def not_sent(self, instance: Instance, protocol: str, reason: str) -> None:
        """Record an attempt that got no connection: refused, because nothing was sent.

        Raises
        ------
        LedgerError
            As `begin`.
        """
        self.end(self.begin(instance, protocol), "refused", reason)

    def counts(self) -> Mapping[Outcome, int]:
        """Return the number of instances of each outcome."""
        found: dict[Outcome, int] = {"acknowledged": 0, "refused": 0, "unknown": 0}
        found.update(self._rows("select outcome, count(*) from entry group by outcome"))
        return found

    def acknowledged(self, since: float) -> int:
        """Return the number of acknowledgements since a moment."""
        sql = "select count(*) from attempt where outcome = 'acknowledged' and ended_at >= ?"
        return int(next(self._rows(sql, since))[0])

    def reason_counts(self, since: float) -> Mapping[str, int]:
        """Return how often each reason ended an attempt without an acknowledgement since a moment."""
        sql = "select reason, count(*) from attempt where outcome != 'acknowledged' and ended_at >= ? group by 1"
        return dict(self._rows(sql, since))

    def reasons(self) -> list[tuple[float, str]]:
        """Return when attempts ended without an acknowledgement, and why."""
        sql = "select ended_at, reason from attempt where outcome != 'acknowledged' and ended_at is not null order by 1"
        return [(float(at), str(reason)) for at, reason in self._rows(sql)]

    def series(self) -> Iterator[Series]:
        """Yield each series that instances were sent of."""
        sql = "select study, series, min(patient_id) from instance group by study, series"
        return (Series(*row) for row in self._rows(sql))

    def entries(self, series: Series | None = None) -> Iterator[Entry]:
        """Yield the instances of one series, or all."""
        if series is None:
            rows = self._rows(f"select {_COLUMNS} from entry")  # noqa: S608 - constants
        else:
            sql = f"select {_COLUMNS} from entry where study = ? and series = ?"  # noqa: S608
            rows = self._rows(sql, series.study, series.uid)
        return (Entry(*row) for row in rows)

    def acknowledgements(self, since: float = 0, until: float = float("inf")) -> Iterator[Acknowledgement]:
        """Yield the acknowledged stores whose answer came between two moments, in the order of their answers."""
        sql = (
            "select sop_instance, sent_at, ended_at from attempt "
            "where outcome = 'acknowledged' and ended_at between ? and ? order by ended_at, id"
        )
        return (Acknowledgement(*row) for row in self._rows(sql, since, until))

    def longest_gap(self, since: float, until: float) -> float:
        """Return the longest time without an acknowledgement between two moments, in seconds.

        A period without any acknowledgement is one gap.
        """
        times = (one.acknowledged_at for one in self.acknowledgements(since, until))
        marks = itertools.chain([since], times, [until])
        return max(later - earlier for earlier, later in itertools.pairwise(marks))

    def per_second(self, since: float, until: float) -> list[Second]:
        """Return the attempts that ended in each second between two moments; no second is left out."""
        sql = (
            "select cast(ended_at as integer), sum(outcome = 'acknowledged'), sum(outcome = 'refused'), "
            "sum(outcome = 'unknown') from attempt where ended_at between ? and ? group by 1"
        )
        found = {row[0]: Second(*row) for row in self._rows(sql, since, until)}
        return [found.get(at, Second(at)) for at in range(int(since), int(until) + 1)]

    def close(self) -> None:
        """End the writing thread, and close the file."""
        self._work.put(None)
        self._writer.join()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=30)
        # Every commit is flushed to the disk.
        connection.execute("pragma synchronous = full")
        return connection

    def _rows(self, sql: str, *values: object) -> Iterator[Any]:
        with closing(self._connect()) as connection:
            yield from connection.execute(sql, values)

    def _committed[T](self, change: Callable[[sqlite3.Connection], T]) -> T:
        done: Future[T] = Future()
        self._work.put((change, done))
        return done.result()

    def _write(self) -> None:
        """Commit the changes of all threads that wait in one transaction."""
        with closing(self._connect()) as connection:
            while (first := self._work.get()) is not None:
                batch = [first]
                while not self._work.empty():
                    if (more := self._work.get()) is None:
                        # The end: for the outer loop.
                        self._work.put(None)
                        break
                    batch.append(more)
                try:
                    connection.execute("begin immediate")
                    results = [_outcome(change, connection) for change, _ in batch]
                    connection.execute("commit")
                except sqlite3.Error as error:
                    failure = LedgerError(f"{self._path} can't be written: {error}.", "Look at the disk's free space.")
                    results = [failure] * len(batch)
                    if connection.in_transaction:
                        connection.execute("rollback")
                for (_, done), result in zip(batch, results, strict=True):
                    if isinstance(result, LedgerError):
                        done.set_exception(result)
                    else:
                        done.set_result(result)


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Create the tables in a new file; readers don't wait for the writer."""
    connection.execute("pragma journal_mode = wal")
    (version,) = connection.execute("pragma user_version").fetchone()
    (tables,) = connection.execute("select count(*) from sqlite_schema").fetchone()
    if not tables:
        connection.executescript(f"begin; {_SCHEMA} pragma user_version = {_VERSION}; commit;")
    elif version != _VERSION:
        raise LedgerError(f"{path} is no ledger of version {_VERSION}.", "Give another file.")


def _outcome(change: Callable[[sqlite3.Connection], Any], connection: sqlite3.Connection) -> Any:
    """Return the result of a change, or why it is refused; a refused change has changed nothing."""
    try:
        return change(connection)
    except LedgerError as error:
        return error


def _begin(connection: sqlite3.Connection, instance: Instance, protocol: str) -> int:
    known = connection.execute("select digest from instance where sop_instance = ?", (instance.sop_instance,))
    if (row := known.fetchone()) is None:
        values = (
            instance.sop_instance, instance.study, instance.series, instance.patient_id, instance.digest,
            instance.source,
        )  # fmt: skip
        connection.execute("insert into instance values (?, ?, ?, ?, ?, ?)", values)
    elif row[0] != instance.digest:
        raise LedgerError(
            f"The ledger has other bytes of {instance.sop_instance}, so it can't record these.",
            "Two files with the same SOP Instance UID replace each other in an archive: send one of them.",
        )
    sql = "insert into attempt (sop_instance, protocol, sent_at) values (?, ?, ?)"
    number = connection.execute(sql, (instance.sop_instance, protocol, time.time())).lastrowid
    if number is None:
        raise LedgerError("SQLite gives an attempt no number.")
    return number
