"""Fakes of a bucket, its gateways and the catalog, with faults on demand."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import batched
from uuid import UUID

from obstore.exceptions import AlreadyExistsError, GenericError

from hapacs_node.catalog.catalog import Catalog
from hapacs_node.catalog.database import Database
from hapacs_node.catalog.index import Attachment, Origin, Present
from hapacs_node.catalog.objects import StoredObject
from hapacs_node.catalog.removals import Removal
from hapacs_node.metrics import Metrics
from hapacs_node.settings import Database as DatabaseSettings
from hapacs_node.storage.client import Listed, Lock, Recorded


@dataclass
class FakeBucket:
    """The bucket behind all gateways."""

    objects: dict[str, tuple[bytes, str | None]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass
class FakeClient:
    """One gateway.

    `faults` are raised or called, one a request, before the request is done; `late_faults` after it. A `damaged` one
    reads no object. A `forgetful` one reports objects as stored that nobody finds.
    """

    bucket: FakeBucket
    faults: list[BaseException | Callable[[], object] | None] = field(default_factory=list)
    late_faults: list[BaseException] = field(default_factory=list)
    always: BaseException | None = None
    damaged: bool = False
    forgetful: bool = False
    requests: list[tuple[str, str]] = field(default_factory=list)

    def create(self, key: str, content: bytes, digest: str) -> None:
        self._asked("create", key)
        with self.bucket.lock:
            if key in self.bucket.objects:
                raise AlreadyExistsError(key)
            if not self.forgetful:
                self.bucket.objects[key] = (content, digest)
        if self.late_faults:
            raise self.late_faults.pop(0)

    def put(self, key: str, content: bytes) -> None:
        self._asked("put", key)
        with self.bucket.lock:
            if not self.forgetful:
                self.bucket.objects[key] = (content, None)
        if self.late_faults:
            raise self.late_faults.pop(0)

    def head(self, key: str) -> Recorded:
        self._asked("head", key)
        content, digest = self._stored(key)
        return Recorded(len(content), digest)

    def get(self, key: str, offset: int, length: int) -> bytes:
        self._asked("get", key)
        if self.damaged:
            raise GenericError("500 Internal Server Error")
        return self._stored(key)[0][offset : offset + length]

    def lock(self, key: str) -> Lock:
        self._asked("lock", key)
        self._stored(key)
        return Lock("GOVERNANCE", "2036-01-01T00:00:00Z")

    def pages(self, folder: str, after: str | None) -> Iterator[Sequence[Listed]]:
        at = datetime(2026, 1, 1, tzinfo=UTC)
        keys = sorted(key for key in self.bucket.objects if key.startswith(f"{folder}/") and key > (after or ""))
        for page in batched(keys, 2):
            self._asked("list", folder)
            yield [Listed(key, len(self.bucket.objects[key][0]), at) for key in page]

    def probe(self) -> None:
        self._asked("probe", "")

    def _asked(self, operation: str, key: str) -> None:
        self.requests.append((operation, key))
        if self.always is not None:
            raise self.always
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, BaseException):
            raise fault
        if fault is not None:
            fault()

    def _stored(self, key: str) -> tuple[bytes, str | None]:
        if key not in self.bucket.objects:
            raise FileNotFoundError(key)
        return self.bucket.objects[key]


class FakeCatalog(Catalog):
    """A catalog in memory."""

    def __init__(self) -> None:
        settings = DatabaseSettings.model_validate(
            {"hosts": ["192.0.2.1"], "password_file": "/nonexistent", "ca_file": "/nonexistent"}
        )
        super().__init__(Database(settings, Metrics()))
        self.rows: dict[UUID, StoredObject] = {}
        self.transactions: list[int] = []
        self.tombstones: dict[UUID, str] = {}
        self.removals: dict[UUID, Removal] = {}
        self.present_as: dict[tuple[str, str, str], Present] = {}
        self.inherited: dict[str, str | None] = {}
        self.parents_of: dict[UUID, tuple[Attachment, Attachment | None]] = {}
        self.index: dict[str, list[Attachment]] = {}
        self.origins_of: dict[str, Origin] = {}
        self.in_series: list[UUID] = []
        self.asked: list[UUID] = []
        self.fault: BaseException | None = None
        self.add_fault: BaseException | None = None
        self.why_fenced: str | None = None

    def fenced(self) -> str | None:
        return self.why_fenced

    def __setattr__(self, name: str, value: object) -> None:
        # The real one is frozen.
        object.__setattr__(self, name, value)

    def add_all(self, rows: Sequence[StoredObject]) -> set[UUID]:
        self._ask()
        if self.add_fault is not None:
            raise self.add_fault
        self.transactions.append(len(rows))
        return {row.uuid for row in rows if self.rows.setdefault(row.uuid, row).digest == row.digest}

    def find(self, uuid: UUID) -> StoredObject | None:
        self._ask()
        self.asked.append(uuid)
        return self.rows.get(uuid)

    def by_digest(self, digest: str) -> list[StoredObject]:
        self._ask()
        return [row for row in self.rows.values() if row.digest == digest]

    def by_digests(self, digests: Sequence[str]) -> list[StoredObject]:
        self._ask()
        return [row for row in self.rows.values() if row.digest in digests]

    def find_all(self, uuids: Sequence[UUID]) -> dict[UUID, StoredObject]:
        self._ask()
        return {uuid: self.rows[uuid] for uuid in uuids if uuid in self.rows}

    def parents(self, uuids: Sequence[UUID]) -> dict[UUID, tuple[Attachment, Attachment | None]]:
        self._ask()
        return {uuid: self.parents_of[uuid] for uuid in uuids if uuid in self.parents_of}

    def tombstone(self, uuid: UUID, node: str, removal: Removal) -> StoredObject | None:
        self._ask()
        if uuid in self.rows:
            self.tombstones[uuid] = node
            self.removals[uuid] = removal
        return self.rows.get(uuid)

    def move(self, row: StoredObject, key: str, offset: int) -> int:
        same = [one for one in self.rows.values() if (one.key, one.offset) == (row.key, row.offset)]
        for one in same:
            self.rows[one.uuid] = replace(one, key=key, offset=offset)
        return len(same)

    def removed_without_study(self, limit: int) -> list[StoredObject]:
        self._ask()
        without = [uuid for uuid, removal in self.removals.items() if removal.study is None]
        return [self.rows[uuid] for uuid in without][:limit]

    def identify_removed(self, uuid: UUID, study: str, series: str, sop: str) -> None:
        self.removals[uuid] = replace(self.removals[uuid], study=study, series=series, sop=sop)

    def removed(self, study: str) -> dict[tuple[str, str], StoredObject]:
        self._ask()
        return {
            (str(removal.series), str(removal.sop)): self.rows[uuid]
            for uuid, removal in self.removals.items()
            if removal.study == study
        }

    def stored(self, study: str) -> dict[tuple[str, str], str | None]:
        self._ask()
        return {(series, sop): found.digest for (of, series, sop), found in self.present_as.items() if of == study}

    def inherit_caller(self, digest: str, caller: str | None) -> None:
        self.inherited[digest] = caller

    def present(self, study: str, series: str, sop: str) -> list[Present]:
        self._ask()
        found = self.present_as.get((study, series, sop))
        return [] if found is None else [found]

    def derived_from(self, uuid: UUID) -> tuple[Attachment, Attachment] | None:
        self._ask()
        attachment, parent = self.parents_of.get(uuid, (None, None))
        return None if attachment is None or parent is None else (attachment, parent)

    def series(self, uuid: UUID) -> list[StoredObject]:
        self._ask()
        self.asked.append(uuid)
        return [self.rows[other] for other in self.in_series] if uuid in self.in_series else []

    def instances(self, name: str) -> dict[str, list[Attachment]]:
        self._ask()
        return {name: self.index[name]} if name in self.index else {}

    def origins(self, names: Sequence[str]) -> dict[str, Origin]:
        self._ask()
        return {name: self.origins_of[name] for name in names if name in self.origins_of}

    def acknowledged(self, uuids: Sequence[UUID]) -> set[UUID]:
        return {a.uuid for found in self.index.values() for a in found} & set(uuids)

    def _ask(self) -> None:
        if self.fault is not None:
            raise self.fault
