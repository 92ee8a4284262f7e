"""Reading ahead: who asks for one image of a series that the DAS lost, or never had, asks for the others soon.

They are fetched from the archive meanwhile, a few at a time. A reader that comes to one that is just being fetched
waits for it in place of fetching it once more.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

from hapacs_node import log
from hapacs_node.catalog.objects import StoredObject
from hapacs_node.errors import NodeError
from hapacs_node.metrics import Metrics

_LOG = log.get("ahead")
# Of one series; what is larger is fetched as it is asked for.
_LONGEST_BYTES = 1_000_000_000
_REMEMBERED = 20_000
# What was read ahead and is missing again after that was evicted meanwhile.
_LATELY_S = 60


@dataclass
class ReadAhead:
    """Fetches objects from the archive, for readers and ahead of them.

    Parameters
    ----------
    fetch : callable
        Reads an object from the archive and puts a copy on the DAS.
    is_there : callable
        Tells whether the DAS has a copy of an object already, without reading it.
    series : callable
        Lists the DICOM files of the series that an attachment belongs to, in the order in which they were stored.
    workers : ThreadPoolExecutor
        Threads that read ahead.
    metrics : Metrics
        Counts what was read ahead.
    """

    fetch: Callable[[StoredObject], bytes]
    is_there: Callable[[StoredObject], bool]
    series: Callable[[UUID], list[StoredObject]]
    workers: ThreadPoolExecutor
    metrics: Metrics
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _under_way: dict[str, Future[bytes]] = field(default_factory=dict, init=False)
    _begun: OrderedDict[UUID, float] = field(default_factory=OrderedDict, init=False)

    def get(self, row: StoredObject) -> bytes:
        """Fetch an object, or wait for it when it is being fetched already.

        Raises
        ------
        NodeError
            As `fetch` does.
        """
        with self._lock:
            found = self._under_way.get(row.digest)
            mine = self._under_way.setdefault(row.digest, Future())
        if found is not None:
            return found.result()
        try:
            content = self.fetch(row)
        except BaseException as error:
            self._done(row)
            mine.set_exception(error)
            raise
        self._done(row)
        mine.set_result(content)
        return content

    def begin(self, row: StoredObject) -> None:
        """Read ahead what belongs to the same series, unless that was begun lately."""
        if self._note([row.uuid]):
            # While Orthanc stops nothing is read ahead any more.
            with suppress(RuntimeError):
                self.workers.submit(self._begin, row)

    def _begin(self, row: StoredObject) -> None:
        try:
            series = self.series(row.uuid)
        except NodeError as error:
            _LOG.warning(log.line("series not read ahead", uuid=row.uuid, error=error))
            return
        place = next((number for number, other in enumerate(series) if other.uuid == row.uuid), 0)
        # What comes before it too, but last.
        wanted = [*series[place + 1 :], *series[:place]]
        self._note(other.uuid for other in wanted)
        length = 0
        for other in wanted:
            length += other.length
            if length > _LONGEST_BYTES:
                break
            self.workers.submit(self._fetch, other)

    def _fetch(self, row: StoredObject) -> None:
        try:
            if self.is_there(row):
                return
            self.get(row)
        except NodeError as error:
            # Whoever asks for it gets an error of his own, or finds that it works again.
            _LOG.warning(log.line("not read ahead", digest=row.digest, error=error))
            return
        self.metrics.read_ahead.inc()

    def _done(self, row: StoredObject) -> None:
        with self._lock:
            del self._under_way[row.digest]

    def _note(self, uuids: Iterable[UUID]) -> bool:
        """Remember attachments as read ahead now; tell whether the last one had not been lately."""
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
