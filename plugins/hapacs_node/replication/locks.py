"""Reads the locks of images in the archive of a site, for the comparison of two sites."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hapacs_node.catalog import comparison
from hapacs_node.catalog.database import Database
from hapacs_node.commitment.copies import lock_problem
from hapacs_node.errors import CasMissingError
from hapacs_node.storage.archive import STORE
from hapacs_node.storage.cas import Cas

_READERS = 8
# The archive locks an object when it is written, the catalog has the time at which that was done.
_SLACK = timedelta(days=1)


@dataclass(frozen=True)
class Locks:
    """What is wrong with the locks of a site.

    Parameters
    ----------
    database : Database
        The catalog's.
    cas : Cas
        Returns locks.
    mode : str
        The retention that objects have to have.
    retention_days : int
        For so long after it was stored first an image has to be locked, by the policy of this site.
    """

    database: Database
    cas: Cas
    mode: str
    retention_days: int

    def problems(self, sops: Sequence[str], study: str | None) -> list[tuple[str, str]]:
        """Return SOP Instance UID and problem of those images whose lock is not as it has to be.

        Raises
        ------
        NodeError
            When catalog or archive do not answer.
        """
        rows = self.database.run(lambda c: comparison.places(c, sops, study))
        keys = {row.key: row for row in rows if row.store == STORE}
        with ThreadPoolExecutor(_READERS, thread_name_prefix="lock") as readers:
            found = dict(zip(keys, readers.map(self._problem, keys.values()), strict=True))
        problems = {row.sop: found.get(row.key, "it is not in the archive") for row in rows}
        return [(sop, problem) for sop, problem in problems.items() if problem]

    def _problem(self, place: comparison.Place) -> str:
        try:
            lock = self.cas.lock(place.key)
        except CasMissingError:
            return "the archive has no such object"
        if (problem := lock_problem(lock, self.mode, datetime.now(UTC))) or lock.until is None:
            return problem
        wanted = place.first_at + timedelta(days=self.retention_days)
        if datetime.fromisoformat(lock.until) < wanted - _SLACK:
            return f"its lock ends at {lock.until[:10]}, the retention of the site wants {wanted:%Y-%m-%d}"
        return ""
