"""All queries to the database. Each is one transaction with a deadline that survives a failover."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from hapacs_node.catalog import (
    headers,
    heartbeats,
    index,
    objects,
    outbox,
    outdated,
    removals,
    retrieval,
    search,
    selection,
    site,
    worklist,
)
from hapacs_node.catalog.database import Database
from hapacs_node.catalog.index import Attachment, Origin, Present
from hapacs_node.catalog.objects import StoredObject
from hapacs_node.catalog.removals import DeletedStudy, Removal
from hapacs_node.catalog.retrieval import Instance, Named
from hapacs_node.catalog.selection import Selected, Selection
from hapacs_node.errors import CatalogError
from hapacs_node.query.criteria import Found, Search
from hapacs_node.query.dicom_json import Json
from hapacs_node.query.header import Header
from hapacs_node.worklist.entry import Entry


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

    def add(self, row: StoredObject) -> None:
        """Add an attachment, and its event when rules are active, in one transaction. It can be repeated."""
        if self.add_all([row]) != {row.uuid}:
            raise CatalogError(f"attachment {row.uuid} is already in the catalog with other bytes")

    def add_all(self, rows: Sequence[StoredObject]) -> set[UUID]:
        """Add different attachments in one transaction; return those that the catalog now has."""
        return self.database.run(lambda connection: objects.add(connection, rows))

    def find(self, uuid: UUID) -> StoredObject | None:
        """Find an attachment, removed or not."""
        return self.database.run(lambda connection: objects.find(connection, uuid))

    def by_digest(self, digest: str) -> list[StoredObject]:
        """List the attachments that have these bytes, the oldest first."""
        return self.database.run(lambda connection: objects.by_digest(connection, digest))

    def by_digests(self, digests: Sequence[str]) -> list[StoredObject]:
        """List the attachments that have any of these bytes."""
        return self.database.run(lambda connection: objects.by_digests(connection, digests))

    def tombstone(self, uuid: UUID, node: str, removal: Removal) -> StoredObject | None:
        """Mark an attachment as removed by a node, and return it; None when it is unknown."""
        return self.database.run(lambda connection: removals.tombstone(connection, uuid, node, removal))

    def revive(self, uuid: UUID) -> bool:
        """Take the tombstone from an attachment that the index has; return whether there was one."""
        return self.database.run(lambda connection: removals.revive(connection, uuid))

    def move(self, row: StoredObject, key: str, offset: int) -> int:
        """Record another place in the archive for a row's bytes; return how many rows shared its place."""
        return self.database.run(lambda connection: objects.move(connection, row, key, offset))

    def removed_without_study(self, limit: int) -> list[StoredObject]:
        """List removed DICOM files whose study is not known, the last removal first."""
        return self.database.run(lambda connection: removals.without_study(connection, limit))

    def identify_removed(self, uuid: UUID, study: str, series: str, sop: str) -> None:
        """Record the UIDs of a removed DICOM file; empty ones when it has none."""
        self.database.run(lambda connection: removals.identify(connection, uuid, study, series, sop))

    def removed(self, study: str) -> dict[tuple[str, str], StoredObject]:
        """Return the removed images of a study by series and SOP Instance UID; of several the last removed one."""
        return self.database.run(lambda connection: removals.of_study(connection, study))

    def stored(self, study: str) -> dict[tuple[str, str], str | None]:
        """Return the digests of the images of a study in the index by series and SOP Instance UID."""
        return self.database.run(lambda connection: removals.stored(connection, study))

    def deleted_studies(self, since: datetime | None, limit: int) -> Sequence[DeletedStudy]:
        """List the studies of which images were removed on request, the last removal first."""
        return self.database.run(lambda connection: removals.deleted(connection, since, limit))

    def inherit_caller(self, digest: str, caller: str | None) -> None:
        """Record who stored an image first, for one that was restored."""
        self.database.run(lambda connection: removals.inherit(connection, digest, caller))

    def present(self, study: str, series: str, sop: str) -> list[Present]:
        """List the images with these UIDs in the index, and who stored each."""
        return self.database.run(lambda connection: index.present(connection, study, series, sop))

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
        """List the instances of a study, a series, or one of them; an empty list when there is none."""
        return self.database.run(lambda connection: retrieval.instances(connection, named))

    def select(self, wanted: Selection) -> list[Selected]:
        """List the instances of some studies, series or instances, each once; an empty list when there is none."""
        return self.database.run(lambda connection: selection.select(connection, wanted))

    def search(self, asked: Search) -> list[Found]:
        """Return the answers to a search, the newest studies first."""
        return self.database.run(lambda connection: search.search(connection, asked))

    def describe(self, rows: Sequence[tuple[UUID, Header]]) -> int:
        """Write what was read again of images; return how many of them are still stored."""
        return self.database.run(lambda connection: headers.describe(connection, rows))

    def documents(self, uuids: Sequence[UUID], described_as: str) -> dict[UUID, bytes]:
        """Return the metadata of images that is kept; see `headers.documents`."""
        return self.database.run(lambda connection: headers.documents(connection, uuids, described_as))

    def undescribed(self, after: int) -> tuple[int, Sequence[tuple[UUID, Header]], bool]:
        """Describe some images that searches don't know yet by the index; see `outdated.missing`."""
        return self.database.run(lambda connection: outdated.missing(connection, after))

    def outdated(self, described_as: str, after: UUID) -> list[StoredObject]:
        """List some images that were described in another way, by UUID after the given one."""
        return self.database.run(lambda connection: outdated.outdated(connection, described_as, after))

    def count_outdated(self, described_as: str) -> int:
        """Count the images that were described in another way."""
        return self.database.run(lambda connection: outdated.count(connection, described_as))

    def instances(self, name: str) -> dict[str, list[Attachment]]:
        """List the attachments of an instance by Orthanc identifier; `name` is one, or a SOP Instance UID."""
        return self.database.run(lambda connection: index.instances(connection, name))

    def origins(self, names: Sequence[str]) -> dict[str, Origin]:
        """Find identity and origin of instances by their Orthanc identifiers."""
        return self.database.run(lambda connection: index.origins(connection, names))

    def acknowledged(self, uuids: Sequence[UUID]) -> set[UUID]:
        """Return those attachments that are in the index."""
        return self.database.run(lambda connection: index.acknowledged(connection, uuids))

    def oldest_waiting_s(self) -> float:
        """Return the age of the oldest image that waits for a destination, seconds."""
        return self.database.run(outbox.oldest_waiting_s)

    def keep_entry(self, entry: Entry, days: timedelta, by: str, most: int) -> bool | None:
        """Keep an entry of the worklist; see `worklist.keep`."""
        return self.database.run(lambda connection: worklist.keep(connection, entry, days, by, most))

    def delete_entry(self, name: UUID) -> bool:
        """Delete an entry of the worklist; return whether there was one."""
        return self.database.run(lambda connection: worklist.delete(connection, name))

    def entry(self, name: UUID) -> Json | None:
        """Return an entry of the worklist; None when there is none."""
        return self.database.run(lambda connection: worklist.find(connection, name))

    def entries(self) -> list[Json]:
        """Return all entries of the worklist by the day on which their steps start."""
        return self.database.run(worklist.every)

    def fenced(self) -> str | None:
        """Return why images of callers are not stored at this site; None when they are."""
        return self.database.run(site.fenced)

    def beat(self, node: str, service: str) -> str | None:
        """Write a heartbeat, to check that the leader accepts a write and replicates it as it does for a store.

        Returns
        -------
        str or None
            Why images of callers are not stored at this site; None when they are.
        """
        # The probe must end before its last answer is too old.
        deadline_s = self.database.settings.statement_timeout_s
        return self.database.run(lambda connection: heartbeats.beat(connection, node, service), deadline_s=deadline_s)

    def has_session(self, application: str, deadline_s: float = 4) -> bool:
        """Return whether the leader has a session of an application."""
        return self.database.run(
            lambda connection: heartbeats.has_session(connection, application), deadline_s=deadline_s
        )
