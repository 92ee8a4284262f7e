"""What a site has of the instances of a ledger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from hapacs.load.ledger import Entry, Series


@dataclass(frozen=True)
class Row:
    """A file that the index has for an instance, with its row of the catalog.

    Attributes
    ----------
    digest, size, store, key, offset, length
        Values of the catalog; None when it has no row.
    removed
        Whether the catalog says that it was removed.
    """

    digest: str | None
    size: int | None = None
    store: str | None = None
    key: str | None = None
    offset: int | None = None
    length: int | None = None
    removed: bool = False


@dataclass(frozen=True)
class Rows:
    """What the database has of some instances of a series.

    Attributes
    ----------
    files
        By SOP Instance UID: one for each time that it is in the index.
    patients, studies, series
        How often patient, study and series are in the index.
    """

    files: Mapping[str, Sequence[Row]]
    patients: int = 1
    studies: int = 1
    series: int = 1


@dataclass(frozen=True)
class Copies:
    """What the archive has of one catalog row.

    Attributes
    ----------
    whole, damaged, silent
        Names of the places with the right bytes, with other bytes, and that did not answer.
    wanted
        How many copies the archive is to keep.
    apart
        Whether they are in as many zones as they are to be.
    lock
        Why it is not locked; empty when it is.
    """

    whole: Sequence[str]
    damaged: Sequence[str] = ()
    silent: Sequence[str] = ()
    wanted: int = 1
    apart: bool = True
    lock: str = ""


class Archive(Protocol):
    """The site in which the instances of a ledger are checked.

    A method waits while the site recovers from a fault, and raises `HapacsError` when it does not.
    """

    def qido(self, series: Series) -> Iterable[str]:
        """Return the SOP Instance UIDs that QIDO-RS finds in a series, each as often as it is found."""
        ...

    def c_find(self, series: Series) -> Iterable[str]:
        """Return the SOP Instance UIDs that C-FIND finds in a series, each as often as it is found."""
        ...

    def rows(self, series: Series, entries: Sequence[Entry]) -> Rows:
        """Read the index and the catalog."""
        ...

    def file(self, entry: Entry) -> bytes | None:
        """Retrieve an instance as a DICOM file; None when it can't be read."""
        ...

    def copies(self, rows: Sequence[Row]) -> Mapping[Row, Copies]:
        """Have the archive hash its copies of catalog rows."""
        ...
