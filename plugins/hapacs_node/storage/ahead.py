"""Reads ahead: when one image of a series comes from the archive, the other images of the series are fetched too.

They are fetched a few at a time. A reader that needs an image which is being fetched waits for it, instead of fetching
it a second time.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

from hapacs_node import log
from hapacs_node.catalog.objects import StoredObject
from hapacs_node.errors import NodeError
from hapacs_node.metrics import Metrics

_LOG = log.get("ahead")
# Limit for one series. Images beyond it are fetched when they are read.
_LONGEST_BYTES = 1_000_000_000
_REMEMBERED = 20_000
# An image that is missing again after this time has been evicted since.
_LATELY_S = 60


@dataclass
class ReadAhead:
    """Fetches objects from the archive, for readers and before a reader asks.

    Parameters
    ----------
    fetch : callable
        Reads images from one object of the archive and puts copies on the DAS.
    is_there : callable
        Returns whether the DAS already has a copy of an object, without reading it.
    series : callable
        Lists the DICOM files of the series that an attachment belongs to, in the order in which they were stored.
    workers : ThreadPoolExecutor
        Threads that read ahead.
    metrics : Metrics
        Counts the objects that were read ahead.
    """

    fetch: Callable[[Sequence[StoredObject]], list[bytes]]
    is_there: Callable[[StoredObject], bool]
    series: Callable[[UUID], list[StoredObject]]
    workers: ThreadPoolExecutor
    metrics: Metrics
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _under_way: dict[str, Future[bytes]] = field(default_factory=dict, init=False)
    _begun: OrderedDict[UUID, float] = field(default_factory=OrderedDict, init=False)

    def __post_init__(self) -> None:
        self._read_ahead = self.metrics.counter("hapacs_das_read_ahead", "DAS copies restored before a read needs them")

    def get(self, row: StoredObject, along: Sequence[StoredObject] = ()) -> bytes:
        """Fetch an object, or wait for it when another thread is fetching it.

        Parameters
        ----------
        row : StoredObject
            The object.
        along : sequence of StoredObject
            Images in the same object of the archive that are needed next.

        Raises
        ------
        NodeError
            When `fetch` raises it.
        """
        along = [other for other in along if not self.is_there(other)]
        with self._lock:
            found = self._under_way.get(row.digest)
            wanted = [row, *(other for other in along if other.digest not in self._under_way)]
            mine = self._claim(wanted if found is None else [])
        if found is not None:
            return found.result()
        return self._fetch_claimed(mine)[0]

    def begin(self, row: StoredObject) -> None:
        """Read the other images of the series ahead, unless that began a moment ago."""
        if self._note([row.uuid]):
            # The workers refuse new work while Orthanc stops.
            with suppress(RuntimeError):
                self.workers.submit(self._begin, row)

    def begin_with(self, rows: Sequence[StoredObject]) -> int:
        """Read ahead the objects after the first one; return how many objects, with the first, are covered."""
        self._note(row.uuid for row in rows)
        with suppress(RuntimeError):
            return 1 + self._submit(rows[1:], besides=rows[0].key)
        return len(rows)

    def _begin(self, row: StoredObject) -> None:
        try:
            series = self.series(row.uuid)
        except NodeError as error:
            _LOG.warning(log.line("read_ahead_failed", uuid=row.uuid, error=error))
            return
        place = next((number for number, other in enumerate(series) if other.uuid == row.uuid), 0)
        # The images before it too, but last.
        wanted = [*series[place + 1 :], *series[:place]]
        self._note(other.uuid for other in wanted)
        self._submit(wanted)

    def _submit(self, wanted: Sequence[StoredObject], besides: str | None = None) -> int:
        """Submit objects for fetching, grouped by object of the archive; return how many are within the limit."""
        length = count = 0
        together: dict[str, list[StoredObject]] = {}
        for other in wanted:
            length += other.length
            if length > _LONGEST_BYTES:
                break
            count += 1
            together.setdefault(other.key, []).append(other)
        for key, rows in together.items():
            if key != besides:
                self.workers.submit(self._fetch_all, rows)
        return count

    def _fetch_all(self, rows: Sequence[StoredObject]) -> None:
        try:
            missing = [row for row in rows if not self.is_there(row)]
            with self._lock:
                mine = self._claim([row for row in missing if row.digest not in self._under_way])
            if mine:
                self._fetch_claimed(mine)
        except NodeError as error:
            # A reader of these objects tries again, and gets its own error when it fails too.
            _LOG.warning(log.line("read_ahead_failed", key=rows[0].key, error=error))
            return
        self._read_ahead.inc(len(mine))

    def _claim(self, rows: Iterable[StoredObject]) -> dict[str, StoredObject]:
        mine = {row.digest: row for row in rows}
        self._under_way |= {digest: Future() for digest in mine}
        return mine

    def _fetch_claimed(self, mine: dict[str, StoredObject]) -> list[bytes]:
        """Fetch objects that this thread has claimed, and pass them to the threads that wait for them."""
        try:
            contents = self.fetch(list(mine.values()))
        except BaseException as error:
            for future in self._release(mine):
                future.set_exception(error)
            raise
        for future, content in zip(self._release(mine), contents, strict=True):
            future.set_result(content)
        return contents

    def _release(self, mine: Iterable[str]) -> list[Future[bytes]]:
        with self._lock:
            return [self._under_way.pop(digest) for digest in mine]

    def _note(self, uuids: Iterable[UUID]) -> bool:
        """Record attachments as read ahead now; return whether the last one had not been read ahead a moment ago."""
        now = time.monotonic()
        new = False
        with self._lock:
            for uuid in uuids:
                before = self._begun.pop(uuid, None)
                new = before is None or now - before > _LATELY_S
                self._begun[uuid] = now
            while len(self._begun) > _REMEMBERED:
                self._begun.popitem(last=False)
        return new
