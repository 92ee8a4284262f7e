"""Builds the parts of a node from its settings."""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Self

from hapacs_node import log
from hapacs_node.admission import Admission
from hapacs_node.catalog import schema
from hapacs_node.catalog.catalog import Catalog
from hapacs_node.catalog.database import Database
from hapacs_node.correction.gate import Gate
from hapacs_node.dimse.find import Find
from hapacs_node.dimse.retrieve import Retrieve
from hapacs_node.dimse.server import Entity, Scp
from hapacs_node.dimse.transfer import Sender, Transcode, Transcoder
from hapacs_node.errors import DasError, NodeError
from hapacs_node.fence import Fence
from hapacs_node.health import Health, Service
from hapacs_node.lookup import Lookup
from hapacs_node.memory import MemoryGuard
from hapacs_node.metrics import Metrics
from hapacs_node.query.cfind import Finder
from hapacs_node.query.refresh import Refresh
from hapacs_node.record.addresses import Addresses, Balancer
from hapacs_node.record.objects import Objects
from hapacs_node.record.replacement import Replacement
from hapacs_node.retrieve.budget import Budget, allowed_bytes
from hapacs_node.retrieve.server import Retrieval
from hapacs_node.settings import Settings
from hapacs_node.storage import s3
from hapacs_node.storage.area import StorageArea, Workers
from hapacs_node.storage.cas import Cas
from hapacs_node.storage.confirmation import Confirmation
from hapacs_node.storage.das import Das
from hapacs_node.storage.eviction import Eviction
from hapacs_node.storage.shelves import Shelves
from hapacs_node.stow.server import Stow
from hapacs_node.stow.store import Keep
from hapacs_node.watchdog import Watchdog
from hapacs_node.worklist.feed import Feed
from hapacs_node.worklist.find import WorklistFinder
from hapacs_node.worklist.settings import Worklist

_LOG = log.get("node")
# Enough to use a gateway fully for one reader; each holds an object in memory.
_FETCHERS = 4
_EVICTORS = 8
# With fewer workers, more images share an object of the archive, or a transaction. With two, one continues while the
# other hangs at a gateway.
_PACKERS, _NOTERS = 2, 1
# With two, one continues while the other waits for a dead balancer.
_ASKERS = 2
_AGAIN_S = 5
_COMPLETION_PERIOD_S = 30
# Longest wait of an answer for memory.
_ANSWER_S = 10
# One process at a time evicts. The query service checks more often, so that it usually does it.
_EVICTION_PERIOD_S: dict[Service, float] = {"store": 20, "query": 5, "check": 5}


@dataclass(frozen=True)
class Node:
    """The parts of a node in one process."""

    settings: Settings
    metrics: Metrics
    database: Database
    das: Das
    cas: Cas
    storage: StorageArea
    objects: Objects
    retrieval: Retrieval
    stow: Stow | None
    scp: Scp | None
    refresh: Refresh
    gate: Gate
    health: Health
    lookup: Lookup
    eviction: Eviction | None
    memory: MemoryGuard
    watchdog: Watchdog
    _stop: threading.Event = field(default_factory=threading.Event, init=False)

    @classmethod
    def build(
        cls,
        settings: Settings,
        service: Service,
        balancer: Balancer | None = None,
        *,
        entity: Entity | None = None,
        transcode: Transcode | None = None,
        keep: Keep | None = None,
        worklist: Worklist | None = None,
        own: Mapping[str, Callable[[], str]] = MappingProxyType({}),
    ) -> Self:
        """Build the parts, without connecting or starting anything.

        Parameters
        ----------
        settings : Settings
            The node's configuration.
        service : {'store', 'query', 'check'}
            The service of this Orthanc, or ``check`` for a command.
        balancer : Balancer or None
            The balancer, which knows the addresses of callers.
        entity : Entity or None
            The query/retrieve title, for the service that answers it.
        transcode : callable or None
            Orthanc's transcoder.
        keep : callable or None
            Stores a DICOM file in Orthanc, for the service that takes STOW-RS.
        worklist : Worklist or None
            The worklist, for the service that answers it.
        own : mapping
            Probes of this Orthanc, by name.
        """
        metrics = Metrics()
        database = Database(settings.database, metrics, application=f"hapacs-{service}@{settings.node}")
        catalog = Catalog(database)
        das = Das(settings.das, metrics)
        cas = Cas(s3.connect(settings.cas, metrics), settings.cas.deadline_s, metrics)
        workers = Workers(
            archivers=ThreadPoolExecutor(settings.cas.parallel, thread_name_prefix="archive"),
            packers=ThreadPoolExecutor(_PACKERS, thread_name_prefix="pack"),
            noters=ThreadPoolExecutor(_NOTERS, thread_name_prefix="note"),
            fetchers=ThreadPoolExecutor(_FETCHERS, thread_name_prefix="fetch"),
        )
        storage = StorageArea(settings.node, das, cas, catalog, workers, metrics, settings.undeclared)
        askers = ThreadPoolExecutor(_ASKERS, thread_name_prefix="caller")
        admission = Admission.of(settings, das, cas, catalog, metrics)
        fence = Fence()
        objects = Objects(
            storage, Addresses(balancer, askers), Replacement(settings.replace, catalog), admission, fence
        )
        budget = Budget(allowed_bytes(), _ANSWER_S)
        transcoder = Transcoder(transcode)
        feed = None if worklist is None else Feed(catalog, worklist)
        retrieval = Retrieval(catalog, storage, budget, metrics, transcoder, feed=feed)
        scp = None
        if entity is not None:
            sender = Sender(storage.reader, budget, transcoder, settings.undeclared)
            scp = Scp(
                entity,
                Find(entity.title, Finder(catalog.search, entity.results, entity.instances)),
                Retrieve(entity.title, entity.callers, catalog, sender, objects.addresses),
                None if worklist is None else Find(worklist.title, WorklistFinder(catalog.entries, entity.results)),
            )
        probes: dict[str, Callable[[], str]] = {
            "database": partial(fence.probe, catalog, settings.node, service),
            "das": das.probe,
            "cas": cas.probe,
        }
        if service == "query":
            probes["retrieve"] = retrieval.running.probe
        stow = None if keep is None else Stow(keep, objects.stow_arrived)
        if stow is not None:
            probes["stow"] = stow.running.probe
        if scp is not None:
            probes["dimse"] = scp.probe
        probes |= own
        health = Health(settings.node, service, probes, settings.health, metrics, frozenset(own))
        lookup = Lookup(settings.node, das, cas, catalog)
        eviction = None
        if settings.das.evict is not None:
            confirmers = ThreadPoolExecutor(_EVICTORS, thread_name_prefix="confirm")
            confirmation = Confirmation(cas, catalog, confirmers)
            eviction = Eviction(Shelves(das), confirmation, settings.das.evict, metrics)
        return cls(
            settings=settings,
            metrics=metrics,
            database=database,
            das=das,
            cas=cas,
            storage=storage,
            objects=objects,
            retrieval=retrieval,
            scp=scp,
            stow=stow,
            gate=Gate(database),
            refresh=Refresh(catalog, storage.reader, settings.undeclared),
            health=health,
            lookup=lookup,
            eviction=eviction,
            memory=MemoryGuard(),
            watchdog=Watchdog.of_the_service(),
        )

    def start(self) -> None:
        """Start the probes, and prepare the DAS and the index in the background."""
        self.watchdog.start()
        self.memory.start()
        self.health.start()
        if self.health.service == "store":
            self.objects.admission.start()
        threading.Thread(target=self._prepare, name="prepare", daemon=True).start()
        if self.health.service == "query":
            follow = partial(self.refresh.follow, self._stop, _COMPLETION_PERIOD_S)
            threading.Thread(target=follow, name="query-tables", daemon=True).start()
        if self.eviction is not None:
            repeat = partial(self.eviction.repeat, self._stop, _EVICTION_PERIOD_S[self.health.service])
            threading.Thread(target=repeat, name="eviction", daemon=True).start()

    def close(self) -> None:
        """Stop the probes and close the database connections. Stores in progress still complete."""
        self._stop.set()
        self.watchdog.stop()
        self.memory.stop()
        self.health.stop()
        self.objects.admission.stop()
        self.retrieval.stop()
        if self.stow is not None:
            self.stow.running.stop()
        if self.scp is not None:
            self.scp.stop()
        self.storage.workers.shutdown()
        self.objects.addresses.workers.shutdown(wait=False)
        if self.eviction is not None:
            self.eviction.confirmation.workers.shutdown(wait=False, cancel_futures=True)
        self.database.close()

    def _prepare(self) -> None:
        try:
            made = self.das.prepare()
        except DasError as error:
            # Stores then make the folders that they need. The health probe reports the problem of the DAS.
            _LOG.warning(log.line("das_preparation_failed", error=error))
        else:
            _LOG.info(log.line("das_prepared", folders_made=made))
        # Orthanc creates its tables after it has loaded its plugins.
        while not self._stop.wait(_AGAIN_S):
            try:
                schema.index_attachments(self.database)
            except NodeError as error:
                _LOG.warning(log.line("attachment_index_pending", error=error))
            else:
                return
