"""Objects that exhaust the memory of a service: it recovers soon, and no acknowledged image is lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from pydicom.uid import generate_uid

from hapacs import dicom
from hapacs.dicom import DicomError, Peer
from hapacs.load.waiting import eventually
from hapacs.site.access import HTTPS_PORTS, Site
from tests.cluster.conftest import Lab
from tests.support import hostile

# Eight million items: more objects than fit into the 1.5 GiB of the lab's services.
ITEMS_MIB = 64
STORES_GO_ON_S = 40
WHOLE_AGAIN_S = 90

pytestmark = [pytest.mark.long, pytest.mark.timeout(15 * 60)]


@pytest.mark.parametrize("way", ["C-STORE", "STOW-RS", "STOW-RS deflated"])
def test_data_set_of_millions_of_items_stops_one_service_only(
    lab: Lab, under_load: Callable[[float], Any], tmp_path: Path, way: str
) -> None:
    site, instance = lab.site, generate_uid()
    head = hostile.identified(instance, generate_uid(), generate_uid())
    with under_load(STORES_GO_ON_S):
        if way == "C-STORE":
            made = hostile.sample(tmp_path / "file", hostile.many_items(head, ITEMS_MIB), sop_instance=instance)
            peer = Peer(site.store_peer.host, site.store_peer.port, site.store_peer.ae_title, 60)
            # The association ends with the service.
            with suppress(DicomError):
                assert not dicom.store(site.caller, peer, [made])[0].stored
        elif way == "STOW-RS":
            made = hostile.sample(tmp_path / "file", hostile.many_items(head, ITEMS_MIB), sop_instance=instance)
            _stow(site, made.content)
        else:
            _stow(site, _bomb(tmp_path))
        eventually("every node can store and answer", lambda: not _ill(site), WHOLE_AGAIN_S, 3)


def test_service_without_memory_restarts(lab: Lab, tmp_path: Path) -> None:
    _stow(lab.site, _bomb(tmp_path))
    # It is ended after 20 s without memory (plugins/hapacs_node/memory.py), if not before.
    time.sleep(30)
    eventually("every node can store and answer", lambda: not _ill(lab.site), WHOLE_AGAIN_S, 3)


def _bomb(directory: Path) -> bytes:
    instance = generate_uid()
    content = hostile.many_items_bomb(hostile.identified(instance, generate_uid(), generate_uid()), ITEMS_MIB)
    made = hostile.sample(directory / "file", content, sop_instance=instance, transfer_syntax=hostile.DEFLATED)
    return made.content


def _stow(site: Site, content: bytes) -> None:
    """Send the content by STOW-RS, and check that it is not acknowledged."""
    # The connection ends with the service.
    with suppress(httpx.TransportError):
        answer = hostile.stow(site.web, content)
        assert answer.status_code != httpx.codes.OK or "Value" not in answer.json()["00081199"]


def _ill(site: Site) -> list[str]:
    """Return the services that don't report that they can work."""

    def works(node: str, service: Literal["store", "query"]) -> bool:
        try:
            status, report = site.hapacs(node, service, "health")
        except httpx.HTTPError:
            return False
        return status == httpx.codes.OK and bool(report["ok"])

    return [f"{service} on {node}" for node in site.nodes for service in HTTPS_PORTS if not works(node, service)]
