"""The service `hapacs-routing`: plans events, starts workers where tasks are due, hands ended leases over."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Self

from prometheus_client import start_http_server
from pydantic import ValidationError

from hapacs_node import log
from hapacs_node.catalog import canary, compared, gathering, outbox, outlook, replication, ruleset, tasks
from hapacs_node.catalog.catalog import Catalog
from hapacs_node.catalog.database import Database
from hapacs_node.catalog.tasks import REPLICATE, TOMBSTONE, Lane, Task
from hapacs_node.correction.outgoing import Outgoing as Corrected
from hapacs_node.errors import NodeError
from hapacs_node.integrity.exposition import Exposition
from hapacs_node.metrics import Metrics
from hapacs_node.replication.exchange import Exchange
from hapacs_node.replication.model import Outgoing, SecondSite
from hapacs_node.replication.names import DESTINATION
from hapacs_node.replication.status import Shown
from hapacs_node.replication.teller import Teller
from hapacs_node.replication.worker import Replicator
from hapacs_node.routing.model import KIND
from hapacs_node.routing.peer import Access
from hapacs_node.routing.planner import BATCH, Planner
from hapacs_node.routing.prefetch import Puller
from hapacs_node.routing.worker import Worker
from hapacs_node.settings import Settings
from hapacs_node.storage import s3
from hapacs_node.storage.cas import Cas
from hapacs_node.storage.das import Das
from hapacs_node.storage.reader import Reader

_LOG = log.get("routing")
PERIOD_S = 2.0
# The outbox is counted for the metrics once in so many periods.
_COUNT_EVERY = 15
_FETCHERS = 4
_SENDERS = 64
# Past images that one look at the outbox plans for the second site.
_PAST_AT_ONCE = 500


def reader_of(settings: Settings, database: Database, metrics: Metrics) -> Reader:
    """Build what reads the images of a node, without connecting anything."""
    das = Das(settings.das, metrics)
    cas = Cas(s3.connect(settings.cas, metrics), settings.cas.deadline_s, metrics)
    fetchers = ThreadPoolExecutor(_FETCHERS, thread_name_prefix="fetch")
    return Reader(das, cas, Catalog(database), fetchers, metrics)


@dataclass
class Service:
    """The routing of one node. Nodes share the work through the database.

    Parameters
    ----------
    database : Database
        The catalog's.
    planner : Planner
        Turns events into tasks.
    worker : Worker
        Sends tasks.
    replicator : Replicator
        Copies images to the other site.
    teller : Teller
        Tells the other site what was deleted.
    exchange : Exchange
        Asks the other site which of them leads.
    puller : Puller
        Brings priors to this node's DAS.
    metrics : Metrics
        Its own.
    stop : threading.Event
        Ends the service.
    period_s : float
        Time between two looks at the outbox.
    """

    database: Database
    planner: Planner
    worker: Worker
    replicator: Replicator
    teller: Teller
    exchange: Exchange
    puller: Puller
    metrics: Metrics
    stop: threading.Event
    period_s: float = PERIOD_S
    _senders: ThreadPoolExecutor = field(default_factory=partial(ThreadPoolExecutor, _SENDERS, "send"))
    _routing: Outgoing = field(default_factory=Outgoing)
    _version: int = 0
    _running: dict[Lane, list[Future[int]]] = field(default_factory=dict)
    _asking: Future[int] | None = None

    def __post_init__(self) -> None:
        self._invalid = self.metrics.gauge("hapacs_routing_rules_invalid", "Whether new rules can't be read")
        self._counts = self.metrics.gauge(
            "hapacs_outbox_tasks", "Tasks that are not confirmed", ["destination", "state"]
        )
        self._age = self.metrics.gauge(
            "hapacs_outbox_oldest_seconds", "Age of the oldest waiting task", ["destination"]
        )
        self._failing = self.metrics.gauge("hapacs_destination_failures", "Failures in a row", ["destination"])
        self._second_site = Shown(self.metrics)
        self._unmatched = self.metrics.gauge("hapacs_routing_unmatched_today", "Images today that no rule matched")

    @classmethod
    def build(cls, settings: Settings, access: Access, copying: Access | None = None) -> Self:
        """Build the service of a node, without connecting anything.

        Parameters
        ----------
        settings : Settings
            The node's configuration.
        access : Access
            What destinations of rules want to see.
        copying : Access or None
            What the second site wants to see.
        """
        metrics, stop = Metrics(), threading.Event()
        if settings.results is not None:
            # The checks end, and no service of their own answers for them.
            metrics.registry.register(Exposition(settings.results))
        database = Database(settings.database, metrics, application=f"hapacs-routing@{settings.node}")
        reader = reader_of(settings, database, metrics)
        corrected = Corrected(database, lambda task: reader.read(task.uuid), settings.undeclared)

        def received(task: Task) -> bytes:
            """Return the bytes without corrections. Old images stay out of the DAS."""
            return reader.read_once(task.uuid)

        reading = ThreadPoolExecutor(_FETCHERS, thread_name_prefix="read")
        return cls(
            database=database,
            planner=Planner(settings.node, database, reader.head_of, reader.read, metrics),
            worker=Worker(settings.node, database, access, metrics, stop, corrected.read, reading),
            replicator=Replicator(settings.node, database, copying or Access(), metrics, stop, received, reading),
            teller=Teller(settings.node, database, copying or Access(), metrics, stop),
            exchange=Exchange(database, copying or Access(), metrics, time.monotonic),
            puller=Puller(database, reader.restore, metrics, stop),
            metrics=metrics,
            stop=stop,
        )

    def run(self, metrics_port: int) -> None:
        """Work until `stop` is set."""
        server, thread = start_http_server(metrics_port, "127.0.0.1", self.metrics.registry)
        period = 0
        while not self.stop.is_set():
            try:
                self.step()
                if period % _COUNT_EVERY == 0:
                    self.count()
            except NodeError as error:
                _LOG.warning(log.line("routing_waits", error=error))
            period += 1
            self.stop.wait(self.period_s)
        server.shutdown()
        thread.join()
        self.close()

    def close(self) -> None:
        """Wait for the images that are under way, and close the connections."""
        self.stop.set()
        self._senders.shutdown(wait=True, cancel_futures=True)
        self.puller.close()
        self.worker.reading.shutdown(wait=False, cancel_futures=True)
        self.database.close()

    @property
    def idle(self) -> bool:
        """Whether no worker of this node runs."""
        return all(one.done() for running in self._running.values() for one in running)

    def step(self) -> None:
        """Look at the outbox once: new rules, events, ended leases, destinations with due tasks."""
        seen = self.database.run(lambda c: outlook.look(c, KIND, self.planner.node))
        if seen.version != self._version:
            self._read_rules()
        if seen.lapsed and (lapsed := self.database.run(tasks.lapse)):
            _LOG.warning(log.line("leases_taken_over", tasks=lapsed))
        if seen.events:
            while not self.stop.is_set() and self.planner.plan(self._routing) == BATCH:
                pass
        # Without a caller that ends studies by its requests, only the quiet time does.
        complete = seen.quiet or (seen.gathers and bool(self._routing.complete_by_commitment))
        if complete:
            self._complete()
        if self._routing.prefetch:
            self.puller.look()
        made = seen.lapsed or seen.events or complete
        for lane in self.database.run(lambda c: tasks.due(c, KIND)) if made else seen.lanes:
            if (destination := self._routing.destinations.get(lane.destination)) is not None:
                self._start(lane, destination.parallel, partial(self.worker.run, lane, destination))
        if (second := self._routing.second_site) is not None:
            self._replicate(second)

    def _complete(self) -> None:
        """Decide which studies and series are complete. Any node may: the tables have all that is needed."""
        callers = self._routing.complete_by_commitment
        while not self.stop.is_set():
            found = self.database.run(lambda c: gathering.complete(c, self.planner.node, callers))
            for level, uid, revision in found:
                _LOG.info(log.line("complete", level=level, uid=uid, revision=revision))
            if len(found) < gathering.BATCH:
                break

    def _replicate(self, second: SecondSite) -> None:
        """Ask the other site, plan images from before the copies began, start workers if any image has to be copied."""
        if self._asking is None or self._asking.done():
            # The other site may be silent for long.
            self._asking = self._senders.submit(self._work, replication.LANE, partial(self.exchange.ask, second))
        if second.past:
            self.database.run(lambda c: replication.plan_older(c, _PAST_AT_ONCE))
        for lane in self.database.run(lambda c: tasks.due(c, REPLICATE)):
            self._start(lane, second.parallel, partial(self.replicator.run, lane, second))
        for lane in self.database.run(lambda c: tasks.due(c, TOMBSTONE)):
            self._start(lane, 1, partial(self.teller.run, lane, second))

    def _start(self, lane: Lane, parallel: int, work: Callable[[], int]) -> None:
        """Start workers for a destination, as many as it may have. The database limits them over all nodes."""
        running = [one for one in self._running.get(lane, []) if not one.done()]
        running += [self._senders.submit(self._work, lane, work) for _ in range(parallel - len(running))]
        self._running[lane] = running

    @staticmethod
    def _work(lane: Lane, work: Callable[[], int]) -> int:
        try:
            return work()
        except NodeError as error:
            _LOG.warning(log.line("worker_ended", destination=lane.destination, error=error))
        except Exception as error:  # noqa: BLE001 - any failure of one worker
            # Its lease ends, and the tasks are tried again.
            _LOG.exception(log.line("worker_failed", destination=lane.destination, error=type(error).__name__))
        return 0

    def _read_rules(self) -> None:
        version, document = self.database.run(ruleset.current)
        try:
            self._routing = Outgoing.model_validate(document)
        except ValidationError as error:
            self._invalid.set(1)
            _LOG.error(log.line("rules_refused", version=version, kept=self._version, problems=error.error_count()))
        else:
            self._invalid.set(0)
            _LOG.info(log.line("rules_loaded", version=version, rules=len(self._routing.rules)))
        self._version = version

    def count(self) -> None:
        """Set the gauges of the outbox."""
        for gauge in (self._counts, self._age, self._failing):
            gauge.clear()
        for status in self.database.run(lambda c: outbox.status(c, KIND)):
            for state, number in status.tasks.items():
                self._counts.labels(status.destination, state).set(number)
            self._age.labels(status.destination).set(status.oldest_s)
            self._failing.labels(status.destination).set(status.failures)
        self._unmatched.set(self.database.run(outbox.unmatched_today))
        self.exchange.show()
        lag = self.database.run(replication.lag)
        self._second_site.set(lag, self.database.run(compared.last), self.database.run(canary.find))
        if lag is not None:
            # It is a destination too. What counts is the age of images, not of tasks.
            self._counts.labels(DESTINATION, "waiting").set(lag.images + lag.past_images - lag.dead - lag.past_dead)
            self._counts.labels(DESTINATION, "dead").set(lag.dead + lag.past_dead + lag.removals_dead)
            self._age.labels(DESTINATION).set(lag.rpo_s)
            self._failing.labels(DESTINATION).set(lag.failures)
