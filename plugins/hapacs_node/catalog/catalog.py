"""Everything that is asked of the database, each as one bounded transaction that survives a moved leader."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from hapacs_node.catalog import heartbeats, index, objects, retrieval
from hapacs_node.catalog.database import Database
from hapacs_node.catalog.index import Attachment, Origin
from hapacs_node.catalog.objects import StoredObject
from hapacs_node.catalog.retrieval import Instance, Named
from hapacs_node.errors import CatalogError


@dataclass(frozen=True)
class Catalog:
    """The catalog and Orthanc's index, which share a database.

    Every method raises CatalogUnavailableError when no leader answers before the deadline, and CatalogError when the
    database refuses.

    Parameters
    ----------
    database : Database
        Connections to the leader.
    """

    database: Database

    def add(self, row: StoredObject, outbox: Sequence[str]) -> None:
        """Note an attachment and what is to be done with it, all or nothing; again is harmless."""
        if self.add_all([(row, outbox)]) != {row.uuid}:
            raise CatalogError(f"attachment {row.uuid} is already in the catalog with other bytes")

    def add_all(self, rows: Sequence[tuple[StoredObject, Sequence[str]]]) -> set[UUID]:
        """Note attachments, none of them twice, in one transaction; return those that are noted now."""
        return self.database.run(lambda connection: objects.add(connection, rows))

    def find(self, uuid: UUID) -> StoredObject | None:
        """Look an attachment up, removed or not."""
        return self.database.run(lambda connection: objects.find(connection, uuid))

    def by_digest(self, digest: str) -> list[StoredObject]:
        """List the attachments that have these bytes, the oldest first."""
        return self.database.run(lambda connection: objects.by_digest(connection, digest))

    def by_digests(self, digests: Sequence[str]) -> list[StoredObject]:
        """List the attachments that have any of these bytes."""
        return self.database.run(lambda connection: objects.by_digests(connection, digests))

    def tombstone(self, uuid: UUID, node: str) -> StoredObject | None:
        """Mark an attachment as removed by a node, and return it; None when it is unknown."""
        return self.database.run(lambda connection: objects.tombstone(connection, uuid, node))

    def derived_from(self, uuid: UUID) -> tuple[Attachment, Attachment] | None:
        """Find a derived attachment and the DICOM file that it was derived from."""
        return self.database.run(lambda connection: index.with_parent(connection, uuid))

    def parents(self, uuids: Sequence[UUID]) -> dict[UUID, tuple[Attachment, Attachment | None]]:
        """Find derived attachments that the index refers to, each with its DICOM file if that is in the index."""
        return self.database.run(lambda connection: index.parents(connection, uuids))

    def find_all(self, uuids: Sequence[UUID]) -> dict[UUID, StoredObject]:
        """Look attachments up, removed or not; those that are unknown are left out."""
        found = self.database.run(lambda connection: objects.find_all(connection, uuids))
        return {row.uuid: row for row in found}

    def series(self, uuid: UUID) -> list[StoredObject]:
        """List the DICOM files of the series that an attachment belongs to, in the order in which they were stored."""
        return self.database.run(lambda connection: objects.series(connection, uuid))

    def retrieve(self, named: Named) -> list[Instance]:
        """List the instances of a study, a series, or one of them; nothing when there is none of that name."""
        return self.database.run(lambda connection: retrieval.instances(connection, named))

    def instances(self, name: str) -> dict[str, list[Attachment]]:
        """List the attachments of an instance by Orthanc identifier; `name` is one, or a SOP Instance UID."""
        return self.database.run(lambda connection: index.instances(connection, name))

    def origins(self, names: Sequence[str]) -> dict[str, Origin]:
        """Find identity and origin of instances by their Orthanc identifiers."""
        return self.database.run(lambda connection: index.origins(connection, names))

    def acknowledged(self, uuids: Sequence[UUID]) -> set[UUID]:
        """Tell which of the attachments the index refers to."""
        return self.database.run(lambda connection: index.acknowledged(connection, uuids))

    def beat(self, node: str, service: str) -> str:
        """Prove that the leader takes a write, replicated as every store is: leave a sign of life."""
        # The probe must be over before its last answer is too old.
        deadline_s = self.database.settings.statement_timeout_s
        self.database.run(lambda connection: heartbeats.beat(connection, node, service), deadline_s=deadline_s)
        return "the leader takes writes"
