"""Images that come by association and by STOW-RS at the same moment."""

from __future__ import annotations

import ssl
from concurrent.futures import ThreadPoolExecutor

import httpx

from hapacs.dicom import Caller, Sample, multipart, store
from tests.molecule.node.tests.test_orthanc import STOW_PORT, peer, samples, tls, web

__all__ = ["samples", "tls", "web"]
ROUNDS, SENDERS = 12, 3


def test_neither_way_waits_for_the_other_for_ever(
    address: str, tls: ssl.SSLContext, web: httpx.Client, samples: list[Sample]
) -> None:
    url = f"https://{address}:{STOW_PORT}/dicom-web/studies"

    def by_association(sample: Sample) -> bool:
        outcomes = store(Caller("MODALITY", tls), peer(address, "store"), [sample] * ROUNDS)
        return all(outcome.stored for outcome in outcomes)

    def by_stow(sample: Sample) -> bool:
        kind, body = multipart.encode([sample.content], "application/dicom")
        answers = [web.post(url, content=body, headers={"Content-Type": kind}, timeout=60) for _ in range(ROUNDS)]
        return {answer.status_code for answer in answers} == {httpx.codes.OK}

    with ThreadPoolExecutor(2 * SENDERS) as senders:
        running = [
            senders.submit(way, samples[number]) for number in range(SENDERS) for way in (by_association, by_stow)
        ]
        assert [one.result() for one in running] == [True] * (2 * SENDERS)
