"""Compares the locks of images at both sites, each with the retention of its own site.

Only archives know locks, and they are asked for one object at a time. So a comparison reads those of some images, and
the next one goes on after them.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import batched
from typing import Protocol

from hapacs_node.catalog import comparison
from hapacs_node.catalog.database import Database
from hapacs_node.replication.compare import PAUSE_S, Outcome

GROUP = 200
"""Images of one question."""


class Locked(Protocol):
    """A site whose locks are read."""

    def locks(self, sops: Sequence[str], study: str | None) -> list[tuple[str, str]]:
        """Return SOP Instance UID and problem of those images whose lock is not as it has to be."""


@dataclass
class LockComparison:
    """Reads the locks of some images at both sites.

    Parameters
    ----------
    database : Database
        Of this site.
    here, there : Locked
        This site and the second one.
    study : str or None
        Only images of this study.
    most : int
        The most images.
    pause_s : float
        What is not locked is asked for again after this time.
    shown : callable
        Takes the number of images whose locks were read, now and then.
    """

    database: Database
    here: Locked
    there: Locked
    study: str | None
    most: int
    pause_s: float = PAUSE_S
    shown: Callable[[int], None] = lambda _: None
    stop: threading.Event = field(default_factory=threading.Event)
    read: int = field(default=0, init=False)

    def run(self, outcome: Outcome, start: str) -> str:
        """Read locks, and count images as different whose lock is not as it has to be.

        Parameters
        ----------
        outcome : Outcome
            Gets the images.
        start : str
            The SOP Instance UID to begin with.

        Returns
        -------
        str
            Where the next comparison goes on; empty for the beginning.

        Raises
        ------
        NodeError
            When a site does not answer.
        """
        found: dict[str, None] = {}
        while self.read < self.most:
            limit = min(GROUP, self.most - self.read)
            images = self._next(start, limit)
            found |= dict.fromkeys(self._problems(sorted({image.sop for image in images})))
            self.read += len(images)
            self.shown(self.read)
            if len(images) < limit:
                start = ""
                break
            # The first text after it.
            start = images[-1].sop + "\x01"
        if found:
            self.stop.wait(self.pause_s)
        known = outcome.different.images.keys() | outcome.only_here.images.keys()
        for group in batched(sorted(found.keys() - known), GROUP):
            for sop, why in self._problems(group).items():
                outcome.different.add(sop, why)
        return start

    def _next(self, start: str, limit: int) -> list[comparison.Image]:
        return self.database.run(lambda c: comparison.images(c, start, None, self.study, limit))

    def _problems(self, sops: Sequence[str]) -> dict[str, str]:
        """Return what is wrong with the locks of images at either site, at both at the same time."""
        if not sops:
            return {}
        with ThreadPoolExecutor(1) as pool:
            theirs = pool.submit(self.there.locks, sops, self.study)
            found = {sop: f"at this site: {why}" for sop, why in self.here.locks(sops, self.study)}
            for sop, why in theirs.result():
                found[sop] = "; ".join(one for one in (found.get(sop), f"at the second site: {why}") if one)
        return found
