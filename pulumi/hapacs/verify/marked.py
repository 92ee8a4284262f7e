"""Images of `verify` in the index of a site: found by their mark, and removed.

The archive keeps their bytes until the lock ends. Images without a mark are not removed, with one exception: public
files that earlier versions sent without a mark, when the site has the same data set under the same identifiers.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from hapacs.dicom import Sample, files, marks
from hapacs.site.access import Site
from hapacs.verify import round_trip
from hapacs.verify.report import CheckFailedError, require

# Orthanc removes a study image by image, each with a transaction of the catalog.
_TIMEOUT_S = 120
_READERS = 6
_PATIENT_ID = "PatientID"


def check_removed(site: Site) -> str:
    """Remove the images of this run from the index, and check that a search finds none."""
    images = remove(site)
    found = site.web.get("studies", params={_PATIENT_ID: f"{marks.VERIFY}*", "includefield": _PATIENT_ID})
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
    CheckFailedError
    """
    remove(site)
    remove_unmarked(site, [sample for sample in round_trip.originals()[0] if not sample.refusal])


def remove(site: Site) -> int:
    """Remove every patient with the mark of `verify` from the index, and return their number of images.

    Raises
    ------
    CheckFailedError
        When Orthanc refuses, or no node answers.
    """
    client = _storing(site)
    query = {"Query": {_PATIENT_ID: f"{marks.VERIFY}*"}, "CaseSensitive": True}
    images = len(_post(client, "tools/find", query | {"Level": "Instance"}))
    patients = _post(client, "tools/find", query | {"Level": "Patient", "Expand": True})
    for patient in patients:
        # Checked here again, because Orthanc interprets the wildcard.
        if patient["MainDicomTags"][_PATIENT_ID].startswith(marks.VERIFY):
            _delete(client, f"patients/{patient['ID']}")
    return images


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
        client = _storing(site)
        for instance in sorted({round_trip.orthanc_id(sample) for sample in found}):
            _delete(client, f"instances/{instance}")
    return len(found)


def _storing(site: Site) -> Any:
    """Return a client of a storing Orthanc that answers; each of them works on the one index."""
    for node in site.members("pacs"):
        client = site.orthanc(node.name, "store")
        try:
            answer = client.get(f"{client.url}/system")
        except httpx.HTTPError:
            continue
        if answer.status_code == httpx.codes.OK:
            return client
    raise CheckFailedError("no storing Orthanc answers, so images of verify stay in the index")


def _post(client: Any, path: str, document: dict[str, Any]) -> list[Any]:
    answer = client.post(f"{client.url}/{path}", json=document, timeout=_TIMEOUT_S)
    if answer.status_code != httpx.codes.OK:
        raise CheckFailedError(f"POST /{path} is answered {answer.status_code}")
    found: list[Any] = answer.json()
    return found


def _delete(client: Any, path: str) -> None:
    answer = client.delete(f"{client.url}/{path}", timeout=_TIMEOUT_S)
    if answer.status_code not in {httpx.codes.OK, httpx.codes.NOT_FOUND}:
        raise CheckFailedError(f"DELETE /{path} is answered {answer.status_code}")
