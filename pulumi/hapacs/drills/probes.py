"""Queries and reads one image again and again while a drill runs, and notes how long each takes."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Self

import httpx
from pydicom import Dataset

from hapacs import dicom
from hapacs.dicom import DicomError, Peer
from hapacs.drills.model import Times
from hapacs.load.images import Study
from hapacs.site.access import Site

_EVERY_S = 0.5
_TIMEOUT_S = 10

type Answer = tuple[float, float, bool]
"""When it ended, in seconds since the epoch; how long it took; whether it succeeded."""


class Probes:
    """Queries by C-FIND and reads by WADO-RS through the virtual address while the `with` block runs."""

    def __init__(self, site: Site, study: Study) -> None:
        self._site, self._study = site, study
        self._stop = threading.Event()
        self._answers: dict[str, list[Answer]] = {"query": [], "read": []}
        self._threads = [
            threading.Thread(target=self._probe, args=arguments, name=f"probe-{arguments[0]}", daemon=True)
            for arguments in (("query", self._query), ("read", self._read))
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=4 * _TIMEOUT_S)

    def queries(self, since: float, until: float) -> Times:
        """Return how long queries took between two moments."""
        return times(self._answers["query"], since, until)

    def reads(self, since: float, until: float) -> Times:
        """Return how long reads took between two moments."""
        return times(self._answers["read"], since, until)

    def _probe(self, kind: str, ask: Callable[[], bool]) -> None:
        while not self._stop.is_set():
            begun = time.time()
            try:
                succeeded = ask()
            except (DicomError, httpx.HTTPError, OSError, RuntimeError, ValueError):
                succeeded = False
            ended = time.time()
            self._answers[kind].append((ended, ended - begun, succeeded))
            self._stop.wait(_EVERY_S)

    def _query(self) -> bool:
        query = Dataset()
        query.QueryRetrieveLevel = "IMAGE"
        query.StudyInstanceUID, query.SeriesInstanceUID, query.SOPInstanceUID = self._study.uid, self._study.series, ""
        peer = self._site.query_peer
        found = dicom.find(self._site.caller, Peer(peer.host, peer.port, peer.ae_title, _TIMEOUT_S), query)
        return len(found) == len(self._study.images)

    def _read(self) -> bool:
        image = self._study.images[0].sop_instance
        path = f"studies/{self._study.uid}/series/{self._study.series}/instances/{image}"
        accepted = {"Accept": "multipart/related; type=application/dicom"}
        answer = self._site.web.get(path, headers=accepted, timeout=_TIMEOUT_S)
        return answer.status_code == httpx.codes.OK


def times(answers: Sequence[Answer], since: float, until: float) -> Times:
    """Sum up the answers between two moments."""
    within = [answer for answer in answers if since <= answer[0] <= until]
    took = sorted(seconds for _, seconds, _ in within)
    if not took:
        return Times(longest_without_s=until - since)
    good = [ended for ended, _, succeeded in within if succeeded]
    return Times(
        count=len(within),
        failed=len(within) - len(good),
        p50_s=_quantile(took, 0.5),
        p99_s=_quantile(took, 0.99),
        longest_s=took[-1],
        longest_without_s=max(later - earlier for earlier, later in itertools.pairwise([since, *good, until])),
    )


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]
