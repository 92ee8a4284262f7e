"""A cache of catalog rows, loaded one series at a time, because the images of a series are usually read together.

The digest of an attachment never changes. Its place in the archive may change, so that is read from the catalog again
when it is needed.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from uuid import UUID

from hapacs_node.catalog.catalog import Catalog
from hapacs_node.catalog.objects import StoredObject
from hapacs_node.errors import CatalogError

_REMEMBERED = 20_000


@dataclass
class Rows:
    """Catalog rows by attachment.

    Parameters
    ----------
    catalog : Catalog
        Source of the rows.
    """

    catalog: Catalog
    _known: OrderedDict[UUID, StoredObject] = field(default_factory=OrderedDict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def of(self, uuid: UUID) -> StoredObject:
        """Return the row of an attachment, possibly an older state of it.

        Raises
        ------
        CatalogError
            When the catalog has no row, or doesn't answer.
        """
        with self._lock:
            if found := self._known.get(uuid):
                self._known.move_to_end(uuid)
                return found
        series = {row.uuid: row for row in self.catalog.series(uuid)}
        row = series.get(uuid) or self.now(uuid)
        with self._lock:
            self._known |= series
            self._known[uuid] = row
            self._known.move_to_end(uuid)
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return row

    def now(self, uuid: UUID) -> StoredObject:
        """Return the current row of an attachment.

        Raises
        ------
        CatalogError
            When the catalog has no row, or doesn't answer.
        """
        row = self.catalog.find(uuid)
        if row is None:
            raise CatalogError(f"attachment {uuid} is not in the catalog")
        return row
