"""Eviction: removes DAS copies that the archive has confirmed, least recently used first.

A run keeps no state for the next one: the files' own times show when each was last used. A run samples shelves to
estimate which age to evict, then walks all shelves once.
"""

import itertools
import random
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from hapacs_node import log
from hapacs_node.errors import NodeError
from hapacs_node.metrics import Metrics
from hapacs_node.settings import Eviction as Limits
from hapacs_node.storage.confirmation import Confirmation
from hapacs_node.storage.files import USE_GRAIN_S
from hapacs_node.storage.shelves import COUNT, DasFile, Shelves

_LOG = log.get("eviction")
# A sample of this size estimates the ages of all files to about 1 %.
_SAMPLE = 200_000
_BATCH = 200
# A derived attachment that is not in the index may belong to a store that is still in progress.
_STORE_OVER_S = 3600
# Wait after a run that could not free enough.
_PAUSE_S = 60
_REMEMBERED = 100_000
_ROUNDS = 20


class Cut(NamedTuple):
    """The age at which eviction stops: all copies of the hours before `hour`, and `bytes_of_hour` of that hour."""

    hour: int
    bytes_of_hour: int


@dataclass(frozen=True)
class Ages:
    """The evictable copies on the DAS by hour of last use; an estimate unless `shelves` is all of them.

    Attributes
    ----------
    by_hour : mapping
        Bytes by hours since the epoch.
    files : int
        Number of these copies.
    young_bytes : int
        Bytes of copies younger than the minimum age.
    shelves : int
        Number of shelves in the sample.
    """

    by_hour: Mapping[int, int]
    files: int
    young_bytes: int
    shelves: int

    def cut(self, wanted: int) -> Cut:
        """Return the age up to which eviction frees `wanted` bytes; the age of all copies if they are fewer."""
        left = wanted
        for hour in sorted(self.by_hour):
            if self.by_hour[hour] >= left:
                return Cut(hour, left)
            left -= self.by_hour[hour]
        return Cut(max(self.by_hour, default=0) + 1, 0)


@dataclass
class Outcome:
    """The result of a run; with `dry_run`, the result that it would have had.

    Attributes
    ----------
    wanted_bytes : int
        Bytes that had to be freed.
    freed_bytes, objects, derived : int
        Bytes, objects and derived attachments that were evicted.
    unconfirmed : int
        Copies that were kept because the archive did not confirm its own copy.
    took_s : float
        Seconds.
    """

    wanted_bytes: int
    freed_bytes: int = 0
    objects: int = 0
    derived: int = 0
    unconfirmed: int = 0
    took_s: float = 0.0


@dataclass
class Eviction:
    """Keeps the free space of a DAS above its watermarks.

    Parameters
    ----------
    shelves : Shelves
        The DAS.
    confirmation : Confirmation
        Decides which copies may be evicted.
    limits : hapacs_node.settings.Eviction
        Watermarks and minimum age.
    metrics : Metrics
        Counts evicted and kept copies.
    """

    shelves: Shelves
    confirmation: Confirmation
    limits: Limits
    metrics: Metrics
    _next: int = field(default_factory=lambda: random.randrange(COUNT), init=False)  # noqa: S311 - not a secret
    _refused: dict[str, float] = field(default_factory=dict, init=False)
    """Copies that the archive did not confirm, with the time at which it is asked again: an hour later."""

    def __post_init__(self) -> None:
        declare = self.metrics.counter
        self._evicted = declare("hapacs_das_evicted", "DAS copies evicted", ["kind"])
        self._evicted_bytes = declare("hapacs_das_evicted_bytes", "Bytes of evicted DAS copies", ["kind"])
        self._unconfirmed = declare(
            "hapacs_das_eviction_refused", "DAS copies kept because no archive copy is confirmed"
        )
        self._seconds = declare("hapacs_das_eviction_seconds", "Time spent on eviction")
        self._short = self.metrics.gauge(
            "hapacs_das_eviction_short_bytes", "Bytes that the last eviction could not free; 0 when it freed enough"
        )

    def needed_bytes(self) -> int:
        """Return the bytes to free now: 0 while `below_free_bytes` are free, else the difference to `until_free_bytes`.

        Raises
        ------
        DasError
        """
        free = self.shelves.das.free_bytes()
        return 0 if free >= self.limits.below_free_bytes else self.limits.until_free_bytes - free

    def repeat(self, stop: threading.Event, period_s: float) -> None:
        """Check the watermarks periodically, and evict when the free space is below them.

        Parameters
        ----------
        stop : threading.Event
            Ends the loop, also in the middle of a run.
        period_s : float
            Seconds between two checks.
        """
        pause_s = period_s
        while not stop.wait(pause_s):
            pause_s = period_s
            try:
                needed = self.needed_bytes()
                outcome = self.run(needed, stop=stop) if needed else None
            except (NodeError, MemoryError) as error:
                _LOG.error(log.line("eviction_failed", error=str(error) or "out of memory"))
                pause_s = _PAUSE_S
            else:
                if outcome is not None and outcome.freed_bytes < outcome.wanted_bytes:
                    pause_s = _PAUSE_S

    def run(self, wanted: int, *, dry_run: bool = False, stop: threading.Event | None = None) -> Outcome | None:
        """Evict until `wanted` bytes are free, or no evictable copy is left.

        Returns
        -------
        Outcome or None
            None when another process of this node is evicting.

        Raises
        ------
        NodeError
            When disks, database or archive don't answer. Copies evicted before that were confirmed.
        """
        with self.shelves.alone() as mine:
            if not mine:
                return None
            outcome = Outcome(wanted)
            began = time.monotonic()
            _LOG.info(log.line("eviction_started", wanted_bytes=wanted, dry_run=dry_run))
            try:
                self._rounds(outcome, dry_run, stop or threading.Event())
            finally:
                outcome.took_s = time.monotonic() - began
                if not dry_run:
                    self._ended(outcome)
            return outcome

    def ages(self) -> Ages:
        """Sample enough shelves to estimate the ages of all copies.

        Raises
        ------
        DasError
        """
        now = time.time()
        by_hour: dict[int, int] = {}
        files = seen = young = 0
        first, looked_at = random.randrange(COUNT), COUNT  # noqa: S311 - not a secret
        for number, copies in self.shelves.walk(first):
            seen += len(copies)
            for copy in copies:
                if self._may_go(copy, now):
                    files += 1
                    by_hour[_hour(copy)] = by_hour.get(_hour(copy), 0) + copy.size
                elif not self._is_refused(copy, now):
                    young += copy.size
            if seen >= _SAMPLE:
                looked_at = (number - first) % COUNT + 1
                break
        scale = COUNT / looked_at
        scaled = {hour: round(size * scale) for hour, size in by_hour.items()}
        return Ages(scaled, round(files * scale), round(young * scale), looked_at)

    def _rounds(self, outcome: Outcome, dry_run: bool, stop: threading.Event) -> None:
        """Walk the shelves until enough is freed. Each round leaves out copies that the archive did not confirm."""
        for _ in range(_ROUNDS):
            if outcome.freed_bytes >= outcome.wanted_bytes or stop.is_set():
                break
            before = (outcome.freed_bytes, outcome.unconfirmed)
            left = outcome.wanted_bytes - outcome.freed_bytes
            for batch in _batches(self._candidates(self.ages().cut(left))):
                self._evict(batch, outcome, dry_run)
                if outcome.freed_bytes >= outcome.wanted_bytes or stop.is_set():
                    break
            if dry_run or (outcome.freed_bytes, outcome.unconfirmed) == before:
                break
        if outcome.freed_bytes and not dry_run:
            self.shelves.settle()

    def _candidates(self, cut: Cut) -> Iterator[DasFile]:
        of_hour = cut.bytes_of_hour
        for number, copies in self.shelves.walk(self._next):
            # The next run continues where this one ends, so that all shelves lose equally many copies.
            self._next = number
            now = time.time()
            for copy in copies:
                if not self._may_go(copy, now) or _hour(copy) > cut.hour:
                    continue
                if _hour(copy) == cut.hour:
                    if of_hour <= 0:
                        continue
                    of_hour -= copy.size
                yield copy

    def _evict(self, copies: list[DasFile], outcome: Outcome, dry_run: bool) -> None:
        confirmed = self.confirmation.confirmed(copies)
        for copy in copies:
            if copy not in confirmed:
                outcome.unconfirmed += 1
                self._refuse(copy)
                continue
            if outcome.freed_bytes >= outcome.wanted_bytes:
                return
            if not dry_run:
                if not self.shelves.remove(copy):
                    continue
                self._evicted.labels(copy.kind).inc()
                self._evicted_bytes.labels(copy.kind).inc(copy.size)
            outcome.freed_bytes += copy.size
            outcome.objects += copy.kind == "object"
            outcome.derived += copy.kind == "derived"

    def _may_go(self, copy: DasFile, now: float) -> bool:
        minimum_s = self.limits.minimum_age_s
        if copy.kind == "derived":
            minimum_s = max(minimum_s, _STORE_OVER_S)
        return now - copy.used_at >= minimum_s and not self._is_refused(copy, now)

    def _is_refused(self, copy: DasFile, now: float) -> bool:
        until = self._refused.get(copy.name)
        return until is not None and until > now

    def _refuse(self, copy: DasFile) -> None:
        self._unconfirmed.inc()
        if len(self._refused) >= _REMEMBERED:
            self._refused.pop(next(iter(self._refused)))
        self._refused[copy.name] = time.time() + USE_GRAIN_S

    def _ended(self, outcome: Outcome) -> None:
        short = max(0, outcome.wanted_bytes - outcome.freed_bytes)
        self._seconds.inc(outcome.took_s)
        self._short.set(short)
        write = _LOG.warning if short else _LOG.info
        write(
            log.line(
                "eviction_short" if short else "eviction_finished",
                wanted_bytes=outcome.wanted_bytes,
                freed_bytes=outcome.freed_bytes,
                objects=outcome.objects,
                derived=outcome.derived,
                unconfirmed=outcome.unconfirmed,
                took_s=f"{outcome.took_s:.1f}",
            )
        )


def _hour(copy: DasFile) -> int:
    return int(copy.used_at // USE_GRAIN_S)


def _batches(copies: Iterable[DasFile]) -> Iterator[list[DasFile]]:
    yield from map(list, itertools.batched(copies, _BATCH))
