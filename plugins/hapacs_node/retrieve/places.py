"""Finds the file of an instance, and remembers those of its series for a moment.

A viewer asks for the images of a series one by one, hundreds a second. A query for each would take longer than all the
rest of the answer.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

from hapacs_node.catalog.catalog import Catalog
from hapacs_node.catalog.objects import StoredObject
from hapacs_node.catalog.retrieval import Named
from hapacs_node.catalog.selection import Selected, Selection
from hapacs_node.errors import CatalogError, RefusedError

REMEMBERED_S = 2.0
"""How long an image can still be found here after it was deleted, hidden or replaced."""
_IN_USE_S = 60.0
_MOST_ROWS = 20_000


@dataclass
class _Series:
    """What is known of one series.

    Attributes
    ----------
    study, uid : str
        Its UIDs.
    used_at : float
        When an instance of it was asked for last.
    read_at : float
        When the query of `files` began.
    files : mapping
        Its instances by SOP Instance UID.
    reading : Future or None
        The query that runs now.
    too_large : bool
        Whether it has more instances than are remembered.
    """

    study: str
    uid: str
    used_at: float
    read_at: float = float("-inf")
    files: Mapping[str, Selected] = field(default_factory=dict)
    reading: Future[None] | None = None
    too_large: bool = False


@dataclass
class Places:
    """Finds instances in index and catalog.

    The first instance of a series is asked for alone. The next one within a minute reads the rows of the whole series;
    these are used for `REMEMBERED_S` from the beginning of that query. An instance that is not among them is asked for
    alone, so nothing is missing because of what is remembered.

    Parameters
    ----------
    catalog : Catalog
        Lists the instances, without those of hidden series.
    most_rows : int
        Limit of what is remembered of all series together.
    clock : callable
        Seconds, which only grow.
    """

    catalog: Catalog
    most_rows: int = _MOST_ROWS
    clock: Callable[[], float] = time.monotonic
    _known: OrderedDict[tuple[str, str], _Series] = field(default_factory=OrderedDict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def now(self, named: Named) -> StoredObject:
        """Find an instance as it was stored last.

        Raises
        ------
        RefusedError
            When there is none.
        CatalogError
            When it can't be read without Orthanc, or the catalog does not answer.
        """
        # By its own UID: from the study downwards the database would look at each of its images.
        for one in self.catalog.select(Selection(instances=(named.instance or "",))):
            if (one.study, one.series) == (named.study, named.series):
                return _file(one)
        raise RefusedError("no such instance")

    def of(self, named: Named) -> StoredObject:
        """Find an instance as `now` does, or as it was at most `REMEMBERED_S` ago."""
        series = self._used(named)
        if series is None:
            return self.now(named)
        if (found := self._remembered(series, named)) is None:
            self._read(series)
            found = self._remembered(series, named)
        return self.now(named) if found is None else _file(found)

    def _used(self, named: Named) -> _Series | None:
        """Return the series of an instance when it is worth to read all of it."""
        key, now = (named.study, named.series or ""), self.clock()
        with self._lock:
            known = self._known.get(key)
            if known is not None and now - known.used_at > _IN_USE_S:
                known = None
            self._known[key] = known or _Series(*key, now)
            self._known[key].used_at = now
            self._known.move_to_end(key)
            while now - next(iter(self._known.values())).used_at > _IN_USE_S:
                self._known.popitem(last=False)
        return None if known is None or known.too_large else known

    def _remembered(self, series: _Series, named: Named) -> Selected | None:
        with self._lock:
            return series.files.get(named.instance or "") if self._is_fresh(series) else None

    def _is_fresh(self, series: _Series) -> bool:
        return self.clock() - series.read_at < REMEMBERED_S

    def _read(self, series: _Series) -> None:
        """Read the rows of a series, or wait for the thread that does; not when they were read a moment ago."""
        with self._lock:
            if self._is_fresh(series):
                return
            others, mine = series.reading, Future[None]()
            if others is None:
                series.reading = mine
        if others is not None:
            others.result()
            return
        read_at = self.clock()
        try:
            files = {
                one.sop: one
                for one in self.catalog.select(Selection(series=(series.uid,)))
                if (one.study, one.series) == (series.study, series.uid)
            }
        except BaseException as error:
            with self._lock:
                series.reading = None
            mine.set_exception(error)
            raise
        with self._lock:
            series.reading, series.read_at = None, read_at
            series.too_large = len(files) > self.most_rows
            series.files = {} if series.too_large else files
            self._forget()
        mine.set_result(None)

    def _forget(self) -> None:
        """Forget rows that are too old, and those of series that were not used for longest when there are too many."""
        rows = 0
        for series in reversed(self._known.values()):
            if not self._is_fresh(series) or rows + len(series.files) > self.most_rows:
                series.files = {}
            rows += len(series.files)


def _file(one: Selected) -> StoredObject:
    if one.object is None:
        raise CatalogError(f"instance {one.sop} is in the index, but not in the catalog")
    return one.object
