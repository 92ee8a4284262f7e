"""The load of a drill: images that are stored, queried and read, and the check of what was acknowledged."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Protocol, Self

from hapacs.drills.model import Kept, Times
from hapacs.drills.probes import Probes
from hapacs.errors import HapacsError
from hapacs.load.check import Verdict, check
from hapacs.load.connections import CStore
from hapacs.load.images import Image, made_study
from hapacs.load.ledger import Ledger
from hapacs.load.modality import store
from hapacs.load.plan import Plan, sender
from hapacs.site.access import Site

_LOAD = Plan(associations=4, shares={"ct": 1}, ct_rows=256, timeout_s=30)
"""Four associations that store small images. Modalities wait about as long for an answer."""
_PROBE_ROWS = 256
_MARK_BYTES = 64


class Load(Protocol):
    """What a drill needs of its load."""

    def store_first(self) -> None:
        """Store the image that is queried and read, before the load begins."""
        ...

    def __enter__(self) -> Self:
        """Begin to store, query and read."""
        ...

    def __exit__(self, *_: object) -> None:
        """End all of it."""
        ...

    @property
    def image_bytes(self) -> bytes:
        """Bytes that only the image has which is queried and read."""
        ...

    def acknowledged(self) -> list[float]:
        """Return the times of all acknowledged stores, in order."""
        ...

    def failures(self) -> list[tuple[float, str]]:
        """Return time and reason of each failed store."""
        ...

    def repeated(self) -> int:
        """Return the number of acknowledged images that were sent more than once."""
        ...

    def queries(self, since: float, until: float) -> Times:
        """Return how long queries took between two moments."""
        ...

    def reads(self, since: float, until: float) -> Times:
        """Return how long reads took between two moments."""
        ...

    def check(self) -> Kept:
        """Check that each acknowledged image is in the site exactly once, with the bytes that were sent."""
        ...


class SiteLoad:
    """Load on a site through its virtual address.

    Parameters
    ----------
    directory
        Of the drill's files; the ledger is written there.
    """

    def __init__(self, site: Site, directory: Path) -> None:
        self._site = site
        self._ledger = Ledger(directory / "ledger.sqlite")
        self._study = made_study(1, _PROBE_ROWS)
        self._stack = ExitStack()

    def store_first(self) -> None:
        """Store it, or raise: a site that takes no image needs no drill."""
        self._store(self._study.images[0])

    def __enter__(self) -> Self:
        self._stack.enter_context(sender(self._site, self._ledger, _LOAD))
        self._probes = self._stack.enter_context(Probes(self._site, self._study))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def image_bytes(self) -> bytes:
        """Bytes from the middle of the pixels."""
        dataset = self._study.images[0].dataset
        return dataset[len(dataset) // 2 :][:_MARK_BYTES]

    def acknowledged(self) -> list[float]:
        """Return the times from the ledger."""
        return [one.acknowledged_at for one in self._ledger.acknowledgements()]

    def failures(self) -> list[tuple[float, str]]:
        """Return what the ledger has of them."""
        return self._ledger.reasons()

    def repeated(self) -> int:
        """Count the acknowledged images with more than one attempt."""
        return sum(entry.attempts > 1 and entry.outcome == "acknowledged" for entry in self._ledger.entries())

    def queries(self, since: float, until: float) -> Times:
        """Return the times of the queries."""
        return self._probes.queries(since, until)

    def reads(self, since: float, until: float) -> Times:
        """Return the times of the reads."""
        return self._probes.reads(since, until)

    def check(self) -> Kept:
        """Search and read every image of the ledger, and close it."""
        with closing(self._ledger):
            return kept(check(self._site, self._ledger)) if self._ledger.counts()["acknowledged"] else Kept()

    def _store(self, image: Image) -> None:
        """Store the image that is queried and read."""
        entrance = CStore(self._site.caller, replace(self._site.store_peer, timeout_s=_LOAD.timeout_s))
        connection = entrance.connect()
        answer = store(self._ledger, entrance, connection, image)
        connection.close()
        if answer.outcome != "acknowledged":
            raise HapacsError(f"The site stores no image: {answer.reason}.", "`hapacs verify` says more.")


def kept(verdict: Verdict) -> Kept:
    """Sum up the verdict of a check."""
    problems = tuple(f"{one.uid}: {one.reason} {one.detail}".rstrip() for one in verdict.problems)
    return Kept(
        verdict.acknowledged, verdict.lost, verdict.corrupted, verdict.duplicated, verdict.unknown,
        verdict.unprotected, problems,
    )  # fmt: skip
