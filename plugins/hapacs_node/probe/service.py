"""Runs the probe, and counts how each step ends."""

import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Self

from prometheus_client import start_http_server

from hapacs_node import log
from hapacs_node.catalog import canary, removals
from hapacs_node.catalog.database import Database
from hapacs_node.errors import NodeError
from hapacs_node.metrics import Metrics
from hapacs_node.probe import dimse
from hapacs_node.probe.dimse import Peer
from hapacs_node.probe.image import ProbeImage
from hapacs_node.probe.settings import ProbeSettings
from hapacs_node.probe.web import Web
from hapacs_node.routing.peer import Identity
from hapacs_node.settings import Settings

_LOG = log.get("probe")
SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15)
"""Limits of the histogram; objectives use them."""
_FORGET_EVERY_S, _KEPT_S, _BATCH = 3600.0, 3600.0, 1000


@dataclass(frozen=True)
class Step:
    """One operation of the probe.

    Attributes
    ----------
    way, name : str
        Labels of its metrics, such as ``dicom`` and ``store``.
    run : callable
        Raises a NodeError when it fails.
    """

    way: str
    name: str
    run: Callable[[], None]


def through_the_entry(settings: ProbeSettings) -> list[Step]:
    """Return the steps through the virtual address, in their order.

    Raises
    ------
    OSError
        When a file of the configuration can't be read.
    """
    entry, timeout_s = settings.dicom, settings.timeout_s
    to_store = Peer(entry.host, entry.port, entry.store_ae, timeout_s)
    to_query = Peer(entry.host, entry.port, entry.query_ae, timeout_s)
    image = ProbeImage(settings.site, settings.node, "dicom")
    steps = [
        Step("dicom", "echo", partial(dimse.echo, to_store)),
        Step("dicom", "store", partial(dimse.store, to_store, image)),
        Step("dicom", "find", partial(dimse.find, to_query, image)),
        Step("dicom", "retrieve", partial(dimse.get, to_query, image)),
    ]
    if (at := settings.web) is not None:
        tls = ssl.create_default_context(cafile=str(at.authority)) if at.authority else None
        web = Web(at.host, at.port, tls, at.password_file.read_text(encoding="utf-8").strip(), timeout_s)
        image = ProbeImage(settings.site, settings.node, "dicomweb")
        steps += [
            Step("dicomweb", "store", partial(web.store, image)),
            Step("dicomweb", "find", partial(web.find, image)),
            Step("dicomweb", "retrieve", partial(web.get, image)),
        ]
    return steps


def past_the_balancer(settings: ProbeSettings) -> dict[tuple[str, str], Callable[[], None]]:
    """Return what is asked of each node's own services, by node and service.

    Storing services get a C-ECHO only: one of them stores at a time (ADR 2).
    """
    nodes, entry, image = settings.nodes, settings.dicom, ProbeImage(settings.site, settings.node, "dicom")
    tls = None
    if (files := nodes.tls) is not None:
        # Certificates of nodes have their names, and are reached by address.
        tls = Identity(files.certificate, files.key, files.authority).context(None, names=False)

    def read(peer: Peer) -> None:
        dimse.find(peer, image)
        dimse.get(peer, image)

    asked: dict[tuple[str, str], Callable[[], None]] = {}
    for node in nodes.targets:
        store = Peer(node.address, nodes.store_port, entry.store_ae, settings.timeout_s, tls)
        query = Peer(node.address, nodes.query_port, entry.query_ae, settings.timeout_s, tls)
        asked[node.name, "orthanc-store"] = partial(dimse.echo, store)
        asked[node.name, "orthanc-query"] = partial(read, query)
    return asked


@dataclass
class Probe:
    """The probe of one node.

    Parameters
    ----------
    settings : ProbeSettings
        When it runs.
    steps : sequence of Step
        What it does each time through the virtual address.
    nodes : mapping
        What it asks of each node's own services.
    forget : callable
        Removes rows of images of probes that were stored again.
    metrics : Metrics
        Counts.
    stop : threading.Event
        Ends it after the current step.
    """

    settings: ProbeSettings
    steps: Sequence[Step]
    nodes: dict[tuple[str, str], Callable[[], None]]
    forget: Callable[[], None]
    metrics: Metrics
    stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        metrics = self.metrics
        self._ended = metrics.counter(
            "hapacs_probe_steps", "Steps of the probe through the virtual address", ["way", "step", "result"]
        )
        self._seconds = metrics.histogram("hapacs_probe_seconds", "Time of good steps", SECONDS, ["way", "step"])
        self._good = metrics.gauge(
            "hapacs_probe_node_good", "Whether a node's own service did what the probe asked", ["target", "service"]
        )
        # From the start, so that the first failure is an increase.
        for step in self.steps:
            self._seconds.labels(step.way, step.name)
            for result in ("good", "failed"):
                self._ended.labels(step.way, step.name, result)

    @classmethod
    def build(cls, node: Settings, settings: ProbeSettings) -> tuple[Self, Database]:
        """Build it without connecting anything; the database is to be closed at the end."""
        metrics = Metrics()
        database = Database(node.database, metrics, application=f"hapacs-probe@{node.node}")

        def forget() -> None:
            # Also of the other site's probes, whose images come here as canaries.
            for study in database.run(canary.studies):
                database.run(partial(canary.forget, study=study, kept_s=_KEPT_S))
                resent = partial(removals.forget_resent, study=study, kept_s=_KEPT_S, limit=_BATCH)
                while database.run(resent) == _BATCH:
                    pass

        return cls(settings, through_the_entry(settings), past_the_balancer(settings), forget, metrics), database

    def run(self) -> None:
        """Work until `stop` is set."""
        server, thread = start_http_server(self.settings.metrics_port, "127.0.0.1", self.metrics.registry)
        asking = threading.Thread(target=self._ask_nodes, name="nodes")
        asking.start()
        forgotten = time.monotonic()
        try:
            while not self.stop.is_set():
                began = time.monotonic()
                self.once()
                if began - forgotten >= _FORGET_EVERY_S:
                    forgotten = began
                    self._forget()
                self.stop.wait(max(0.0, self.settings.period_s - (time.monotonic() - began)))
        finally:
            self.stop.set()
            asking.join()
            server.shutdown()
            thread.join()

    def once(self) -> None:
        """Do each step once. One that fails does not keep the others from being done."""
        for step in self.steps:
            if self.stop.is_set():
                return
            began = time.monotonic()
            try:
                step.run()
            except Exception as error:  # noqa: BLE001 - whatever it is, the step has failed
                self._ended.labels(step.way, step.name, "failed").inc()
                seconds = round(time.monotonic() - began, 3)
                _LOG.warning(
                    log.line("probe_failed", way=step.way, step=step.name, seconds=seconds, error=_said(error))
                )
            else:
                self._seconds.labels(step.way, step.name).observe(time.monotonic() - began)
                self._ended.labels(step.way, step.name, "good").inc()

    def ask_nodes(self) -> None:
        """Ask each node's own services once."""
        for (target, service), ask in self.nodes.items():
            if self.stop.is_set():
                return
            try:
                ask()
            except Exception as error:  # noqa: BLE001
                self._good.labels(target, service).set(0)
                _LOG.warning(log.line("probe_of_node_failed", target=target, service=service, error=_said(error)))
            else:
                self._good.labels(target, service).set(1)

    def _ask_nodes(self) -> None:
        # The image must be there before nodes are asked for it.
        self.stop.wait(self.settings.period_s)
        while not self.stop.is_set():
            self.ask_nodes()
            self.stop.wait(self.settings.nodes_period_s)

    def _forget(self) -> None:
        try:
            self.forget()
        except NodeError as error:
            _LOG.warning(log.line("probe_rows_kept", error=error))


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, NodeError) else f"{type(error).__name__}: {error}"
