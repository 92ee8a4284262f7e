"""Writes who looks at a series: an event for the first frame, and one a minute for the frames after it.

A viewer asks for hundreds of frames a second. One event for each would push older ones out of the journal; the balancer
logs each request anyway.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from hapacs_node import log

_LOG = log.get("retrieve")
PERIOD_S = 60.0
_MOST = 10_000


class Viewing(NamedTuple):
    """A caller who looks at a series; None for what is not known."""

    study: str | None
    series: str | None
    user: str | None
    address: str | None
    via: str


@dataclass
class _Counted:
    """What a caller got of a series since its first frame."""

    began: float
    requests: int = 0
    objects: int = 0
    size: int = 0


@dataclass
class Viewings:
    """Counts frames that were sent. A process that dies loses counts, but no event of a first frame.

    Parameters
    ----------
    period_s : float
        For how long frames are counted in one event.
    clock : callable
        Seconds, which only grow.
    """

    period_s: float = PERIOD_S
    clock: Callable[[], float] = time.monotonic
    _counts: dict[Viewing, _Counted] = field(default_factory=dict, init=False)
    _timer: threading.Timer | None = field(default=None, init=False)
    _ended: bool = field(default=False, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def count(self, viewing: Viewing, objects: int, size: int) -> bool:
        """Count a request that was answered; return False when it has to be an event of its own.

        Parameters
        ----------
        viewing : Viewing
            Who got the frames of which series.
        objects, size : int
            Frames and bytes.
        """
        with self._lock:
            counted = self._counts.get(viewing)
            if counted is None or self.clock() - counted.began >= self.period_s:
                # What is left of the minute before is written when the timer is due, which it is now.
                if counted is None and not self._ended and len(self._counts) < _MOST:
                    self._counts[viewing] = _Counted(self.clock())
                    self._wait(self.period_s)
                return False
            counted.requests += 1
            counted.objects += objects
            counted.size += size
            return True

    def end(self) -> None:
        """Write what was counted so far. From now on each request is an event."""
        with self._lock:
            self._ended = True
            if self._timer is not None:
                self._timer.cancel()
            over, self._counts = self._counts, {}
        self._write(over)

    def write_over(self) -> None:
        """Write what was counted in minutes that are over."""
        with self._lock:
            now = self.clock()
            self._timer = None
            over = {key: one for key, one in self._counts.items() if now - one.began >= self.period_s}
            for key in over:
                del self._counts[key]
            if self._counts:
                self._wait(min(one.began for one in self._counts.values()) + self.period_s - now)
        self._write(over)

    def _wait(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = threading.Timer(seconds, self.write_over)
            self._timer.daemon = True
            self._timer.start()

    def _write(self, over: dict[Viewing, _Counted]) -> None:
        for viewing, counted in over.items():
            if counted.requests:
                _LOG.info(
                    log.line(
                        "requested",
                        series=viewing.series,
                        study=viewing.study,
                        requests=counted.requests,
                        objects=counted.objects,
                        size=counted.size,
                        seconds=f"{min(self.clock() - counted.began, self.period_s):.3f}",
                        outcome="sent",
                        user=viewing.user,
                        address=viewing.address,
                        via=viewing.via,
                    )
                )
