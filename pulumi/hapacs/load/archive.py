"""A site as the archive in which the instances of a ledger are checked."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import httpx
from pydicom import Dataset

from hapacs import dicom
from hapacs.errors import HapacsError
from hapacs.load.copies import SiteCopies
from hapacs.load.evidence import Copies, Row, Rows
from hapacs.load.ledger import Entry, Series
from hapacs.site.access import Node, Site
from hapacs.site.database import Database, literal

# Longer than any fault may last: a slower answer counts as a lost image.
_PATIENCE_S = 120
# Once the site was waited for in vain, it is not recovering.
_LATER_S = 5
_SOP_INSTANCE = "00080018"
_ROWS = """
select json_build_object(
    'leads', not pg_is_in_recovery(),
    'patients', (select count(*) from resources where publicid = {patient}),
    'studies', (select count(*) from dicomidentifiers where taggroup = 32 and tagelement = 13 and value = {study}),
    'series', (select count(*) from dicomidentifiers where taggroup = 32 and tagelement = 14 and value = {series}),
    'files', (select coalesce(json_agg(json_build_array(
        sop.value, encode(o.digest, 'hex'), o.size, o.store, o.key, o."offset", o.length, o.tombstoned_at is not null
    )), '[]')
    from dicomidentifiers sop
    join attachedfiles file on file.id = sop.id and file.filetype = 1
    left join hapacs.object o on o.uuid = file.uuid::uuid
    where sop.taggroup = 8 and sop.tagelement = 24 and sop.value in ({instances}))
)::text
"""


class SiteArchive:
    """Searches through the virtual address, reads through each node in turn, and asks database and archive.

    Parameters
    ----------
    nodes
        Names of the nodes that run.
    """

    def __init__(self, site: Site, nodes: Sequence[str]) -> None:
        self._site, self._nodes = site, nodes
        self._clients = itertools.cycle([site.orthanc(node.name, "query") for node in self._running("pacs")])
        self._patience_s = _PATIENCE_S
        self._copies = SiteCopies(site, self._running("cas"))
        self._database: Database | None = None

    def qido(self, series: Series) -> Iterable[str]:
        """Search for the instances of a series by QIDO-RS."""

        def search() -> list[str]:
            parameters = {"StudyInstanceUID": series.study, "SeriesInstanceUID": series.uid}
            answer = self._site.web.get("instances", params=parameters)
            if answer.status_code not in {httpx.codes.OK, httpx.codes.NO_CONTENT}:
                raise HapacsError(f"QIDO-RS is answered {answer.status_code}.", "`hapacs status` says more.")
            found = answer.json() if answer.content else []
            return [str(entry[_SOP_INSTANCE]["Value"][0]) for entry in found]

        return _patiently(search)

    def c_find(self, series: Series) -> Iterable[str]:
        """Search for the instances of a series by C-FIND."""
        query = Dataset()
        query.QueryRetrieveLevel = "IMAGE"
        query.StudyInstanceUID, query.SeriesInstanceUID, query.SOPInstanceUID = series.study, series.uid, ""
        answers = _patiently(lambda: dicom.find(self._site.caller, self._site.query_peer, query))
        return [str(found.SOPInstanceUID) for found in answers]

    def rows(self, series: Series, entries: Sequence[Entry]) -> Rows:
        """Read index and catalog on the leader of the database."""
        sql = _ROWS.format(
            patient=literal(orthanc_id(series.patient_id)),
            study=literal(series.study),
            series=literal(series.uid),
            instances=", ".join(literal(entry.sop_instance) for entry in entries),
        )
        found = _patiently(lambda: self._of_the_leader(sql))
        rows = defaultdict(list)
        for uid, *values in found["files"]:
            rows[uid].append(Row(*values))
        return Rows(rows, found["patients"], found["studies"], found["series"])

    def _of_the_leader(self, sql: str) -> dict[str, Any]:
        """Ask the node that led the last time; find the leader again when it leads no more, or does not answer."""
        database = self._database or Database.of(self._site)
        self._database = None
        found: dict[str, Any] = json.loads(database.rows(sql)[0])
        if not found["leads"]:
            raise HapacsError(f"{database.leader.name} leads no more.", "`hapacs status` shows who does.")
        self._database = database
        return found

    def file(self, entry: Entry) -> bytes | None:
        """Read an instance through the next node; try the others while the site recovers from a fault."""
        name = orthanc_id(entry.patient_id, entry.study, entry.series, entry.sop_instance)
        deadline = time.monotonic() + self._patience_s
        while time.monotonic() < deadline:
            client = next(self._clients)
            with contextlib.suppress(httpx.HTTPError):
                answer = client.get(f"{client.url}/instances/{name}/file")
                if answer.status_code == httpx.codes.OK:
                    return bytes(answer.content)
            time.sleep(1)
        self._patience_s = _LATER_S
        return None

    def copies(self, rows: Sequence[Row]) -> Mapping[Row, Copies]:
        """Have the archive hash its copies."""
        return _patiently(lambda: self._copies.of(rows))

    def _running(self, group: str) -> list[Node]:
        return [node for node in self._site.members(group) if node.name in self._nodes]


def _patiently[T](ask: Callable[[], T]) -> T:
    """Repeat a question while the site recovers from a fault."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return ask()
        except (HapacsError, httpx.HTTPError) as error:
            if time.monotonic() > deadline:
                if isinstance(error, HapacsError):
                    raise
                raise HapacsError(f"DICOMweb doesn't answer: {error}.", "`hapacs status` says more.") from error
            time.sleep(1)


def orthanc_id(*names: str) -> str:
    """Return Orthanc's identifier of a resource, from the names of it and of those above (Orthanc Book)."""
    digest = hashlib.sha1("|".join(names).encode(), usedforsecurity=False).hexdigest()
    return "-".join(digest[start : start + 8] for start in range(0, 40, 8))
