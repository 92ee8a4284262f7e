"""Says to a site that compares what the catalog of this one has, in ranges."""

from dataclasses import dataclass
from typing import Self

from hapacs_node.catalog.database import Database
from hapacs_node.commitment.settings import Archive
from hapacs_node.metrics import Metrics
from hapacs_node.replication.locks import Locks
from hapacs_node.replication.ranges import QUESTION, Here
from hapacs_node.settings import Settings
from hapacs_node.storage.cas import Cas

# A question covers 50,000 images at most.
_STATEMENT_S, _DEADLINE_S = 60.0, 90.0


@dataclass(frozen=True)
class Ranges:
    """Answers questions for ranges.

    Parameters
    ----------
    database : Database
        A connection of its own, and only one: the other work of the service does not wait for a comparison, and the
        database never computes two answers at the same time.
    locks : Locks or None
        Reads locks.
    """

    database: Database
    locks: Locks | None = None

    @classmethod
    def build(cls, node: Settings, archive: Archive, cas: Cas, metrics: Metrics) -> Self:
        """Build it, without connecting anything."""
        limits = {"connections": 1, "statement_timeout_s": _STATEMENT_S, "deadline_s": _DEADLINE_S}
        settings = node.database.model_copy(update=limits)
        database = Database(settings, metrics, application=f"hapacs-compare@{node.node}")
        return cls(database, locks(database, cas, archive))

    def answer(self, content: bytes) -> dict[str, object]:
        """Answer a question in JSON.

        Raises
        ------
        ValidationError
            When it is no question.
        NodeError
            When the database does not answer, or the range has too many images.
        """
        return Here(self.database, self.locks).answer(QUESTION.validate_json(content)).model_dump(mode="json")


def locks(database: Database, cas: Cas, archive: Archive) -> Locks | None:
    """Return what reads locks; None when the configuration does not say for how long objects are locked."""
    days = archive.retention_days
    return None if days is None else Locks(database, cas, archive.mode, days)
