"""The metrics of a node, in their own registry. Each part declares its metrics."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 45, 90)


class Metrics:
    """The node's metrics; one instance per process, so that tests each have their own.

    A second declaration of a metric returns the same one, because a part may exist more than once.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._declared: dict[str, Counter | Gauge | Histogram] = {}
        steps = "Time of one step of storing or reading"
        self.step_seconds = self.histogram("hapacs_storage_step_seconds", steps, _SECONDS, ["step"])
        self.errors = self.counter("hapacs_storage_errors", "Steps that failed", ["step", "error"])
        self.bytes = self.counter("hapacs_storage_bytes", "Bytes of whole attachments", ["direction"])

    def counter(self, name: str, about: str, labels: Sequence[str] = ()) -> Counter:
        """Declare a number that only grows."""
        return self._declare(Counter, name, lambda: Counter(name, about, labels, registry=self.registry))

    def gauge(self, name: str, about: str, labels: Sequence[str] = ()) -> Gauge:
        """Declare a number that goes up and down."""
        return self._declare(Gauge, name, lambda: Gauge(name, about, labels, registry=self.registry))

    def histogram(self, name: str, about: str, buckets: Sequence[float], labels: Sequence[str] = ()) -> Histogram:
        """Declare a distribution."""
        return self._declare(
            Histogram, name, lambda: Histogram(name, about, labels, buckets=buckets, registry=self.registry)
        )

    def _declare[T: (Counter, Gauge, Histogram)](self, kind: type[T], name: str, make: Callable[[], T]) -> T:
        declared = self._declared.get(name)
        if declared is None:
            declared = self._declared[name] = make()
        if not isinstance(declared, kind):
            raise TypeError(f"the metric {name} is declared as a {type(declared).__name__} already")
        return declared

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time one step and count its failure."""
        began = time.perf_counter()
        try:
            yield
        except BaseException as error:
            self.errors.labels(name, type(error).__name__).inc()
            raise
        finally:
            self.step_seconds.labels(name).observe(time.perf_counter() - began)

    def text(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        return generate_latest(self.registry)
