"""A DAS with copies, with its archive, catalog and eviction."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

from hapacs_node.catalog.index import Attachment
from hapacs_node.catalog.objects import StoredObject
from hapacs_node.metrics import Metrics
from hapacs_node.settings import Das as DasSettings
from hapacs_node.settings import Eviction as Limits
from hapacs_node.storage import names
from hapacs_node.storage.cas import Cas
from hapacs_node.storage.client import Client
from hapacs_node.storage.confirmation import Confirmation
from hapacs_node.storage.das import Das
from hapacs_node.storage.eviction import Eviction
from hapacs_node.storage.gateways import Gateway, Gateways
from hapacs_node.storage.shelves import Shelves
from tests.unit.node.fakes import FakeBucket, FakeCatalog, FakeClient

HOUR, DAY = 3600, 86400
DICOM, UNTIL_PIXEL_DATA, AS_JSON = 1, 3, 2


@dataclass
class Bench:
    """A DAS, an archive and a catalog, with helpers that put copies there."""

    root: Path
    minimum_age_s: int = DAY
    deadline_s: float = 1.0
    metrics: Metrics = field(default_factory=Metrics)
    bucket: FakeBucket = field(default_factory=FakeBucket)
    catalog: FakeCatalog = field(default_factory=FakeCatalog)
    workers: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(4))

    def __post_init__(self) -> None:
        self.clients = [FakeClient(self.bucket), FakeClient(self.bucket)]
        members: list[Gateway[Client]] = [
            Gateway(f"https://gateway{number}:8333", client) for number, client in enumerate(self.clients)
        ]
        self.cas = Cas(Gateways(members, self.metrics, sleep=lambda _: None), self.deadline_s, self.metrics)
        self.das = Das(DasSettings(root=self.root, minimum_free_bytes=0, must_be_mount=False), self.metrics)
        limits = Limits(below_free_bytes=1, until_free_bytes=2, minimum_age_s=self.minimum_age_s)
        self.eviction = Eviction(
            Shelves(self.das), Confirmation(self.cas, self.catalog, self.workers), limits, self.metrics
        )

    def put(self, content: bytes, age_s: float, *, archived: bool = True, noted: bool = True) -> str:
        """Put an object on the DAS whose last use is `age_s` ago."""
        digest = names.digest_of(content)
        key = names.cas_key(digest)
        self.das.write(digest, content)
        self.age(self.file(digest), age_s)
        if archived:
            self.bucket.objects[key] = (content, digest)
        if noted:
            uuid, size = uuid4(), len(content)
            self.catalog.rows[uuid] = StoredObject(uuid, digest, size, DICOM, "cas", key, 0, size, "pacs1")
        return digest

    def put_derived(self, parent: str | None, age_s: float, *, kind: int = UNTIL_PIXEL_DATA) -> UUID:
        """Put a derived attachment on the DAS."""
        uuid = uuid4()
        self.das.write_derived(uuid, b"header")
        self.age(self.derived_file(uuid), age_s)
        if parent is not None:
            row = next(row for row in self.catalog.rows.values() if row.digest == parent)
            attachments = (Attachment(uuid, kind, 6, 1, ""), Attachment(row.uuid, DICOM, row.size, 1, ""))
            self.catalog.parents_of[uuid] = attachments
        return uuid

    def file(self, digest: str) -> Path:
        return self.root.joinpath(*names.das_path(digest))

    def derived_file(self, uuid: UUID) -> Path:
        return self.root.joinpath(*names.derived_path(uuid))

    @staticmethod
    def age(file: Path, age_s: float) -> None:
        moment = time.time() - age_s
        os.utime(file, (moment, moment))

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0
