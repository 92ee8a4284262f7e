"""A DAS that fills up: who is refused first, by which status, and who goes on."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from hapacs.dicom import Caller, Sample, StoreOutcome, store
from hapacs.load.waiting import eventually
from tests.molecule.node.tests.test_orthanc import peer, samples, tls, url, web

__all__ = ["samples", "tls", "web"]
OUT_OF_RESOURCES = 0xA700
# Between the watermark of 64 MiB and the end of the part that is kept for callers that can't wait, 96 MiB.
LEFT_BYTES = 80 << 20
FILLING = "/srv/das/incoming/filling-of-the-test"
WAIT_S = 30


def sent(title: str, tls: ssl.SSLContext, address: str, sample: Sample) -> StoreOutcome:
    """Store an image as a caller."""
    (outcome,) = store(Caller(title, tls), peer(address, "store"), [sample])
    return outcome


def limited(web: httpx.Client, address: str) -> str:
    """Return what health says of the DAS."""
    answer = web.get(url(address, "store", "/hapacs/health")).json()
    assert answer["ok"], answer
    level: str = answer["admission"]["das"]["level"]
    return level


@pytest.fixture
def filled(host: Any, web: httpx.Client, address: str) -> Iterator[None]:
    """Fill the DAS until only the kept part is left, and empty it afterwards."""
    free = int(host.check_output("df --output=avail --block-size=1 /srv/das | tail -1"))
    try:
        # btrfs keeps written bytes free, not reserved ones; zeros could be left out.
        host.check_output(f"head -c {free - LEFT_BYTES} /dev/urandom >{FILLING}; sync -f /srv/das")
        eventually("the DAS is nearly full", lambda: limited(web, address) == "limited", WAIT_S, 0.5)
        yield
    finally:
        host.check_output(f"rm -f {FILLING}; btrfs filesystem sync /srv/das")
    eventually("the DAS has room", lambda: limited(web, address) == "free", WAIT_S, 0.5)


@pytest.mark.usefixtures("filled")
def test_a_caller_that_yields_is_refused_and_a_modality_is_not(
    host: Any, address: str, tls: ssl.SSLContext, web: httpx.Client, samples: list[Sample]
) -> None:
    outcome = sent("IMPORT", tls, address, samples[0])
    assert (outcome.stored, outcome.status) == (False, OUT_OF_RESOURCES)
    assert sent("MODALITY", tls, address, samples[0]).stored
    said = host.check_output(
        "journalctl --unit=orthanc-store --since=-120s --output=cat --grep='admission_changed|refused'"
    )
    assert "limit=das level=limited" in said
    assert "outcome=NotAdmittedError" in said
    shown = web.get(url(address, "store", "/hapacs/metrics")).text
    assert 'hapacs_admission_limited{limit="das"} 1.0' in shown
    refused = next(
        line for line in shown.splitlines() if line.startswith('hapacs_admission_refused_total{caller="title:IMPORT"}')
    )
    assert float(refused.split()[-1]) >= 1


def test_with_room_again_it_is_admitted(address: str, tls: ssl.SSLContext, samples: list[Sample]) -> None:
    assert sent("IMPORT", tls, address, samples[0]).stored
