"""Compares index, catalog, archive and the DAS of this node, all of it, while the site is in use.

Three passes, each a merge of two streams in the same order, so that memory does not grow with the number of images.
What a pass finds is looked at again at once, all places at the same moment, and is reported only when it is still so.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import batched, pairwise

from hapacs_node.catalog import reconcile
from hapacs_node.catalog.database import Connection, Database
from hapacs_node.catalog.reconcile import Indexed, Order, Resource, Row
from hapacs_node.errors import CasMissingError
from hapacs_node.integrity import findings
from hapacs_node.integrity.findings import Finding, Kind
from hapacs_node.integrity.streams import merged, paged
from hapacs_node.storage import names
from hapacs_node.storage.archive import STORE
from hapacs_node.storage.cas import Cas
from hapacs_node.storage.client import Listed
from hapacs_node.storage.listing import listed
from hapacs_node.storage.shelves import DasFile, Shelves

_PAGE = 5000
# Findings that are looked at again together.
_AGAIN = 200
_ASKERS = 8


@dataclass
class Counts:
    """How much was compared, for people."""

    catalog: int = 0
    index: int = 0
    archive: int = 0
    das: int = 0


@dataclass
class Reconciliation:
    """Compares the places.

    Parameters
    ----------
    database : Database
        Catalog and index.
    cas : Cas
        The archive.
    shelves : Shelves
        The DAS of this node.
    settled : datetime
        What was stored, removed or used after this time is left alone.
    """

    database: Database
    cas: Cas
    shelves: Shelves
    settled: datetime
    counts: Counts = field(default_factory=Counts)

    @staticmethod
    def settled_before(database: Database, age_s: float) -> datetime:
        """Return the time that leaves `age_s`, and every transaction that is in progress, alone."""
        return database.run(lambda connection: reconcile.before(connection, age_s))

    def findings(self) -> Iterator[Finding]:
        """Compare everything once.

        Raises
        ------
        NodeError
            When a place does not answer; what was found until then is right.
        """
        yield from self.of_index()
        yield from self.of_archive()
        yield from self.of_das()

    def of_index(self) -> Iterator[Finding]:
        """Compare index and catalog, and look for public identifiers that are there twice."""
        groups = merged(self._rows("uuid"), lambda row: row.uuid, self._indexed(), lambda one: one.uuid)
        found = (
            finding
            for group in groups
            if (finding := findings.of_attachment(group.name, _only(group.left), _only(group.right)))
        )
        yield from self._still(found, self._attachments_again)
        yield from self._still(self._doubled(), self._doubled_again)

    def of_archive(self) -> Iterator[Finding]:
        """Compare catalog and archive."""
        yield from self._still(self._archive_candidates(), self._places_again)

    def of_das(self) -> Iterator[Finding]:
        """Compare the DAS of this node and the catalog. A missing online copy is no fault: it may be evicted."""
        yield from self._still(self._das_candidates(), self._files_again)

    def _doubled(self) -> Iterator[Finding]:
        resources: Iterator[Resource] = self._read(reconcile.resources)
        for last, resource in pairwise(resources):
            if last.public_id == resource.public_id:
                detail = f"resources {last.number} and {resource.number} of the index"
                yield Finding(Kind.DOUBLED_ID, last.public_id, detail)

    def _doubled_again(self, found: Sequence[Finding]) -> Sequence[Finding]:
        now = self.database.run(partial(reconcile.doubled, public_ids=[one.name for one in found]))
        return [one for one in found if one.name in now]

    def _archive_candidates(self) -> Iterator[Finding]:
        # Within a folder neither gateways nor a failure keep an order.
        groups = merged(
            (row for row in self._rows("key") if row.store == STORE),
            lambda row: names.folder_of(row.key),
            self._listed(),
            lambda one: names.folder_of(one.key),
        )
        for group in groups:
            there = {one.key: one for one in group.right}
            for row in group.left:
                one = there.get(row.key)
                if finding := findings.of_place(row, None if one is None else one.size):
                    yield finding
            for key in there.keys() - {row.key for row in group.left}:
                if finding := findings.of_object(there[key], self.settled):
                    yield finding

    def _das_candidates(self) -> Iterator[Finding]:
        groups = merged(self._rows("digest"), lambda row: row.digest[:4], self._files(), lambda one: one.name[:4])
        for group in groups:
            rows: dict[str, list[Row]] = {}
            for row in group.left:
                rows.setdefault(row.digest, []).append(row)
            for copy in group.right:
                if finding := findings.of_file(copy, rows.get(copy.name, ()), self.settled):
                    yield finding

    @staticmethod
    def _still(found: Iterator[Finding], again: Callable[[Sequence[Finding]], Sequence[Finding]]) -> Iterator[Finding]:
        for some in batched(found, _AGAIN):
            yield from again(some)

    def _attachments_again(self, found: Sequence[Finding]) -> Sequence[Finding]:
        now = self._pairs([one.name for one in found])
        return [one for uuid, pair in now.items() if (one := findings.of_attachment(uuid, *pair))]

    def _places_again(self, found: Sequence[Finding]) -> Sequence[Finding]:
        orphans = [one for one in found if one.kind is Kind.ARCHIVE_ORPHAN]
        if orphans:
            used = self.database.run(partial(reconcile.used_keys, keys=[one.name for one in orphans]))
            orphans = [one for one in orphans if one.name not in used]
        now = self._pairs([one.name for one in found if one.kind is not Kind.ARCHIVE_ORPHAN])
        rows = [row for row, _ in now.values() if row is not None]
        with ThreadPoolExecutor(_ASKERS) as askers:
            sizes = askers.map(self._size, rows)
            wrong = [one for row, size in zip(rows, sizes, strict=True) if (one := findings.of_place(row, size))]
        return [*wrong, *orphans]

    def _files_again(self, found: Sequence[Finding]) -> Sequence[Finding]:
        used = self.database.run(partial(reconcile.used_digests, digests=[one.name for one in found]))
        das = self.shelves.das
        return [
            one for one in found if (one.name not in used if one.row is None else not das.has(one.name, one.row.size))
        ]

    def _size(self, row: Row) -> int | None:
        try:
            return self.cas.head(row.key).size
        except CasMissingError:
            return None

    def _pairs(self, uuids: Sequence[str]) -> dict[str, tuple[Row | None, Indexed | None]]:
        return self.database.run(partial(reconcile.pairs, uuids=uuids, settled=self.settled)) if uuids else {}

    def _rows(self, order: Order) -> Iterator[Row]:
        def page(connection: Connection, after: Row | None, limit: int) -> list[Row]:
            return reconcile.rows(connection, order, after, self.settled, limit)

        for row in self._read(page):
            self.counts.catalog += 1
            yield row

    def _indexed(self) -> Iterator[Indexed]:
        for one in self._read(reconcile.indexed):
            self.counts.index += 1
            yield one

    def _listed(self) -> Iterator[Listed]:
        for folder in (names.PACKS, names.OBJECTS):
            for one in listed(self.cas.gateways, folder, self.cas.deadline_s):
                self.counts.archive += 1
                yield one

    def _files(self) -> Iterator[DasFile]:
        for _, copies in self.shelves.walk(0):
            for copy in copies:
                if copy.kind == "object":
                    self.counts.das += 1
                    yield copy

    def _read[Item](self, page: Callable[[Connection, Item | None, int], list[Item]]) -> Iterator[Item]:
        return paged(lambda after: self.database.run(lambda connection: page(connection, after, _PAGE)))


def _only[Item](items: Sequence[Item]) -> Item | None:
    return items[0] if items else None
