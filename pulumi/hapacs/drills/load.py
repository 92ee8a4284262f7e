"""The load of a drill: images that are stored, queried and read, and the check of what was acknowledged."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol, Self

from hapacs.dicom import DicomError, Peer
from hapacs.drills.model import Kept, Times
from hapacs.drills.probes import Probes
from hapacs.errors import HapacsError
from hapacs.load import burst
from hapacs.load.archive import SiteArchive
from hapacs.load.images import Study, made_study
from hapacs.load.ledger import Entry, Ledger, missing
from hapacs.load.modality import Sender
from hapacs.site.access import Site

_ASSOCIATIONS = 4
_TIMEOUT_S = 30
"""How long a sender waits for an answer. Modalities wait for about as long."""
_PROBE_ROWS = 256
_MARK_BYTES = 64


class Load(Protocol):
    """What a drill needs of its load."""

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
        peer = site.store_peer
        self._sender = Sender(
            site.caller, Peer(peer.host, peer.port, peer.ae_title, _TIMEOUT_S), self._ledger, threads=_ASSOCIATIONS
        )
        self._study = made_study(1, _PROBE_ROWS)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._store(self._study)
        self._stack.enter_context(self._sender)
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
        return [entry.acknowledged_at for entry in self._ledger.entries()]

    def failures(self) -> list[tuple[float, str]]:
        """Return what the senders met."""
        return sorted(self._sender.failures)

    def repeated(self) -> int:
        """Count the images with more than one attempt."""
        return sum(entry.attempts > 1 for entry in self._ledger.entries())

    def queries(self, since: float, until: float) -> Times:
        """Return the times of the queries."""
        return self._probes.queries(since, until)

    def reads(self, since: float, until: float) -> Times:
        """Return the times of the reads."""
        return self._probes.reads(since, until)

    def check(self) -> Kept:
        """Search and read every acknowledged image."""
        entries = self._ledger.entries()
        problems = missing(entries, SiteArchive(self._site, list(self._site.nodes))) if entries else []
        return kept(len(entries), problems)

    def _store(self, study: Study) -> None:
        begun = time.time()
        try:
            outcome = burst.send(self._site.caller, self._site.store_peer, [study])
        except DicomError as error:
            raise HapacsError(f"The site stores no image: {error.message}", "`hapacs verify` says more.") from error
        if outcome.failures:
            raise HapacsError(f"The site stores no image: {outcome.failures[0]}.", "`hapacs verify` says more.")
        for image in study.images:
            digest = hashlib.sha256(image.dataset).hexdigest()
            self._ledger.record(
                Entry(image.sop_instance, study.uid, study.series, study.patient, digest, begun, time.time())
            )


def kept(acknowledged: int, problems: Sequence[str]) -> Kept:
    """Count what `missing` found by its kind."""
    corrupted = sum("other bytes" in problem for problem in problems)
    duplicated = sum(" times instead of once" in problem and " 0 times" not in problem for problem in problems)
    lost = {problem.split()[0] for problem in problems if " 0 times" in problem or "can't be read" in problem}
    return Kept(acknowledged, len(lost), corrupted, duplicated, 0, tuple(problems))
