"""The service `hapacs-commitment`: takes requests, and works on the requests of all nodes."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Self
from uuid import uuid4

from prometheus_client import start_http_server

from hapacs_node import background, log
from hapacs_node.catalog import commitment
from hapacs_node.catalog.commitment import COMMITTED, Claim, Referenced
from hapacs_node.catalog.database import Connection, Database
from hapacs_node.commitment import action, report
from hapacs_node.commitment.action import Refusal, Wanted
from hapacs_node.commitment.copies import PROCESSING_FAILURE, Copies
from hapacs_node.commitment.pdu import Requested
from hapacs_node.commitment.ranges import Ranges
from hapacs_node.commitment.relay import Relay
from hapacs_node.commitment.replicas import Replicas, answer
from hapacs_node.commitment.settings import Address, CommitmentSettings
from hapacs_node.errors import NodeError
from hapacs_node.https import Listener
from hapacs_node.metrics import Metrics
from hapacs_node.outbox.backoff import Backoff
from hapacs_node.replication import exchange, watchdog
from hapacs_node.replication.names import PATH, RANGES_PATH, SITE, WATCHDOG_PATH
from hapacs_node.routing import reported
from hapacs_node.routing.peer import Identity
from hapacs_node.settings import Settings
from hapacs_node.storage import s3
from hapacs_node.storage.cas import Cas

_LOG = log.get("commitment")
PERIOD_S = 2.0
LEASE_S = 60.0
_COUNT_EVERY = 15
_BATCH = 50
CHECK = Backoff(first_s=15, most_s=600)
"""An image that is not whole everywhere, for a reason that may pass: a node is down, a copy is being repaired."""
CHECK_FOR_S = 6 * 3600.0
"""Then it is reported as failed, and its caller keeps it."""
REPORT = Backoff(first_s=15, most_s=1800)
"""A caller that takes no report."""
REPORT_FOR_S = 7 * 86400.0

type Send = Callable[[Claim, Sequence[Referenced], Address], None]


@dataclass
class Worker:
    """Checks and reports the requests of the site. Nodes share them through the database.

    Parameters
    ----------
    node : str
        This node.
    database : Database
        The catalog's.
    copies : Copies
        Judges images.
    settings : CommitmentSettings
        Where callers take reports.
    metrics : Metrics
        Counts images and reports.
    stop : threading.Event
        Ends the work after the current batch.
    send : callable
        Sends a report.
    """

    node: str
    database: Database
    copies: Copies
    settings: CommitmentSettings
    metrics: Metrics
    stop: threading.Event
    send: Send = report.send

    def __post_init__(self) -> None:
        self._images = self.metrics.counter("hapacs_commitment_images", "Images that were judged", ["result"])
        self._reports = self.metrics.counter("hapacs_commitment_reports", "Reports, by their end", ["end"])
        self._waiting = self.metrics.gauge(
            "hapacs_commitment_requests", "Requests that are not at their end", ["state"]
        )
        self._age = self.metrics.gauge("hapacs_commitment_oldest_seconds", "Age of the oldest of them", ["state"])

    def run(self, period_s: float = PERIOD_S) -> None:
        """Work until `stop` is set."""
        period = 0
        while not self.stop.is_set():
            try:
                while not self.stop.is_set() and self.step():
                    pass
                if period % _COUNT_EVERY == 0:
                    self.count()
            except NodeError as error:
                _LOG.warning(log.line("commitment_waits", error=error))
            period += 1
            self.stop.wait(period_s)

    def step(self) -> bool:
        """Work on one request that is due; return whether there was one."""
        holder = f"{self.node}:{uuid4().hex[:12]}"
        claim = self.database.run(lambda c: commitment.claim(c, holder, LEASE_S))
        if claim is None:
            return False
        with background.repeated(partial(self._renew, holder), LEASE_S / 4, "lease"):
            if claim.state == "checking":
                self._check(claim, holder)
            else:
                self._report(claim, holder)
        return True

    def count(self) -> None:
        """Set the gauges."""
        found = self.database.run(commitment.counts)
        for state in ("checking", "reporting"):
            number, age_s = found.get(state, (0, 0.0))
            self._waiting.labels(state).set(number)
            self._age.labels(state).set(age_s)

    def _check(self, claim: Claim, holder: str) -> None:
        last, problem, late = 0, "", claim.age_s > CHECK_FOR_S
        while not self.stop.is_set():
            images = self.database.run(partial(commitment.unjudged, number=claim.id, after=last, limit=_BATCH))
            if not images:
                break
            last = images[-1].number
            found = self.copies.judge(images)
            problem = next((one.problem for one in found if one.failure is None), problem)
            if late:
                found = [replace(one, failure=PROCESSING_FAILURE) if one.failure is None else one for one in found]
            self.database.run(partial(commitment.judged, number=claim.id, holder=holder, found=found))
            for one in found:
                if one.failure is not None:
                    self._images.labels("committed" if one.failure == COMMITTED else "failed").inc()
        if self.database.run(lambda c: commitment.checked(c, claim.id, holder)):
            _LOG.info(log.line("commitment_checked", caller=claim.caller, transaction=claim.transaction))
            return
        pause_s = CHECK.pause_s(claim.attempts)
        self.database.run(lambda c: commitment.again(c, claim.id, holder, problem, pause_s))
        _LOG.warning(
            log.line(
                "commitment_delayed", caller=claim.caller, transaction=claim.transaction, error=problem,
                again_after_s=round(pause_s),
            )
        )  # fmt: skip

    def _report(self, claim: Claim, holder: str) -> None:
        images = self.database.run(lambda c: commitment.images(c, claim.id))
        try:
            if (to := self.settings.address(claim.caller)) is None:
                raise report.ReportError(f"{claim.caller} has no host and port in the settings any more")
            self.send(claim, images, to)
        except NodeError as error:
            self._not_taken(claim, holder, str(error))
            return
        self.database.run(lambda c: commitment.end(c, claim.id, holder, "reported"))
        self._reports.labels("taken").inc()
        failed = sum(image.failure != COMMITTED for image in images)
        _LOG.info(
            log.line(
                "commitment_reported", caller=claim.caller, transaction=claim.transaction,
                committed=len(images) - failed, failed=failed,
            )
        )  # fmt: skip

    def _not_taken(self, claim: Claim, holder: str, error: str) -> None:
        if claim.age_s > REPORT_FOR_S:
            self.database.run(lambda c: commitment.end(c, claim.id, holder, "undelivered", error))
            self._reports.labels("undelivered").inc()
            _LOG.error(
                log.line("commitment_undelivered", caller=claim.caller, transaction=claim.transaction, error=error)
            )
            return
        pause_s = REPORT.pause_s(claim.attempts)
        self.database.run(lambda c: commitment.again(c, claim.id, holder, error, pause_s))
        self._reports.labels("not taken").inc()
        _LOG.warning(
            log.line(
                "commitment_not_reported", caller=claim.caller, transaction=claim.transaction, error=error,
                again_after_s=round(pause_s),
            )
        )  # fmt: skip

    def _renew(self, holder: str) -> None:
        try:
            self.database.run(lambda c: commitment.renew(c, holder, LEASE_S), deadline_s=LEASE_S / 4)
        except NodeError as error:
            _LOG.warning(log.line("lease_not_renewed", holder=holder, error=error))


@dataclass
class Service:
    """The service of one node: the relay takes requests, a worker works on those of all nodes."""

    database: Database
    relay: Relay
    worker: Worker
    metrics: Metrics
    stop: threading.Event = field(default_factory=threading.Event)
    replicas: Replicas | None = None

    @classmethod
    def build(cls, node: Settings, settings: CommitmentSettings) -> Self:
        """Build the service, without connecting anything."""
        metrics, stop = Metrics(), threading.Event()
        database = Database(node.database, metrics, application=f"hapacs-commitment@{node.node}")
        cas = Cas(s3.connect(node.cas, metrics), node.cas.deadline_s, metrics)
        copies = Copies(database, cas, settings.archive, node.cas.bucket)
        inward = onward = None
        if (tls := settings.tls) is not None:
            listen = settings.listen
            inward = Listener(listen.host, listen.port, tls.certificate, tls.key, tls.authority).tls()
            onward = Identity(tls.certificate, tls.key, tls.authority).context(None, names=False)
        relay = Relay(
            settings.listen, settings.store, partial(_keep, database, settings), partial(reported.take, database),
            metrics, inward=inward, onward=onward,
        )  # fmt: skip
        worker = Worker(node.node, database, copies, settings, metrics, stop)
        replicas = None
        if settings.replicas is not None:
            replicas = Replicas(
                {
                    PATH: partial(answer, copies.kept),
                    SITE: partial(_heard, database),
                    WATCHDOG_PATH: partial(watchdog.hear, database),
                    RANGES_PATH: Ranges.build(node, settings.archive, cas, metrics).answer,
                }
            )
        return cls(database, relay, worker, metrics, stop, replicas)

    def run(self) -> None:
        """Work until `stop` is set."""
        server, thread = start_http_server(self.worker.settings.metrics_port, "127.0.0.1", self.metrics.registry)
        working = threading.Thread(target=self.worker.run, name="commitment")
        working.start()
        try:
            self._answer()
            self.relay.run(self.stop)
        finally:
            self.stop.set()
            if self.replicas is not None:
                self.replicas.running.stop()
            working.join()
            server.shutdown()
            thread.join()
            self.database.close()

    def _answer(self) -> None:
        """Answer the other site, if there is one."""
        settings = self.worker.settings
        if self.replicas is not None and settings.replicas is not None and (tls := settings.tls) is not None:
            at = settings.replicas
            self.replicas.start(Listener(at.host, at.port, tls.certificate, tls.key, tls.authority))


def _heard(database: Database, content: bytes) -> dict[str, object]:
    said = exchange.Statement.model_validate_json(content)

    def both(connection: Connection) -> exchange.Statement | None:
        exchange.hear(connection, said)
        return exchange.own(connection)

    if (own := database.run(both)) is None:
        raise NodeError("copies are not switched on here")
    return own.model_dump(mode="json")


def _keep(database: Database, settings: CommitmentSettings, requested: Requested, wanted: Wanted) -> None:
    if settings.address(requested.calling) is None:
        raise Refusal(action.PROCESSING_FAILURE, "the site has no address of yours for the report")
    database.run(lambda c: commitment.add(c, requested.calling, requested.called, wanted.transaction, wanted.images))
