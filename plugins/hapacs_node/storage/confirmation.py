"""Checks that the archive has the bytes of a DAS copy. The archive itself is asked, never the catalog alone."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from hapacs_node import log
from hapacs_node.catalog import index
from hapacs_node.catalog.catalog import Catalog
from hapacs_node.catalog.objects import StoredObject
from hapacs_node.errors import CasConflictError, CasMissingError
from hapacs_node.storage import derived, names
from hapacs_node.storage.archive import STORE
from hapacs_node.storage.cas import Cas
from hapacs_node.storage.shelves import DasFile

_LOG = log.get("confirmation")


class Extent(NamedTuple):
    """A place in the archive, as the catalog names it."""

    digest: str
    store: str
    key: str
    offset: int
    length: int


@dataclass(frozen=True)
class Confirmation:
    """Asks the archive whether it has the bytes of DAS copies.

    Parameters
    ----------
    cas, catalog
        The archive, and the catalog with the places of its objects.
    workers : ThreadPoolExecutor
        Threads that ask.
    """

    cas: Cas
    catalog: Catalog
    workers: ThreadPoolExecutor

    def confirmed(self, copies: Sequence[DasFile]) -> set[DasFile]:
        """Return the copies that can be restored without this DAS.

        An object is confirmed when the archive, asked now, has it with its size and digest at every place that the
        catalog names. A derived attachment is confirmed when its DICOM file is confirmed and it can be cut from that
        file, or when it is not in the index.

        Raises
        ------
        CatalogError, CasError
            When the catalog or the archive does not answer. Then no copy is confirmed.
        """
        objects = [copy for copy in copies if copy.kind == "object"]
        places: dict[DasFile, set[Extent] | None] = {
            copy: self._places(copy, rows) for copy, rows in self._rows(objects).items()
        }
        places |= self._derived([copy for copy in copies if copy.kind == "derived"])
        wanted = {place for found in places.values() for place in found or ()}
        answers = self.workers.map(self._is_there, wanted)
        there = {place for place, is_there in zip(wanted, answers, strict=True) if is_there}
        return {copy for copy, found in places.items() if found is not None and found <= there}

    def _rows(self, copies: Sequence[DasFile]) -> dict[DasFile, list[StoredObject]]:
        found: dict[str, list[StoredObject]] = {copy.name: [] for copy in copies}
        for row in self.catalog.by_digests(list(found)) if found else ():
            found[row.digest].append(row)
        return {copy: found[copy.name] for copy in copies}

    @staticmethod
    def _places(copy: DasFile, rows: Sequence[StoredObject]) -> set[Extent]:
        # After a store that failed before its catalog row, the archive may still have the object.
        unnoted = Extent(copy.name, STORE, names.cas_key(copy.name), 0, copy.size)
        return {_place(row) for row in rows} or {unnoted}

    def _derived(self, copies: Sequence[DasFile]) -> dict[DasFile, set[Extent] | None]:
        if not copies:
            return {}
        found = self.catalog.parents([UUID(copy.name) for copy in copies])
        parents = self.catalog.find_all([parent.uuid for _, parent in found.values() if parent is not None])
        places: dict[DasFile, set[Extent] | None] = {}
        for copy in copies:
            uuid = UUID(copy.name)
            if uuid not in found:
                places[copy] = set()
                continue
            attachment, parent = found[uuid]
            row = None if parent is None else parents.get(parent.uuid)
            plain = parent is not None and {attachment.compression, parent.compression} == {index.UNCOMPRESSED}
            can_be_cut = plain and attachment.type == derived.DICOM_UNTIL_PIXEL_DATA
            places[copy] = {_place(row)} if can_be_cut and row is not None else None
        return places

    def _is_there(self, place: Extent) -> bool:
        try:
            return self._asked(place)
        except (CasMissingError, CasConflictError) as error:
            _LOG.warning(log.line("archive_copy_unconfirmed", digest=place.digest, error=error))
            return False

    def _asked(self, place: Extent) -> bool:
        if place.store != STORE:
            return False
        recorded = self.cas.head(place.key)
        alone = place.key == names.cas_key(place.digest)
        if recorded.size < place.offset + place.length or (alone and recorded.size != place.length):
            raise CasConflictError(f"the archive object {place.key} has {recorded.size} bytes")
        if (recorded.digest, recorded.size, place.offset) != (place.digest, place.length, 0):
            # A part of a larger object, or an object without a recorded digest: read and check the bytes.
            self.cas.get(place.key, place.digest, place.offset, place.length)
        return True


def _place(row: StoredObject) -> Extent:
    return Extent(row.digest, row.store, row.key, row.offset, row.length)
