"""Orthanc's storage area with the policy `through`: nothing is acknowledged before it lies in the archive store.

A DICOM file is written to the DAS and to the CAS at the same time, then noted in the catalog; only then `create`
returns. Whatever fails, it raises: Orthanc refuses the image with 0xA700 and the modality keeps it. Bytes that reached
one store only are harmless, because nothing refers to them.
"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from uuid import UUID

from hapacs_node import log
from hapacs_node.catalog.catalog import Catalog
from hapacs_node.catalog.index import DICOM
from hapacs_node.catalog.objects import StoredObject
from hapacs_node.errors import (
    CasUnavailableError,
    CatalogError,
    CatalogUnavailableError,
    DasCorruptError,
    DasError,
    DasMissingError,
    NodeError,
    RefusedError,
)
from hapacs_node.metrics import Metrics
from hapacs_node.storage import derived, names
from hapacs_node.storage.ahead import ReadAhead
from hapacs_node.storage.archive import STORE, Archive, Place
from hapacs_node.storage.cas import Cas
from hapacs_node.storage.das import Das
from hapacs_node.storage.rows import Rows
from hapacs_node.storage.together import Together

_LOG = log.get("storage")
_ROWS_AT_A_TIME = 64
_MISSING = "missing"


@dataclass(frozen=True)
class Workers:
    """The threads of a storage area.

    Attributes
    ----------
    archivers : ThreadPoolExecutor
        Each writes one large image to the archive.
    packers : ThreadPoolExecutor
        Each writes what came together to the archive. A few: the fewer there are, the more comes together.
    noters : ThreadPoolExecutor
        Each writes rows that came together to the catalog.
    fetchers : ThreadPoolExecutor
        Each reads from the archive ahead of the callers.
    """

    archivers: ThreadPoolExecutor
    packers: ThreadPoolExecutor
    noters: ThreadPoolExecutor
    fetchers: ThreadPoolExecutor

    def shutdown(self) -> None:
        """Take nothing new. What is to be stored and has begun still ends."""
        for workers in (self.archivers, self.packers, self.noters):
            workers.shutdown(wait=False)
        self.fetchers.shutdown(wait=False, cancel_futures=True)


@dataclass
class StorageArea:
    """What Orthanc calls: create, read, remove. Any number of threads may be inside at once.

    Parameters
    ----------
    node : str
        This node's name, for the catalog.
    das, cas, catalog
        The three places that an image is kept in.
    outbox : tuple of str
        What is to be done with every DICOM file once it is stored.
    workers : Workers
        Threads that work while the caller's writes to the DAS, or for several callers at once.
    metrics : Metrics
        Times and failures of each step.
    """

    node: str
    das: Das
    cas: Cas
    catalog: Catalog
    outbox: tuple[str, ...]
    workers: Workers
    metrics: Metrics
    _rows: Rows = field(init=False)
    _ahead: ReadAhead = field(init=False)
    _archive: Archive = field(init=False)
    _notes: Together[StoredObject, None] = field(init=False)

    def __post_init__(self) -> None:
        workers = self.workers
        self._rows = Rows(self.catalog)
        self._ahead = ReadAhead(self._fetch, self._is_on_das, self.catalog.series, workers.fetchers, self.metrics)
        self._archive = Archive(self.cas, self.catalog.by_digests, workers.archivers, workers.packers, self.metrics)
        self._notes = Together(self._note_all, workers.noters, lambda _: 1, _ROWS_AT_A_TIME)

    def create(self, name: str, content_type: int, content: bytes) -> None:
        """Keep an attachment; return only when it can't be lost any more.

        Parameters
        ----------
        name : str
            Orthanc's UUID of the attachment.
        content_type : int
            Orthanc's content type.
        content : bytes
            All of it.

        Raises
        ------
        NodeError
            When anything failed. It is as if nothing was stored.
        """
        uuid = names.checked_uuid(name)
        if not content:
            raise RefusedError(f"attachment {uuid} is empty")
        with self.metrics.in_flight.track_inprogress(), self._reported("create", uuid):
            if content_type in derived.TYPES:
                self._keep_derived(uuid, content)
                return
            began = time.monotonic()
            digest = names.digest_of(content)
            place = self._keep(digest, content)
            size = len(content)
            row = StoredObject(uuid, digest, size, content_type, STORE, place.key, place.offset, size, self.node)
            with self.metrics.step("catalog_add"):
                self._noted(self._notes.begin(row))
            self.metrics.bytes.labels("stored").inc(len(content))
            took = f"{time.monotonic() - began:.3f}"
            _LOG.debug(log.line("stored", uuid=uuid, digest=digest, size=len(content), type=content_type, took_s=took))

    def read(self, name: str, content_type: int) -> bytes:
        """Give an attachment back, checked; a copy that is missing or wrong on the DAS is made again.

        Raises
        ------
        NodeError
            When no place has the right bytes, or it can't be known now.
        """
        uuid = names.checked_uuid(name)
        with self._reported("read", uuid):
            is_derived = content_type in derived.TYPES
            content = self._read_derived(uuid) if is_derived else self._read_object(uuid)
        self.metrics.bytes.labels("read").inc(len(content))
        return content

    def read_all(self, rows: Sequence[StoredObject]) -> Iterator[bytes]:
        """Give attachments back one after the other, each checked as by `read`.

        Once one of them has to come from the archive, those after it are fetched ahead of the caller.

        Raises
        ------
        NodeError
            When no place has the right bytes, or it can't be known now.
        """
        ahead_until = 0

        def give(number: int) -> bytes:
            nonlocal ahead_until
            row = rows[number]
            with self._reported("read", row.uuid):
                content = self._online(row)
                if not isinstance(content, bytes):
                    if number >= ahead_until:
                        ahead_until = number + self._ahead.begin_with(rows[number:])
                    along = [other for other in rows[number + 1 : ahead_until] if other.key == row.key]
                    content = self._archived_copy(row, content, along)
            self.metrics.bytes.labels("read").inc(len(content))
            return content

        # No more than one is ever in memory: nothing here keeps it once it was given.
        return map(give, range(len(rows)))

    def remove(self, name: str, content_type: int) -> None:
        """Note that Orthanc removed an attachment. The bytes remain, unless they can be derived again."""
        uuid = names.checked_uuid(name)
        with self._reported("remove", uuid):
            if content_type in derived.TYPES:
                self.das.remove_derived(uuid)
                return
            with self.metrics.step("catalog_tombstone"):
                known = self.catalog.tombstone(uuid, self.node)
            if not known:
                raise CatalogError(f"attachment {uuid} is to be removed but not in the catalog")
            self.metrics.tombstones.inc()
            _LOG.info(log.line("tombstoned", uuid=uuid, type=content_type))

    def _keep(self, digest: str, content: bytes) -> Place:
        archived = self._archive.begin(digest, content)
        try:
            with self.metrics.step("das_write"):
                self.das.write(digest, content)
        except BaseException:
            archived.cancel()
            raise
        return self._archived(archived, self.cas.allowed_s(len(content)))

    @staticmethod
    def _archived(archived: Future[Place], allowed_s: float) -> Place:
        # A request that was begun before the deadline may end after it, and the threads may all be waiting.
        try:
            return archived.result(timeout=allowed_s)
        except FutureTimeoutError:
            archived.cancel()
            raise CasUnavailableError(f"the archive did not take the object within {allowed_s:g} s") from None

    def _noted(self, noted: Future[None]) -> None:
        # Those before it may need their whole time, when no leader answers.
        allowed_s = self.catalog.database.settings.deadline_s
        try:
            noted.result(timeout=allowed_s)
        except FutureTimeoutError:
            noted.cancel()
            raise CatalogUnavailableError(f"the catalog did not take the row within {allowed_s:g} s") from None

    def _note_all(self, rows: Sequence[StoredObject]) -> list[CatalogError | None]:
        wanted = {row.uuid: (row, self.outbox if row.type == DICOM else ()) for row in rows}
        noted = self.catalog.add_all(list(wanted.values()))
        # A name that came twice is one row; whoever has other bytes for it is told so.
        return [
            None
            if row.uuid in noted and wanted[row.uuid][0] == row
            else CatalogError(f"attachment {row.uuid} is already in the catalog with other bytes")
            for row in rows
        ]

    def _row(self, uuid: UUID) -> StoredObject:
        with self.metrics.step("catalog_find"):
            return self._rows.of(uuid)

    def _row_now(self, uuid: UUID) -> StoredObject:
        with self.metrics.step("catalog_find"):
            return self._rows.now(uuid)

    def _read_object(self, uuid: UUID) -> bytes:
        found = self._online(self._row(uuid))
        if isinstance(found, bytes):
            return found
        row = self._row_now(uuid)
        if found == _MISSING and row.type == DICOM:
            self._ahead.begin(row)
        return self._archived_copy(row, found)

    def _online(self, row: StoredObject) -> bytes | str:
        """Read from the DAS; what is no bytes says why there are none."""
        try:
            with self.metrics.step("das_read"):
                return self.das.read(row.digest, row.size)
        except DasMissingError:
            return _MISSING
        except DasCorruptError as error:
            _LOG.error(log.line("das_copy_corrupt", digest=row.digest, error=error))
            return "corrupt"
        except DasError as error:
            _LOG.error(log.line("das_read_failed", digest=row.digest, error=error))
            return "failed"

    def _archived_copy(self, row: StoredObject, reason: str, along: Sequence[StoredObject] = ()) -> bytes:
        if reason == _MISSING:
            return self._ahead.get(row, along)
        return self._fetch([row], reason)[0]

    def _fetch(self, rows: Sequence[StoredObject], reason: str = _MISSING) -> list[bytes]:
        """Read images that lie in one object of the archive."""
        for row in rows:
            if row.store != STORE:
                raise CatalogError(
                    f"attachment {row.uuid} lies in the store {row.store!r}, which this node doesn't know"
                )
        with self.metrics.step("cas_get"):
            contents = self.cas.get_parts(rows[0].key, [(row.digest, row.offset, row.length) for row in rows])
        for row, content in zip(rows, contents, strict=True):
            self._heal(row.digest, content, reason)
        return contents

    def _is_on_das(self, row: StoredObject) -> bool:
        return self.das.has(row.digest, row.size)

    def _heal(self, digest: str, content: bytes, reason: str) -> None:
        try:
            with self.metrics.step("das_heal"):
                self.das.write(digest, content, durable=False)
        except DasError as error:
            # The reader has the right bytes all the same; the next read tries again.
            _LOG.warning(log.line("das_copy_not_restored", digest=digest, error=error))
            return
        self.metrics.das_heals.labels(reason).inc()
        # Another node's image is fetched when it is first read here: nothing to wake anybody for.
        write = _LOG.info if reason == _MISSING else _LOG.warning
        write(log.line("das_copy_restored", digest=digest, reason=reason))

    def _keep_derived(self, uuid: UUID, content: bytes) -> None:
        try:
            with self.metrics.step("das_write_derived"):
                self.das.write_derived(uuid, content)
        except DasError as error:
            # It is made again from its parent when somebody asks for it.
            _LOG.warning(log.line("derived_not_written", uuid=uuid, error=error))

    def _read_derived(self, uuid: UUID) -> bytes:
        try:
            with self.metrics.step("das_read_derived"):
                return self.das.read_derived(uuid)
        except DasError as error:
            reason = type(error).__name__
        with self.metrics.step("derived_rebuild"):
            content = derived.rebuild(self.catalog, uuid, self._read_object)
        self.metrics.derived_rebuilds.inc()
        _LOG.info(log.line("derived_rebuilt", uuid=uuid, reason=reason))
        self._keep_derived(uuid, content)
        return content

    def _reported(self, doing: str, uuid: UUID) -> "_Reported":
        return _Reported(self.metrics, doing, uuid)


@dataclass
class _Reported:
    """Times a whole call and logs its failure once, with what it was about."""

    metrics: Metrics
    doing: str
    uuid: UUID
    began: float = 0.0

    def __enter__(self) -> None:
        self.began = time.perf_counter()

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self.metrics.step_seconds.labels(self.doing).observe(time.perf_counter() - self.began)
        if error is not None:
            self.metrics.errors.labels(self.doing, type(error).__name__).inc()
            what = error if isinstance(error, NodeError) else repr(error)
            _LOG.error(log.line(f"{self.doing}_failed", uuid=self.uuid, error=what))
