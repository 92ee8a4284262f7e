"""A deployment as the archive in which acknowledged instances are checked."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import time

import httpx
from pydicom import Dataset

from hapacs import dicom
from hapacs.dicom import DicomError, files
from hapacs.load.ledger import Entry
from hapacs.site.access import Site

# Longer than any fault may last: a slower answer counts as a lost image.
_PATIENCE_S = 120


class SiteArchive:
    """Searches by C-FIND through the virtual address, and reads through each node in turn.

    Parameters
    ----------
    nodes
        Names of the nodes to read through: all that are running.
    """

    def __init__(self, site: Site, nodes: list[str]) -> None:
        self._site = site
        self._clients = itertools.cycle([site.orthanc(node, "query") for node in nodes])

    def instances(self, study: str, series: str) -> list[str]:
        """Search for the instances of a series; repeat it while the site recovers from a fault."""
        query = Dataset()
        query.QueryRetrieveLevel = "IMAGE"
        query.StudyInstanceUID, query.SeriesInstanceUID, query.SOPInstanceUID = study, series, ""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                answers = dicom.find(self._site.caller, self._site.query_peer, query)
            except DicomError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1)
            else:
                return [str(found.SOPInstanceUID) for found in answers]

    def dataset_bytes(self, entry: Entry) -> bytes | None:
        """Read an instance through the next node; try the others while the site recovers from a fault."""
        identifier = "|".join((entry.patient_id, entry.study, entry.series, entry.sop_instance))
        digest = hashlib.sha1(identifier.encode(), usedforsecurity=False).hexdigest()
        name = "-".join(digest[start : start + 8] for start in range(0, 40, 8))
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            client = next(self._clients)
            with contextlib.suppress(httpx.HTTPError):
                answer = client.get(f"{client.url}/instances/{name}/file")
                if answer.status_code == httpx.codes.OK:
                    return files.split(answer.content)
            time.sleep(1)
        return None
