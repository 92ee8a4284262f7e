"""Images of `verify` in the index of a site: found by their mark, and removed.

The archive keeps their bytes until the lock ends. Images without a mark are not removed, with one exception: public
files that earlier versions sent without a mark, when the site has the same data set under the same identifiers.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx

from hapacs.dicom import Sample, files, marks
from hapacs.site.access import Site
from hapacs.site.marked import PATIENT_ID, delete, remove, storing
from hapacs.verify import round_trip
from hapacs.verify.report import CheckFailedError, require

_READERS = 6


def check_removed(site: Site) -> str:
    """Remove the images of this run from the index, and check that a search finds none."""
    images = remove(site, marks.VERIFY)
    found = site.web.get("studies", params={PATIENT_ID: f"{marks.VERIFY}*", "includefield": PATIENT_ID})
    if found.status_code not in {httpx.codes.OK, httpx.codes.NO_CONTENT}:
        raise CheckFailedError(f"QIDO-RS for patients that begin with {marks.VERIFY} is answered {found.status_code}")
    listed = found.json() if found.content else []
    require([f"{len(listed)} studies of {marks.VERIFY} patients are still listed"] if listed else [])
    policy = site.contract["policy"]
    days = policy["retention_days"]
    return (
        f"{images} images of {marks.VERIFY} patients removed from the index; the archive keeps their bytes under its "
        f"{policy['retention_mode']} lock of {days} {'day' if days == 1 else 'days'}"
    )


def remove_leftovers(site: Site) -> None:
    """Remove images of an interrupted run, and of versions that sent the files without a mark.

    Raises
    ------
    RemovalError
    """
    remove(site, marks.VERIFY)
    remove_unmarked(site, [sample for sample in round_trip.originals()[0] if not sample.refusal])


def remove_unmarked(site: Site, samples: Sequence[Sample]) -> int:
    """Remove the files that earlier versions of `verify` stored unchanged, and return their number.

    Parameters
    ----------
    samples
        The files without marks. One is removed when the site has the same data set under the same identifiers.
    """
    first = site.members("pacs")[0].name

    def there(sample: Sample) -> bool:
        content, _ = round_trip.read(site, first, sample)
        return bool(content) and not round_trip.dataset_problem(sample, files.split(content), content)

    with ThreadPoolExecutor(max_workers=_READERS) as pool:
        found = [sample for sample, known in zip(samples, pool.map(there, samples), strict=True) if known]
    if found:
        client = storing(site)
        for instance in sorted({round_trip.orthanc_id(sample) for sample in found}):
            delete(client, f"instances/{instance}")
    return len(found)
