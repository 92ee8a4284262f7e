"""What can be wrong between index, catalog, DAS and archive. Pure functions over one attachment or object."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum

from hapacs_node.catalog.index import UNCOMPRESSED
from hapacs_node.catalog.reconcile import Indexed, Row
from hapacs_node.storage import names
from hapacs_node.storage.archive import STORE
from hapacs_node.storage.client import Listed
from hapacs_node.storage.shelves import DasFile


class Kind(StrEnum):
    """A kind of disagreement; docs/operations/integrity.md says what each means."""

    DANGLING = "dangling"
    REMOVED_IN_INDEX = "removed-in-index"
    UNINDEXED = "unindexed"
    INDEX_SIZE = "index-size"
    DOUBLED_ID = "doubled-id"
    ARCHIVE_MISSING = "archive-missing"
    ARCHIVE_SIZE = "archive-size"
    WRONG_DIGEST = "wrong-digest"
    ARCHIVE_ORPHAN = "archive-orphan"
    DAS_SIZE = "das-size"
    DAS_ORPHAN = "das-orphan"


NOTES = frozenset({Kind.ARCHIVE_ORPHAN, Kind.DAS_ORPHAN})
"""Harmless: bytes of stores that failed. Nothing refers to them."""


@dataclass(frozen=True)
class Finding:
    """One disagreement.

    Attributes
    ----------
    kind : Kind
        What is wrong.
    name : str
        The attachment, the digest, the archive object or the public identifier.
    detail : str
        Particulars.
    row : Row or None
        The catalog's row, where there is one.
    """

    kind: Kind
    name: str
    detail: str = ""
    row: Row | None = None

    def document(self) -> dict[str, object]:
        """Describe it for JSON."""
        row = None if self.row is None else self.row._asdict()
        return asdict(self) | {"row": row, "fault": self.kind not in NOTES}


def of_attachment(uuid: str, row: Row | None, indexed: Indexed | None) -> Finding | None:
    """Compare catalog and index.

    The catalog's row is committed before the index's row, and the index's row is removed before the tombstone is
    written. So a difference of settled rows is no store or removal in progress.
    """
    if row is None:
        return None if indexed is None else Finding(Kind.DANGLING, uuid, "in the index, without a row in the catalog")
    if not row.settled:
        return None
    if indexed is None:
        return None if row.removed else Finding(Kind.UNINDEXED, uuid, "not in the index, and not removed", row)
    if row.removed:
        return Finding(Kind.REMOVED_IN_INDEX, uuid, "in the index, but the catalog has it as removed", row)
    if indexed.compression == UNCOMPRESSED and indexed.size != row.size:
        return Finding(Kind.INDEX_SIZE, uuid, f"{indexed.size} bytes in the index, {row.size} in the catalog", row)
    return None


def of_place(row: Row, size: int | None) -> Finding | None:
    """Compare a row of the catalog with its archive object.

    Parameters
    ----------
    row : Row
        A row.
    size : int or None
        Bytes of the object; None when the archive doesn't have it.
    """
    if not row.settled or row.store != STORE:
        return None
    if size is None:
        return Finding(Kind.ARCHIVE_MISSING, row.uuid, f"the archive does not have {row.key}", row)
    alone = row.key.startswith(f"{names.OBJECTS}/")
    needed = row.offset + row.length
    if size < needed or (alone and size != needed):
        return Finding(Kind.ARCHIVE_SIZE, row.uuid, f"{row.key} has {size} bytes in place of {needed}", row)
    if row.length != row.size or (alone and not row.key.startswith(names.cas_key(row.digest))):
        return Finding(Kind.WRONG_DIGEST, row.uuid, f"{row.key} is not an object of digest {row.digest}", row)
    return None


def of_object(listed: Listed, settled: datetime) -> Finding | None:
    """Report an archive object that no row refers to."""
    if listed.stored_at > settled:
        return None
    return Finding(Kind.ARCHIVE_ORPHAN, listed.key, f"{listed.size} bytes")


def of_file(copy: DasFile, rows: Sequence[Row], settled: datetime) -> Finding | None:
    """Compare a file of the DAS with the rows of its digest."""
    if copy.used_at > settled.timestamp():
        return None
    if not rows:
        return Finding(Kind.DAS_ORPHAN, copy.name, f"{copy.size} bytes")
    if copy.size != rows[0].size:
        return Finding(Kind.DAS_SIZE, copy.name, f"{copy.size} bytes in place of {rows[0].size}", rows[0])
    return None
