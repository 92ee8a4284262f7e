"""Whole studies are retrieved while nodes are restarted one after the other."""

from __future__ import annotations

import base64
import http.client
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from hapacs.bench import footprint
from hapacs.dicom import multipart
from hapacs.load import burst
from hapacs.load.images import Study, made_study
from hapacs.site.access import Site
from tests.cluster.conftest import Lab

pytestmark = [pytest.mark.long, pytest.mark.timeout(30 * 60)]

_IMAGES, _ROWS = 60, 512
_READERS = 3
_PIECE_BYTES = 1 << 18
# Half a minute for the whole study: longer than a restart, and well within the time that a restart waits.
_PAUSE_S = 0.25


@contextmanager
def stored(site: Site) -> Generator[Study]:
    """Store a study, and remove it afterwards."""
    study = made_study(_IMAGES, _ROWS)
    try:
        assert burst.send(site.caller, site.store_peer, [study]).failures == []
        yield study
    finally:
        footprint.remove(site, [study])


def read_slowly(site: Site, study: Study, enough: threading.Event) -> list[str]:
    """Retrieve a study again and again; return the problem of each retrieval, empty for none."""
    password = site.secrets["hapacs_secret_dicomweb_users"]["verify"]
    headers = {
        "Accept": multipart.AS_STORED,
        "Authorization": f"Basic {base64.b64encode(f'verify:{password}'.encode()).decode()}",
    }
    found = []
    while not enough.is_set():
        connection = http.client.HTTPSConnection(
            site.vip, int(site.contract["https_port"]), context=site.tls("edge", client=False), timeout=60
        )
        try:
            connection.request("GET", f"/dicom-web/studies/{study.uid}", headers=headers)
            answer = connection.getresponse()
            wanted, came = int(answer.headers["Content-Length"]), 0
            while piece := answer.read(_PIECE_BYTES):
                came += len(piece)
                time.sleep(_PAUSE_S)
            whole = answer.status == http.client.OK and came == wanted
            found.append("" if whole else f"status {answer.status}, {came} of {wanted} bytes")
        except (OSError, http.client.HTTPException) as error:
            found.append(repr(error))
        finally:
            connection.close()
    return found


def test_restart_waits_for_a_retrieval(lab: Lab) -> None:
    site, enough = lab.site, threading.Event()
    with stored(site) as study, ThreadPoolExecutor(_READERS) as threads:
        readers = [threads.submit(read_slowly, site, study, enough) for _ in range(_READERS)]
        try:
            done = lab.hapacs("restart", lab.deployment.name, "--service", "orthanc-query", "--site", site.name)
        finally:
            enough.set()
        retrievals = [problem for reader in readers for problem in reader.result()]
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    print(f"{len(retrievals)} retrievals")  # noqa: T201
    assert len(retrievals) > _READERS
    assert [problem for problem in retrievals if problem] == []
