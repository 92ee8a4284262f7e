"""Completes and renews the query tables of a site that is in use.

Images of an older program have no rows: those are copied from Orthanc's index at once, so that every image is found.
What the index has wrong, or has not, is then read from the files.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from hapacs_node import log
from hapacs_node.catalog import outdated
from hapacs_node.catalog.catalog import Catalog
from hapacs_node.catalog.objects import StoredObject
from hapacs_node.errors import NodeError
from hapacs_node.query import header
from hapacs_node.query.header import HEAD_BYTES, Header
from hapacs_node.storage.reader import Reader

_LOG = log.get("query")


@dataclass(frozen=True)
class Renewed:
    """What a renewal did.

    Attributes
    ----------
    images : int
        Images that were read.
    unreadable : int
        Images that no place returned; the next renewal tries them again.
    """

    images: int
    unreadable: int


@dataclass
class Refresh:
    """Completes and renews the query tables.

    Parameters
    ----------
    catalog : Catalog
        Has the tables.
    reader : Reader
        Reads the files.
    undeclared : str
        Character set of files that declare none.
    """

    catalog: Catalog
    reader: Reader
    undeclared: str

    def complete(self, after: int = 0) -> tuple[int, int]:
        """Copy missing rows from Orthanc's index; return how many, and the number to go on after.

        Raises
        ------
        NodeError
            When no database leader answers.
        """
        copied = 0
        more = True
        while more:
            after, rows, more = self.catalog.undescribed(after)
            copied += self.catalog.describe(rows) if rows else 0
        return copied, after

    def follow(self, stop: threading.Event, period_s: float) -> None:
        """Complete the tables until `stop` is set: during an upgrade other nodes still run the older program."""
        after = 0
        while not stop.wait(period_s):
            try:
                copied, after = self.complete(after)
            except NodeError as error:
                _LOG.warning(log.line("query_tables_incomplete", error=error))
            else:
                if copied:
                    _LOG.info(log.line("query_tables_completed", images=copied))

    def renew(self, done: Callable[[int], None], pause: Callable[[float], None] = time.sleep) -> Renewed:
        """Read the images again that were described in another way.

        Half of the time is left to others: after each batch it waits as long as that took. It can be interrupted, and
        then continues where it was.

        Parameters
        ----------
        done : callable
            Is called with the number of images of each batch.
        pause : callable
            Waits for some seconds.

        Raises
        ------
        NodeError
            When no database leader answers.
        """
        described_as = header.described_as(self.undeclared)
        images = unreadable = 0
        after = outdated.START
        while rows := self.catalog.outdated(described_as, after):
            began = time.monotonic()
            after = rows[-1].uuid
            read = [(row.uuid, found) for row in rows if (found := self._read(row)) is not None]
            self.catalog.describe(read)
            images += len(read)
            unreadable += len(rows) - len(read)
            done(len(rows))
            pause(time.monotonic() - began)
        return Renewed(images, unreadable)

    def describe(self, row: StoredObject) -> bool:
        """Read one image and write its rows; return whether it could be read.

        Raises
        ------
        NodeError
            When no database leader answers.
        """
        found = self._read(row)
        return found is not None and bool(self.catalog.describe([(row.uuid, found)]))

    def _read(self, row: StoredObject) -> Header | None:
        try:
            head = self.reader.head(row)
            # Attributes of the image may come after what was read.
            whole = len(head) < HEAD_BYTES or row.size <= HEAD_BYTES
            found = header.of(head, self.undeclared)
            if not whole and (found is None or not found.has_pixels):
                found = header.of(self.reader.read(row.uuid), self.undeclared)
        except NodeError as error:
            _LOG.warning(log.line("header_unread", uuid=row.uuid, error=error))
            return None
        return found
