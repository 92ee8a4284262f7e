"""The load of a drill against a small storage SCP: what is acknowledged, what failed, and when it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, evt

from hapacs.dicom import Caller, Peer
from hapacs.drills.load import SiteLoad
from hapacs.errors import HapacsError
from hapacs.load.waiting import eventually
from hapacs.site.access import Site


@contextmanager
def site(status: int = 0) -> Iterator[Site]:
    """A site that answers each C-STORE with a status, and neither queries nor reads."""
    entity = AE(ae_title="HAPACS")
    entity.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda _: status)])
    assert server is not None
    peer = Peer("127.0.0.1", server.server_address[1], "HAPACS", 3)

    def refuse(_: httpx.Request) -> httpx.Response:
        return httpx.Response(503)

    web = httpx.Client(base_url="https://192.0.2.10/dicom-web/", transport=httpx.MockTransport(refuse))
    made: Any = SimpleNamespace(caller=Caller("MODALITY"), store_peer=peer, query_peer=peer, web=web)
    try:
        yield cast("Site", made)
    finally:
        server.shutdown()


def test_images_are_acknowledged_until_the_load_ends(tmp_path: Path) -> None:
    with site() as one, SiteLoad(one, tmp_path) as load:
        eventually("ten images are acknowledged", lambda: len(load.acknowledged()) > 10, 30, 0.05)
    count = len(load.acknowledged())
    assert load.acknowledged() == sorted(load.acknowledged())
    assert (load.failures(), load.repeated()) == ([], 0)
    assert len(load.image_bytes) == 64
    assert len(load.acknowledged()) == count, "the load has ended"


def test_queries_and_reads_that_fail_are_counted(tmp_path: Path) -> None:
    with site() as one, SiteLoad(one, tmp_path) as load:
        eventually("both have failed", lambda: load.queries(0, 1e12).failed and load.reads(0, 1e12).failed, 30, 0.05)
    assert load.queries(0, 1e12).count == load.queries(0, 1e12).failed


def test_site_that_refuses_the_first_image_is_an_error(tmp_path: Path) -> None:
    with site(0xA700) as one, pytest.raises(HapacsError, match="0xA700"):
        SiteLoad(one, tmp_path).store_first()
