"""What a node counts and times, in a registry of its own."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 45, 90)


class Metrics:
    """The node's metrics; one instance per process, so that tests each have their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.step_seconds = Histogram(
            "hapacs_storage_step_seconds",
            "Time of one step of storing or reading",
            ["step"],
            buckets=_SECONDS,
            registry=r,
        )
        self.errors = Counter("hapacs_storage_errors", "Steps that failed", ["step", "error"], registry=r)
        self.bytes = Counter("hapacs_storage_bytes", "Bytes of whole attachments", ["direction"], registry=r)
        self.in_flight = Gauge("hapacs_storage_in_flight", "Attachments being stored right now", registry=r)
        self.das_heals = Counter("hapacs_das_heals", "DAS copies made again from the CAS", ["reason"], registry=r)
        self.read_ahead = Counter("hapacs_das_read_ahead", "DAS copies made before anybody asked for them", registry=r)
        self.das_free_bytes = Gauge("hapacs_das_free_bytes", "Free space for the DAS", registry=r)
        self.das_evicted = Counter("hapacs_das_evicted", "DAS copies taken away to make room", ["kind"], registry=r)
        self.das_evicted_bytes = Counter("hapacs_das_evicted_bytes", "Their bytes", ["kind"], registry=r)
        self.das_eviction_refused = Counter(
            "hapacs_das_eviction_refused", "DAS copies that stayed because no archive copy is confirmed", registry=r
        )
        self.das_eviction_seconds = Counter("hapacs_das_eviction_seconds", "Time spent making room", registry=r)
        self.das_eviction_short = Gauge(
            "hapacs_das_eviction_short_bytes", "What the last eviction could not free; 0 when it could", registry=r
        )
        self.derived_rebuilds = Counter(
            "hapacs_derived_rebuilds", "Derived attachments made again from their parent", registry=r
        )
        self.tombstones = Counter("hapacs_catalog_tombstones", "Attachments marked as removed", registry=r)
        self.cas_deduplicated = Counter("hapacs_cas_deduplicated", "Objects that the CAS already held", registry=r)
        self.cas_images = Histogram(
            "hapacs_cas_images",
            "Images in one object of the CAS, as it is stored",
            buckets=(1, 2, 3, 4, 6, 8, 12, 16),
            registry=r,
        )
        self.cas_retries = Counter("hapacs_cas_retries", "Requests to the CAS made again", ["operation"], registry=r)
        self.cas_doubted = Counter(
            "hapacs_cas_doubted", "Answers of a gateway that another one was asked to confirm", ["reason"], registry=r
        )
        self.gateway_up = Gauge("hapacs_cas_gateway_up", "1 while a gateway is used normally", ["gateway"], registry=r)
        self.database_connections = Counter("hapacs_database_connections", "Connections made", registry=r)
        self.database_connections_lost = Counter("hapacs_database_connections_lost", "Connections lost", registry=r)
        self.database_retries = Counter("hapacs_database_retries", "Transactions run again", registry=r)
        self.health = Gauge("hapacs_health_ok", "1 while the check is good", ["check"], registry=r)

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
        """Give all of it in the Prometheus text format."""
        return generate_latest(self.registry)
