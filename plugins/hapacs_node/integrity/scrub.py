"""Reads online and archive copies again, those first that were read the longest ago, and heals one from the other."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import takewhile
from uuid import UUID

from hapacs_node import log
from hapacs_node.catalog import scrub
from hapacs_node.catalog.database import Database
from hapacs_node.catalog.objects import StoredObject
from hapacs_node.errors import (
    CasConflictError,
    CasDamagedError,
    CasMissingError,
    DasCorruptError,
    DasMissingError,
    NodeError,
)
from hapacs_node.integrity.repair import Repairs
from hapacs_node.storage.archive import STORE
from hapacs_node.storage.shelves import DasFile, Shelves

_LOG = log.get("integrity")
# Far above the time for the shelves of a claim: at a hundred million images it is one with 1,500.
_LEASE_S = 6 * 3600
# A claim costs the database three transactions, also when its shelves are empty: it counts like so many bytes.
_CLAIM_BYTES = 4_000_000
# A claim takes as many shelves as have about so many bytes, and never more than a 64th of a place. So a small site is
# read in 74 claims, and a large one shelf by shelf.
_ENOUGH_BYTES = 64_000_000
_MOST_SHELVES = 1024


@dataclass
class Outcome:
    """What a run read and did.

    Attributes
    ----------
    online, archived : int
        Copies that were read.
    bytes : int
        Their bytes.
    healed : int
        Copies that were written again.
    damaged : int
        Copies that were not healed at the end of the run.
    """

    online: int = 0
    archived: int = 0
    bytes: int = 0
    healed: int = 0
    damaged: int = 0


@dataclass
class Scrub:
    """Reads the shelves of this node's DAS and of the archive, in turn. All nodes of a site share the archive.

    Parameters
    ----------
    database : Database
        Keeps the progress.
    shelves : Shelves
        The DAS of this node.
    repairs : Repairs
        Writes copies again.
    bytes_per_s : int
        Speed at which copies are read.
    sleep : callable
        Replaced in tests.
    """

    database: Database
    shelves: Shelves
    repairs: Repairs
    bytes_per_s: int
    sleep: Callable[[float], None] = time.sleep
    outcome: Outcome = field(default_factory=Outcome)
    _spent_bytes: int = field(default=0, init=False)
    _unhealed: set[UUID] = field(default_factory=set, init=False)

    def run(self, budget_bytes: int, before: datetime) -> Outcome:
        """Read shelves until the budget is used or all were read since `before`. It can be interrupted.

        Shelves that were begun are read to their end. First and last, damage that other nodes found is repaired from
        this DAS; what one of them repaired meanwhile is not damaged any more.

        Raises
        ------
        NodeError
            When a place does not answer. The shelves in work are then read again by the next run after their lease.
        """
        self._look_again()
        das = f"das {self.repairs.node}"
        places: dict[str, Callable[[range], None]] = {das: self._read_online, scrub.ARCHIVE: self._read_archived}
        most = dict.fromkeys(places, 1)
        for place in places:
            self.prepare(place)
        while places and self._spent_bytes < budget_bytes:
            for place, read in list(places.items()):
                claim = partial(scrub.claim, place=place, before=before, lease_s=_LEASE_S, most=most[place])
                shelves = self.database.run(claim)
                if not shelves:
                    del places[place]
                    continue
                self._spend(_CLAIM_BYTES)
                already = self.outcome.bytes
                for neighbours in shelves:
                    read(neighbours)
                self.database.run(partial(scrub.checked, place=place, shelves=shelves))
                most[place] = next_claim(most[place], self.outcome.bytes - already)
        if self.outcome.archived or self._unhealed:
            self._look_again()
        still = {row.uuid for row in self.database.run(scrub.open_damage)}
        self.outcome.damaged += len(self._unhealed & still)
        return self.outcome

    def prepare(self, place: str) -> None:
        """Make the shelves of a place, unless they exist."""
        first: int | None = 0
        while first is not None:
            first = self.database.run(partial(scrub.prepare, place=place, first=first))

    def _read_online(self, shelves: range) -> None:
        rows = {row.digest: row for row in self._rows(shelves)}
        # The walk goes on behind the last shelf, and from the last one of all to the first.
        for _, copies in takewhile(lambda found: found[0] in shelves, self.shelves.walk(shelves.start)):
            for copy in copies:
                if copy.kind == "object":
                    self._check_online(copy, rows.get(copy.name))

    def _check_online(self, copy: DasFile, row: StoredObject | None) -> None:
        self._count(copy.size)
        self.outcome.online += 1
        try:
            # Otherwise eviction would take everything for used.
            self.shelves.das.read(copy.name, copy.size if row is None else row.size, used=False)
        except DasMissingError:
            # It was evicted a moment ago.
            return
        except DasCorruptError as error:
            _LOG.error(log.line("damage_found", place="das", digest=copy.name, error=error))
        else:
            return
        if row is None:
            self._left_online(copy, NodeError("no catalog row names its archive copy"))
            return
        try:
            self.repairs.online(row)
        except NodeError as error:
            self._left_online(copy, error)
        else:
            self._healed("das", copy.name)

    def _read_archived(self, shelves: range) -> None:
        for row in self._rows(shelves):
            if row.store != STORE:
                continue
            self._count(row.length)
            self.outcome.archived += 1
            if not self._is_whole(row):
                self.database.run(partial(scrub.damaged, row=row, node=self.repairs.node))
                self._heal_archived(row)

    def _look_again(self) -> None:
        for row in self.database.run(scrub.open_damage):
            try:
                if self._is_whole(row):
                    # Another node, or reconcile, has repaired it.
                    self.database.run(partial(scrub.repaired, uuid=row.uuid))
                    continue
            except NodeError as error:
                self._left_archived(row, error)
                continue
            self._heal_archived(row)

    def _heal_archived(self, row: StoredObject) -> None:
        try:
            self.repairs.archive(row)
            self._healed("archive", row.digest)
            self.database.run(partial(scrub.repaired, uuid=row.uuid))
        except NodeError as error:
            self._left_archived(row, error)

    def _is_whole(self, row: StoredObject) -> bool:
        try:
            self.repairs.cas.get(row.key, row.digest, row.offset, row.length)
        except (CasMissingError, CasConflictError, CasDamagedError) as error:
            _LOG.error(log.line("damage_found", place="archive", digest=row.digest, key=row.key, error=error))
            return False
        return True

    def _healed(self, place: str, digest: str) -> None:
        self.outcome.healed += 1
        _LOG.warning(log.line("damage_healed", place=place, digest=digest, operator=self.repairs.operator))

    def _left_online(self, copy: DasFile, error: NodeError) -> None:
        self.outcome.damaged += 1
        _LOG.error(log.line("damage_left", place="das", digest=copy.name, error=error))

    def _left_archived(self, row: StoredObject, error: NodeError) -> None:
        # Counted at the end: another node may heal it meanwhile.
        self._unhealed.add(row.uuid)
        _LOG.error(log.line("damage_left", place="archive", digest=row.digest, error=error))

    def _rows(self, shelves: range) -> list[StoredObject]:
        return self.database.run(partial(scrub.rows, shelves=shelves))

    def _count(self, size: int) -> None:
        self.outcome.bytes += size
        self._spend(size)

    def _spend(self, size: int) -> None:
        self._spent_bytes += size
        self.sleep(size / self.bytes_per_s)


def next_claim(shelves: int, read_bytes: int) -> int:
    """Return how many shelves to claim after some had so many bytes: more while there is little on them."""
    if read_bytes > _ENOUGH_BYTES:
        return max(1, shelves // 2)
    return min(2 * shelves, _MOST_SHELVES) if read_bytes < _ENOUGH_BYTES // 2 else shelves
