"""Stores go on without an online copy while the balancer turns to another node."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from hapacs_node import log
from hapacs_node.errors import DasError
from hapacs_node.metrics import Metrics

_LOG = log.get("bridge")
LIMIT_S = 60.0
"""Several times what health and balancer need to keep new associations away from the node."""


@dataclass
class Bridge:
    """Decides whether an image may do without its online copy on this node.

    An image whose online copy can't be written is in the archive all the same, on two racks and flushed, and is read
    from there. So a DAS that fails need not interrupt stores at once; but a node without one must not go on for ever.

    Parameters
    ----------
    metrics : Metrics
        Counts the images without an online copy.
    clock : callable
        Returns monotonic seconds.
    """

    metrics: Metrics
    clock: Callable[[], float] = time.monotonic
    _since: float | None = field(default=None, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        self._counted = self.metrics.counter("hapacs_das_copies_missed", "Images stored without an online copy")

    def written(self) -> None:
        """Record that the DAS works."""
        with self._lock:
            self._since = None

    def failed(self, error: DasError) -> None:
        """Record that the DAS failed.

        Raises
        ------
        DasError
            The given one, when the DAS has failed for longer than `LIMIT_S`.
        """
        now = self.clock()
        with self._lock:
            first = self._since is None
            if self._since is None:
                self._since = now
            over = now - self._since > LIMIT_S
        if over:
            raise error
        if first:
            _LOG.error(log.line("das_bridged", error=error, limit_s=LIMIT_S))

    def stored(self, digest: str) -> None:
        """Record that the archive has an image that has no online copy."""
        self._counted.inc()
        _LOG.warning(log.line("stored_without_online_copy", digest=digest))
