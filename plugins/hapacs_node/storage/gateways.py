"""Chooses the next gateway: the local one first, and none that failed a moment ago."""

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from hapacs_node import log
from hapacs_node.metrics import Metrics

_LOG = log.get("cas")
_PAUSE_S = 10.0
_BACKOFF_S = (0.1, 2.0)


@dataclass
class Gateway[Client]:
    """One gateway and its state."""

    url: str
    client: Client
    retry_at: float = 0.0
    """Monotonic time before which it is not asked while another gateway works; 0 while it works."""


@dataclass
class Gateways[Client]:
    """The gateways to one bucket. A failed gateway is suspended, so that not every store waits for its time-out.

    Parameters
    ----------
    members : sequence of Gateway
        In order of preference.
    metrics : Metrics
        Shows which gateways are in use.
    clock, sleep : callable
        Replaced in tests.
    """

    members: Sequence[Gateway[Client]]
    metrics: Metrics
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._up = self.metrics.gauge("hapacs_cas_gateway_up", "1 while a gateway is in use", ["gateway"])
        for gateway in self.members:
            self._up.labels(gateway.url).set(1)

    def until(self, deadline: float) -> Iterator[Gateway[Client]]:
        """Yield gateways, round after round with growing pauses, until `deadline`.

        The caller stops after the first success.
        """
        attempt = 0
        while True:
            for gateway in self.round():
                if attempt and self.clock() >= deadline:
                    return
                attempt += 1
                yield gateway
            low, high = _BACKOFF_S
            pause = min(high, low * 2 ** min(attempt, 6)) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret
            if self.clock() + pause >= deadline:
                return
            self.sleep(pause)

    def round(self) -> list[Gateway[Client]]:
        """Order the gateways for one round: a suspended one that is due, those in use; all when there is neither."""
        now = self.clock()
        with self._lock:
            working = [gateway for gateway in self.members if gateway.retry_at == 0]
            due = [gateway for gateway in self.members if 0 < gateway.retry_at <= now]
            if not working and not due:
                return sorted(self.members, key=lambda gateway: gateway.retry_at)
            if due:
                # One store tries it. The others continue without it.
                due[0].retry_at = now + _PAUSE_S
            return [*due[:1], *working]

    def worked(self, gateway: Gateway[Client]) -> None:
        """Record that a gateway worked."""
        if gateway.retry_at:
            with self._lock:
                gateway.retry_at = 0.0
            _LOG.warning(log.line("gateway_restored", gateway=gateway.url))
            self._up.labels(gateway.url).set(1)

    def failed(self, gateway: Gateway[Client], reason: str) -> None:
        """Record that a gateway did not answer, or reported a failure; suspend it."""
        with self._lock:
            was_working = gateway.retry_at == 0
            gateway.retry_at = self.clock() + _PAUSE_S
        if was_working:
            _LOG.warning(log.line("gateway_suspended", gateway=gateway.url, pause_s=_PAUSE_S, reason=reason))
            self._up.labels(gateway.url).set(0)
