"""Disk space that a benchmark needs at a site, the images that it stored there, and their removal."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx
from pydicom import Dataset

from hapacs import dicom
from hapacs.dicom import marks
from hapacs.errors import HapacsError
from hapacs.load.images import Study
from hapacs.site import second_site
from hapacs.site.access import NodeError, Site
from hapacs.site.collect import collect
from hapacs.site.database import Database, literal

# Database, catalog and derived attachments need room beside the images.
_SURCHARGE = 1.1
COPIES_S = 900.0
"""Copies that take longer, in seconds, are a backlog of before."""
_LOOK_S, _LOOK_EVERY_S = 20.0, 3.0


def require_room(site: Site, image_bytes: int) -> None:
    """Require that the images fit on the DAS of every node.

    Raises
    ------
    HapacsError
        When they don't fit, or a node does not answer.
    """
    reserve = int(site.contract["policy"]["das_minimum_free_bytes"])
    wanted = int(image_bytes * _SURCHARGE) + reserve
    running = collect(site)
    for node, why in running.silent.items():
        raise NodeError(node, why)
    for node, facts in running.nodes.items():
        if facts.room is not None and (free := facts.room.das_free_bytes) < wanted:
            raise HapacsError(
                f"The DAS of {node} has {free / 1e9:.1f} GB free; this run needs {wanted / 1e9:.1f} GB.",
                "Fewer rounds or instances need less; in a lab, larger disks (sites.*.disks.das.size_bytes).",
            )


def wait_for_copies(site: Site, on_step: Callable[[str], None], wait_s: float = COPIES_S) -> int:
    """Wait until the other site has what was stored, which costs this one too; not for longer than some minutes.

    Returns
    -------
    int
        How many images it still lacks; 0 without another site.

    Raises
    ------
    HapacsError
        When no node says it.
    """
    end = time.monotonic() + wait_s
    while True:
        lag = second_site.lag(site, _LOOK_S)
        if lag is None:
            return 0
        if "unknown" in lag:
            raise HapacsError(f"{site.name} does not say what {lag['name']} lacks: {lag['unknown']}", "`hapacs status`")
        lacking = second_site.lacking(lag)
        if not lacking or time.monotonic() > end:
            return lacking
        on_step(f"waiting until {lag['name']} has {lacking:,} images")
        time.sleep(_LOOK_EVERY_S)


def found(site: Site, studies: Sequence[Study]) -> int:
    """Count the instances of studies that a C-FIND finds."""

    def count(study: Study) -> int:
        query = Dataset()
        query.QueryRetrieveLevel = "IMAGE"
        query.StudyInstanceUID, query.SeriesInstanceUID, query.SOPInstanceUID = study.uid, study.series, ""
        answers = dicom.find(site.caller, site.query_peer, query)
        return len({str(answer.SOPInstanceUID) for answer in answers} & {image.sop_instance for image in study.images})

    with ThreadPoolExecutor(max_workers=2) as pool:
        return sum(pool.map(count, studies))


def objects(site: Site, studies: Sequence[Study]) -> list[tuple[str, str]]:
    """Return the digest of each archived object of studies, and the node that stored it."""
    uids = ", ".join(literal(study.uid) for study in studies)
    rows = Database.of(site).rows(
        f"""
        select distinct encode(o.digest, 'hex'), o.node
        from dicomidentifiers d
        join resources series on series.parentid = d.id
        join resources instance on instance.parentid = series.internalid
        join attachedfiles f on f.id = instance.internalid
        join hapacs.object o on o.uuid = f.uuid::uuid
        where d.taggroup = 32 and d.tagelement = 13 and d.value in ({uids})
        """  # noqa: S608 - our own UIDs
    )
    return [(digest, node) for digest, _, node in (row.partition("|") for row in rows)]


def empty_das(site: Site, stored: Sequence[tuple[str, str]]) -> None:
    """Remove the online copies of objects from every node; the archive has them."""
    names = [f"/srv/das/sha256/{digest[:2]}/{digest[2:4]}/{digest}" for digest, _ in stored]
    for node in site.members("pacs"):
        site.run(node, ("sudo", "xargs", "--no-run-if-empty", "rm", "--force", "--"), "\n".join(names))


def drop_page_cache(site: Site) -> None:
    """Drop the page cache of every node: a study from last year is not in memory either."""
    for node in site.nodes.values():
        site.run(node, ("sudo", "sh", "-c", "'sync; echo 1 > /proc/sys/vm/drop_caches'"), "")


def remove(site: Site, studies: Sequence[Study]) -> None:
    """Remove studies from the index and the DAS. The archive keeps them until their retention ends.

    Raises
    ------
    HapacsError
        When Orthanc does not remove a study.
    """
    if not (stored := objects(site, studies)):
        return
    # The node that stored them also has their derived attachments.
    client = site.orthanc(Counter(node for _, node in stored).most_common(1)[0][0], "store")
    for study in studies:
        answer = client.delete(f"{client.url}/patients/{_orthanc_id(study.patient)}", timeout=120)
        if answer.status_code not in {httpx.codes.OK, httpx.codes.NOT_FOUND}:
            raise HapacsError(
                f"{study.patient} was not removed: status {answer.status_code}.",
                f"`hapacs status`; patients of benchmarks have names that begin with {marks.BENCH}.",
            )
    empty_das(site, stored)


def _orthanc_id(patient: str) -> str:
    digest = hashlib.sha1(patient.encode(), usedforsecurity=False).hexdigest()
    return "-".join(digest[start : start + 8] for start in range(0, 40, 8))
