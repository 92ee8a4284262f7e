"""Repairs what does not agree. No repair deletes bytes; each is logged."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from uuid import UUID

from hapacs_node import log
from hapacs_node.catalog.catalog import Catalog
from hapacs_node.catalog.index import DICOM
from hapacs_node.catalog.objects import StoredObject
from hapacs_node.catalog.removals import Removal
from hapacs_node.errors import CasError, DasError, NodeError
from hapacs_node.integrity.findings import Finding, Kind
from hapacs_node.query.refresh import Refresh
from hapacs_node.storage.archive import STORE
from hapacs_node.storage.cas import Cas
from hapacs_node.storage.das import Das

_LOG = log.get("integrity")


class NotRepairedError(NodeError):
    """A finding can't be repaired here; the message says what to do."""


@dataclass(frozen=True)
class Repairs:
    """Repairs findings.

    Parameters
    ----------
    node, operator : str
        For the catalog and the journal.
    das, cas, catalog
        The three places that hold an image.
    refresh : Refresh
        Writes the rows that searches read.
    """

    node: str
    operator: str
    das: Das
    cas: Cas
    catalog: Catalog
    refresh: Refresh

    def repair(self, finding: Finding) -> str:
        """Repair one finding, log it, and return what was done. It can be repeated.

        Raises
        ------
        NotRepairedError
            When it can't be repaired on this node, or not by a command.
        NodeError
            When a place does not answer.
        """
        if finding.kind not in _REPAIRS or finding.row is None:
            raise NotRepairedError("no command repairs this: see docs/operations/integrity.md")
        row = self.catalog.find(UUID(finding.row.uuid))
        if row is None:
            raise NotRepairedError("the catalog does not have it any more: run the command again")
        if (row.key, row.offset) != (finding.row.key, finding.row.offset):
            return f"its bytes were moved to {row.key} meanwhile"
        done = _REPAIRS[finding.kind](self, row)
        about = {"kind": finding.kind, "uuid": row.uuid, "digest": row.digest, "done": done}
        _LOG.warning(log.line("repaired", **about, operator=self.operator))
        return done

    def archive(self, row: StoredObject) -> str:
        """Give an image a whole archive copy: one that other rows name, or a new one from the DAS of this node."""
        for other in self.catalog.by_digest(row.digest):
            if (other.store, row.store) == (STORE, STORE) and (other.key, other.offset) != (row.key, row.offset):
                try:
                    self.cas.get(other.key, row.digest, other.offset, other.length)
                except CasError:
                    continue
                self.catalog.move(row, other.key, other.offset)
                return f"the archive has it in {other.key} too"
        try:
            content = self.das.read(row.digest, row.size)
        except DasError as error:
            raise NotRepairedError(
                f"this node has no whole copy ({error}): run the command on the other nodes, first on {row.node}"
            ) from error
        key = self.cas.put_again(row.digest, content)
        self.catalog.move(row, key, 0)
        return f"stored as {key}"

    def online(self, row: StoredObject) -> str:
        """Write the online copy again from the archive."""
        self.das.write(row.digest, self.cas.get(row.key, row.digest, row.offset, row.length))
        return "the online copy was written again"

    def revive(self, row: StoredObject) -> str:
        """Take the tombstone away, and write the rows that searches read."""
        if not self.catalog.revive(row.uuid):
            raise NotRepairedError("it is not removed, or not in the index, any more: run the command again")
        if row.type == DICOM and not self.refresh.describe(row):
            return (
                "the tombstone was taken away; it can't be read now, so no search finds it: run `hapacs reindex` later"
            )
        return "the tombstone was taken away"

    def remove(self, row: StoredObject) -> str:
        """Mark an image as removed that a service stored and did not index."""
        if self.catalog.acknowledged([row.uuid]):
            raise NotRepairedError("the index has it now: run the command again")
        self.catalog.tombstone(row.uuid, self.node, Removal("unknown"))
        return "marked as removed; its bytes remain, and `hapacs study restore` stores it again"


_REPAIRS: Mapping[Kind, Callable[[Repairs, StoredObject], str]] = {
    Kind.REMOVED_IN_INDEX: Repairs.revive,
    Kind.UNINDEXED: Repairs.remove,
    Kind.ARCHIVE_MISSING: Repairs.archive,
    Kind.ARCHIVE_SIZE: Repairs.archive,
    Kind.DAS_SIZE: Repairs.online,
}
REPAIRED = frozenset(_REPAIRS)
"""Kinds that a command can repair."""
