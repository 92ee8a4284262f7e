"""Reads attachments from the DAS, or else from the archive, and then restores the copy on the DAS."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

from hapacs_node import log
from hapacs_node.catalog.catalog import Catalog
from hapacs_node.catalog.index import DICOM
from hapacs_node.catalog.objects import StoredObject
from hapacs_node.errors import CasDamagedError, CatalogError, DasCorruptError, DasError, DasMissingError
from hapacs_node.metrics import Metrics
from hapacs_node.query.header import HEAD_BYTES
from hapacs_node.storage.ahead import ReadAhead
from hapacs_node.storage.archive import STORE
from hapacs_node.storage.cas import Cas
from hapacs_node.storage.das import Das
from hapacs_node.storage.reported import reported
from hapacs_node.storage.rows import Rows

_LOG = log.get("storage")
# Orthanc asks several times for one image. Only the first one waits until the damage is certain.
_DAMAGED_FOR_S = 10


class Miss(StrEnum):
    """The reason why the DAS returned no bytes."""

    MISSING = "missing"
    CORRUPT = "corrupt"
    FAILED = "failed"


@dataclass
class Reader:
    """Reads attachments, and checks each against the digest in the catalog.

    Parameters
    ----------
    das, cas, catalog
        The three places that hold an image.
    fetchers : ThreadPoolExecutor
        Threads that read from the archive before a caller asks.
    metrics : Metrics
        Times and failures of each step.
    """

    das: Das
    cas: Cas
    catalog: Catalog
    fetchers: ThreadPoolExecutor
    metrics: Metrics
    _rows: Rows = field(init=False)
    _ahead: ReadAhead = field(init=False)
    _damaged: dict[str, tuple[float, CasDamagedError]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._heals = self.metrics.counter("hapacs_das_heals", "DAS copies restored from the CAS", ["reason"])
        # Shown from the start: an alert needs to see the first one.
        for reason in Miss:
            self._heals.labels(reason.value)
        self._rows = Rows(self.catalog)
        self._ahead = ReadAhead(self._fetch, self._is_on_das, self.catalog.series, self.fetchers, self.metrics)

    def row(self, uuid: UUID) -> StoredObject:
        """Return the catalog row of an attachment, possibly an older state of it.

        Raises
        ------
        CatalogError
            When the catalog has no row, or doesn't answer.
        """
        with self.metrics.step("catalog_find"):
            return self._rows.of(uuid)

    def read(self, uuid: UUID) -> bytes:
        """Read an archived attachment.

        Raises
        ------
        NodeError
            When no place has the right bytes, or no place can answer now.
        """
        found = self._online(self.row(uuid))
        if isinstance(found, bytes):
            return found
        with self.metrics.step("catalog_find"):
            row = self._rows.now(uuid)
        if found is Miss.MISSING and row.type == DICOM:
            self._ahead.begin(row)
        return self._archived(row, found)

    def read_once(self, uuid: UUID) -> bytes:
        """Read an archived attachment as `read` does, but leave out of the DAS what was evicted from it.

        Raises
        ------
        NodeError
            When no place has the right bytes, or no place can answer now.
        """
        found = self._online(self.row(uuid))
        if isinstance(found, bytes):
            return found
        row = self._rows.now(uuid)
        if found is not Miss.MISSING or row.store != STORE:
            return self._archived(row, found)
        with self.metrics.step("cas_get"):
            return self.cas.get(row.key, row.digest, row.offset, row.length)

    def restore(self, uuid: UUID) -> bool:
        """Put a copy of an attachment on the DAS; return whether none was there.

        Raises
        ------
        NodeError
            When the archive does not return it.
        """
        if self._is_on_das(self.row(uuid)):
            return False
        self.read(uuid)
        return True

    def read_row(self, row: StoredObject) -> bytes:
        """Read an attachment whose row is known. When it comes from the archive, its series is read ahead.

        Raises
        ------
        NodeError
            When no place has the right bytes, or no place can answer now.
        """
        with reported(self.metrics, "read", row.uuid):
            content = self._online(row)
            if not isinstance(content, bytes):
                if content is Miss.MISSING:
                    self._ahead.begin(row)
                content = self._archived(row, content)
        self.metrics.bytes.labels("read").inc(len(content))
        return content

    def read_all(self, rows: Sequence[StoredObject]) -> Iterator[bytes]:
        """Read attachments one after the other.

        After the first one that comes from the archive, the next ones are fetched before the caller asks for them.

        Raises
        ------
        NodeError
            When no place has the right bytes, or no place can answer now.
        """
        ahead_until = 0

        def give(number: int) -> bytes:
            nonlocal ahead_until
            row = rows[number]
            with reported(self.metrics, "read", row.uuid):
                content = self._online(row)
                if not isinstance(content, bytes):
                    if number >= ahead_until:
                        ahead_until = number + self._ahead.begin_with(rows[number:])
                    along = [other for other in rows[number + 1 : ahead_until] if other.key == row.key]
                    content = self._archived(row, content, along)
            self.metrics.bytes.labels("read").inc(len(content))
            return content

        # Only one is in memory at a time: no reference to it stays here.
        return map(give, range(len(rows)))

    def head(self, row: StoredObject) -> bytes:
        """Read the beginning of an attachment, unchecked and without restoring the DAS copy.

        Raises
        ------
        NodeError
            When neither the DAS nor the archive returns it.
        """
        try:
            return self.das.head(row.digest, HEAD_BYTES)
        except DasError:
            return self.cas.part(row.key, row.offset, min(row.length, HEAD_BYTES))

    def head_of(self, uuid: UUID) -> bytes:
        """Read the beginning of an attachment, as `head` does.

        Raises
        ------
        NodeError
            When the catalog has no row, or neither the DAS nor the archive returns it.
        """
        return self.head(self.row(uuid))

    def _online(self, row: StoredObject) -> bytes | Miss:
        try:
            with self.metrics.step("das_read"):
                return self.das.read(row.digest, row.size)
        except DasMissingError:
            return Miss.MISSING
        except DasCorruptError as error:
            _LOG.error(log.line("das_copy_corrupt", digest=row.digest, error=error))
            return Miss.CORRUPT
        except DasError as error:
            _LOG.error(log.line("das_read_failed", digest=row.digest, error=error))
            return Miss.FAILED

    def _archived(self, row: StoredObject, miss: Miss, along: Sequence[StoredObject] = ()) -> bytes:
        if (known := self._damaged.get(row.digest)) is not None and time.monotonic() < known[0]:
            raise known[1]
        try:
            return self._ahead.get(row, along) if miss is Miss.MISSING else self._fetch([row], miss)[0]
        except CasDamagedError as error:
            self._damaged[row.digest] = time.monotonic() + _DAMAGED_FOR_S, error
            raise
        finally:
            self._forget()

    def _forget(self) -> None:
        now = time.monotonic()
        for digest, (until, _) in list(self._damaged.items()):
            if until < now:
                self._damaged.pop(digest, None)

    def _fetch(self, rows: Sequence[StoredObject], miss: Miss = Miss.MISSING) -> list[bytes]:
        """Read images from one object of the archive, and restore their DAS copies."""
        for row in rows:
            if row.store != STORE:
                raise CatalogError(f"attachment {row.uuid} is in the store {row.store!r}, which this node doesn't know")
        with self.metrics.step("cas_get"):
            contents = self.cas.get_parts(rows[0].key, [(row.digest, row.offset, row.length) for row in rows])
        for row, content in zip(rows, contents, strict=True):
            self._restore(row.digest, content, miss)
        return contents

    def _is_on_das(self, row: StoredObject) -> bool:
        return self.das.has(row.digest, row.size)

    def _restore(self, digest: str, content: bytes, miss: Miss) -> None:
        try:
            with self.metrics.step("das_heal"):
                self.das.write(digest, content, durable=False)
        except DasError as error:
            # The reader has the right bytes anyway. The next read tries to restore the copy again.
            _LOG.warning(log.line("das_copy_not_restored", digest=digest, error=error))
            return
        self._heals.labels(miss.value).inc()
        # The first read of another node's image is no reason for a warning.
        write = _LOG.info if miss is Miss.MISSING else _LOG.warning
        write(log.line("das_copy_restored", digest=digest, reason=miss.value))
