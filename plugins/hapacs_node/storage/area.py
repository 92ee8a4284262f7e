"""Orthanc's storage area with the policy `through`: an image is acknowledged only after the archive has stored it.

`create` writes a DICOM file to the DAS and the CAS at the same time, then its row to the catalog, and then returns. It
raises when any step fails: Orthanc refuses the image with 0xA700, and the modality keeps it. Bytes that reached only
one store do no harm, because no row refers to them. Only for a short time the archive's copies are enough (`Bridge`).
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from uuid import UUID

from hapacs_node import log
from hapacs_node.catalog.catalog import Catalog
from hapacs_node.catalog.index import DICOM
from hapacs_node.catalog.objects import StoredObject
from hapacs_node.catalog.removals import Removal
from hapacs_node.catalog.site import through
from hapacs_node.errors import (
    CasUnavailableError,
    CatalogError,
    CatalogUnavailableError,
    DasError,
    FencedError,
    NodeError,
    RefusedError,
)
from hapacs_node.metrics import Metrics
from hapacs_node.query.header import Header
from hapacs_node.query.header import of as describe
from hapacs_node.storage import derived, names
from hapacs_node.storage.archive import STORE, Archive, Location
from hapacs_node.storage.bridge import Bridge
from hapacs_node.storage.cas import Cas
from hapacs_node.storage.das import Das
from hapacs_node.storage.reader import Reader
from hapacs_node.storage.reported import reported
from hapacs_node.storage.together import Together

_LOG = log.get("storage")
_ROWS_AT_A_TIME = 64


@dataclass(frozen=True)
class Workers:
    """The threads of a storage area.

    Attributes
    ----------
    archivers : ThreadPoolExecutor
        Each writes one large image to the archive.
    packers : ThreadPoolExecutor
        Each writes a batch of images to the archive. With fewer threads the batches are larger.
    noters : ThreadPoolExecutor
        Each writes a batch of rows to the catalog.
    fetchers : ThreadPoolExecutor
        Each reads from the archive before a caller asks.
    """

    archivers: ThreadPoolExecutor
    packers: ThreadPoolExecutor
    noters: ThreadPoolExecutor
    fetchers: ThreadPoolExecutor

    def shutdown(self) -> None:
        """Accept no new work. Stores in progress still complete."""
        for workers in (self.archivers, self.packers, self.noters):
            workers.shutdown(wait=False)
        self.fetchers.shutdown(wait=False, cancel_futures=True)


@dataclass
class StorageArea:
    """The calls of Orthanc: create, read, remove. Any number of threads may call at the same time.

    Parameters
    ----------
    node : str
        This node's name, for the catalog.
    das, cas, catalog
        The three places that hold an image.
    workers : Workers
        Threads that work while the caller's thread writes to the DAS, or for several callers at once.
    metrics : Metrics
        Times and failures of each step.
    undeclared : str
        Character set of files that declare none.
    """

    node: str
    das: Das
    cas: Cas
    catalog: Catalog
    workers: Workers
    metrics: Metrics
    undeclared: str = "ISO_IR 100"
    reader: Reader = field(init=False)
    bridge: Bridge = field(init=False)
    _archive: Archive = field(init=False)
    _notes: Together[StoredObject, None] = field(init=False)

    def __post_init__(self) -> None:
        self._in_flight = self.metrics.gauge("hapacs_storage_in_flight", "Attachments that are being stored now")
        self._tombstones = self.metrics.counter("hapacs_catalog_tombstones", "Attachments marked as removed")
        self._rebuilds = self.metrics.counter("hapacs_derived_rebuilds", "Derived attachments that were rebuilt")
        workers = self.workers
        self.reader = Reader(self.das, self.cas, self.catalog, workers.fetchers, self.metrics)
        self._archive = Archive(self.cas, self.catalog.by_digests, workers.archivers, workers.packers, self.metrics)
        self.bridge = Bridge(self.metrics)
        self._notes = Together(self._note_all, workers.noters, lambda _: 1, _ROWS_AT_A_TIME)

    def create(self, name: str, content_type: int, content: bytes, caller: str | None = None) -> StoredObject | None:
        """Store an attachment, and return when it is stored durably.

        Parameters
        ----------
        name : str
            Orthanc's UUID of the attachment.
        content_type : int
            Orthanc's content type.
        content : bytes
            All bytes of the attachment.
        caller : str or None
            Who stores it, for the catalog.

        Returns
        -------
        StoredObject or None
            Its catalog row; None for a derived attachment, which is not archived.

        Raises
        ------
        NodeError
            When any step failed. The attachment then counts as not stored.
        """
        uuid = names.checked_uuid(name)
        if not content:
            raise RefusedError(f"attachment {uuid} is empty")
        with self._in_flight.track_inprogress(), reported(self.metrics, "create", uuid):
            if content_type in derived.TYPES:
                self._keep_derived(uuid, content)
                return None
            digest = names.digest_of(content)
            at, header = self._keep(digest, content, described=content_type == DICOM)
            size = len(content)
            place = (STORE, at.key, at.offset, size, self.node)
            row = StoredObject(uuid, digest, size, content_type, *place, caller=caller, header=header)
            with self.metrics.step("catalog_add"):
                self._noted(self._notes.begin(row))
            self.metrics.bytes.labels("stored").inc(size)
            return row

    def read(self, name: str, content_type: int) -> bytes:
        """Read an attachment and check it. A missing or damaged DAS copy is restored.

        Raises
        ------
        NodeError
            When no place has the right bytes, or no place can answer now.
        """
        uuid = names.checked_uuid(name)
        with reported(self.metrics, "read", uuid):
            is_derived = content_type in derived.TYPES
            content = self._read_derived(uuid) if is_derived else self.reader.read(uuid)
        self.metrics.bytes.labels("read").inc(len(content))
        return content

    def remove(self, name: str, content_type: int, removal: Removal) -> StoredObject | None:
        """Record that Orthanc removed an attachment, and why. Only a derived attachment loses its bytes.

        Returns
        -------
        StoredObject or None
            The removed attachment's row; None for a derived attachment.

        Raises
        ------
        NodeError
            When the attachment is unknown, or the database does not answer.
        """
        uuid = names.checked_uuid(name)
        with reported(self.metrics, "remove", uuid):
            if content_type in derived.TYPES:
                self.das.remove_derived(uuid)
                return None
            with self.metrics.step("catalog_tombstone"):
                row = self.catalog.tombstone(uuid, self.node, removal)
            if row is None:
                raise CatalogError(f"attachment {uuid} can't be removed: it is not in the catalog")
            self._tombstones.inc()
            return row

    def _keep(self, digest: str, content: bytes, *, described: bool) -> tuple[Location, Header | None]:
        archived = self._archive.begin(digest, content)
        try:
            online = self._keep_online(digest, content)
            # While the archive works.
            with self.metrics.step("describe"):
                header = describe(content, self.undeclared) if described else None
        except BaseException:
            archived.cancel()
            raise
        at = self._archived(archived, self.cas.allowed_s(len(content)))
        if not online:
            self.bridge.stored(digest)
        return at, header

    def _keep_online(self, digest: str, content: bytes) -> bool:
        try:
            with self.metrics.step("das_write"):
                self.das.write(digest, content)
        except DasError as error:
            self.bridge.failed(error)
            return False
        self.bridge.written()
        return True

    @staticmethod
    def _archived(archived: Future[Location], allowed_s: float) -> Location:
        # A request that began before the deadline may end after it, and all threads may be busy.
        try:
            return archived.result(timeout=allowed_s)
        except FutureTimeoutError:
            archived.cancel()
            raise CasUnavailableError(f"the archive did not store the object within {allowed_s:g} s") from None

    def _noted(self, noted: Future[None]) -> None:
        # Earlier batches may need their whole time when no leader answers.
        allowed_s = self.catalog.database.settings.deadline_s
        try:
            noted.result(timeout=allowed_s)
        except FutureTimeoutError:
            noted.cancel()
            raise CatalogUnavailableError(f"the catalog did not store the row within {allowed_s:g} s") from None

    def _note_all(self, rows: Sequence[StoredObject]) -> list[NodeError | None]:
        wanted = {row.uuid: row for row in rows}
        noted = self.catalog.add_all(list(wanted.values()))
        # A name that came twice is one row. A caller that has other bytes for it gets an error.
        left_out = {row.uuid for row in rows if row.uuid not in noted or wanted[row.uuid] != row}
        why = self.catalog.fenced() if left_out else None
        return [self._left_out(row, why) if row.uuid in left_out else None for row in rows]

    @staticmethod
    def _left_out(row: StoredObject, fenced: str | None) -> NodeError:
        if fenced is not None and not through(row.caller):
            return FencedError(fenced)
        return CatalogError(f"attachment {row.uuid} is already in the catalog with other bytes")

    def _keep_derived(self, uuid: UUID, content: bytes) -> None:
        try:
            with self.metrics.step("das_write_derived"):
                self.das.write_derived(uuid, content)
        except DasError as error:
            # It is rebuilt from its parent when it is read.
            _LOG.warning(log.line("derived_not_written", uuid=uuid, error=error))

    def _read_derived(self, uuid: UUID) -> bytes:
        try:
            with self.metrics.step("das_read_derived"):
                return self.das.read_derived(uuid)
        except DasError as error:
            reason = type(error).__name__
        with self.metrics.step("derived_rebuild"):
            content = derived.rebuild(self.catalog, uuid, self.reader.read)
        self._rebuilds.inc()
        _LOG.info(log.line("derived_rebuilt", uuid=uuid, reason=reason))
        self._keep_derived(uuid, content)
        return content
