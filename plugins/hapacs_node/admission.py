"""Decides which callers give way before a store would fail for all (DICOM PS3.4 B.2.3: 0xA700, out of resources).

An import of old studies, or a research export, can wait; a modality can't. What is left near a limit is for those that
can't wait.
"""

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from hapacs_node import log
from hapacs_node.catalog.catalog import Catalog
from hapacs_node.errors import NodeError, NotAdmittedError
from hapacs_node.metrics import Metrics
from hapacs_node.settings import Admission as Limits
from hapacs_node.settings import Das as DasSettings
from hapacs_node.settings import Settings
from hapacs_node.storage.cas import Cas
from hapacs_node.storage.das import Das

_LOG = log.get("admission")
# Seconds between two looks. The first reads a variable, the second as many rows as deliveries wait.
_ARCHIVE_PERIOD_S, _BACKLOG_PERIOD_S = 1, 60


class Limit(StrEnum):
    """What may be near its end."""

    DAS = "das"
    ARCHIVE = "archive"
    BACKLOG = "backlog"


class Level(StrEnum):
    """How near a limit is."""

    FREE = "free"
    NEAR = "near"
    LIMITED = "limited"


@dataclass(frozen=True)
class State:
    """How near a limit is, and what was seen."""

    level: Level
    detail: str


def of_das(free: int, das: DasSettings) -> State:
    """Return how near the DAS is to the free space below which nothing is stored.

    Eviction keeps it near the space at which eviction starts. Below, more comes than goes: a quarter of the way down to
    the end it warns, and from half of the way on the rest is kept for callers that can't wait.

    Parameters
    ----------
    free : int
        Free space, bytes.
    das : hapacs_node.settings.Das
        Free space below which nothing is stored, and below which eviction starts.
    """
    end = das.minimum_free_bytes
    way = 0 if das.evict is None else das.evict.below_free_bytes - end
    detail = f"{free / 1e9:.1f} GB free; below {(end + way / 2) / 1e9:.1f} GB callers that yield are refused"
    if free < end + way / 2:
        return State(Level.LIMITED, detail)
    return State(Level.NEAR if free < end + way * 3 / 4 else Level.FREE, detail)


def of_backlog(age_s: float, most_s: float) -> State:
    """Return how near the oldest image that waits for a destination is to its limit, seconds."""
    detail = (
        f"the oldest delivery waits for {age_s / 3600:.1f} h; from {most_s / 3600:.1f} h callers that yield are refused"
    )
    if age_s > most_s:
        return State(Level.LIMITED, detail)
    return State(Level.NEAR if age_s > most_s / 2 else Level.FREE, detail)


def of_archive(*, works: bool) -> State:
    """Return whether the archive takes writes."""
    if works:
        return State(Level.FREE, "takes writes")
    return State(Level.LIMITED, "the archive takes no writes; callers that yield are refused at once")


@dataclass
class Admission:
    """Refuses callers that yield while a limit is near.

    Parameters
    ----------
    limits : hapacs_node.settings.Admission
        Who yields.
    questions : mapping
        For each limit the seconds between two questions, and the question, which returns its state or raises NodeError.
    metrics : Metrics
        Shows the limits, and counts refusals by caller.
    """

    limits: Limits
    questions: Mapping[Limit, tuple[float, Callable[[], State]]]
    metrics: Metrics
    _states: dict[Limit, State] = field(default_factory=dict, init=False)
    _stop: threading.Event = field(default_factory=threading.Event, init=False)

    def __post_init__(self) -> None:
        about = "1 while callers that yield are refused because of this limit"
        self._limited = self.metrics.gauge("hapacs_admission_limited", about, ["limit"])
        self._near = self.metrics.gauge("hapacs_admission_near", "1 while this limit is near or reached", ["limit"])
        about = "Images that were refused because their caller yields near a limit"
        self._refused = self.metrics.counter("hapacs_admission_refused", about, ["caller"])
        # Shown from the start: an alert on a series that appears with the first refusal would miss it.
        for limit in Limit:
            self._limited.labels(limit).set(0)
            self._near.labels(limit).set(0)
        for caller in self.limits.yielding:
            self._refused.labels(caller)

    @classmethod
    def of(cls, settings: Settings, das: Das, cas: Cas, catalog: Catalog, metrics: Metrics) -> Self:
        """Build it from a node's parts."""
        limits, period_s = settings.admission, settings.health.period_s
        return cls(
            limits,
            {
                Limit.DAS: (period_s, lambda: of_das(das.free_bytes(), settings.das)),
                Limit.ARCHIVE: (_ARCHIVE_PERIOD_S, lambda: of_archive(works=cas.takes_writes)),
                Limit.BACKLOG: (_BACKLOG_PERIOD_S, lambda: of_backlog(catalog.oldest_waiting_s(), limits.backlog_s)),
            },
            metrics,
        )

    @property
    def decides(self) -> bool:
        """Whether any caller yields. Without one nothing is asked or refused."""
        return bool(self.limits.yielding)

    def start(self) -> None:
        """Ask again and again, each question on a thread of its own: one that hangs delays no other."""
        if self.decides:
            for limit in self.questions:
                threading.Thread(target=self._repeat, args=(limit,), name=f"admission-{limit}", daemon=True).start()

    def stop(self) -> None:
        """Stop asking."""
        self._stop.set()

    def refresh(self, limit: Limit) -> None:
        """Ask a question once. When it fails its last answer stays: a store meets what is wrong itself."""
        with suppress(NodeError):
            self._set(limit, self.questions[limit][1]())

    def check(self, caller: str | None) -> None:
        """Return when a caller may store.

        Parameters
        ----------
        caller : str or None
            ``title:...`` or ``user:...``; None when it isn't known.

        Raises
        ------
        NotAdmittedError
            When it yields, and a limit is reached.
        """
        if caller not in self.limits.yielding:
            return
        reached = [f"{limit}: {state.detail}" for limit, state in self._states.items() if state.level == Level.LIMITED]
        if reached:
            self._refused.labels(caller).inc()
            raise NotAdmittedError(f"{caller} yields (`yields` in the settings) while {'; '.join(reached)}")

    def report(self) -> dict[str, dict[str, str]]:
        """Report each limit, as ``{limit: {"level", "detail"}}``."""
        return {limit: {"level": state.level, "detail": state.detail} for limit, state in dict(self._states).items()}

    def _set(self, limit: Limit, state: State) -> None:
        before = self._states.get(limit)
        self._states[limit] = state
        self._limited.labels(limit).set(state.level == Level.LIMITED)
        self._near.labels(limit).set(state.level != Level.FREE)
        if state.level != (Level.FREE if before is None else before.level):
            write = _LOG.info if state.level == Level.FREE else _LOG.warning
            write(log.line("admission_changed", limit=limit, level=state.level, detail=state.detail))

    def _repeat(self, limit: Limit) -> None:
        while not self._stop.is_set():
            # No memory even to log. The thread must continue, or the answer would never change.
            with suppress(MemoryError):
                self.refresh(limit)
            self._stop.wait(self.questions[limit][0])
