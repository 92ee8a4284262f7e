"""Images with a mark (`hapacs.dicom.marks`) in the index of a site: found by it, and removed.

The archive keeps their bytes until the lock ends. Images without a mark are not removed.
"""

from __future__ import annotations

from typing import Any

from hapacs.errors import HapacsError
from hapacs.site.access import Site

# Orthanc removes a study image by image, each with a transaction of the catalog.
_TIMEOUT_S = 120
_OK, _NOT_FOUND = 200, 404
PATIENT_ID = "PatientID"


class RemovalError(HapacsError):
    """Marked images can't be removed from the index."""


def remove(site: Site, mark: str) -> int:
    """Remove every patient with a mark from the index, and return their number of images.

    Raises
    ------
    RemovalError
        When Orthanc refuses, or no node answers.
    """
    client = storing(site)
    query = {"Query": {PATIENT_ID: f"{mark}*"}, "CaseSensitive": True}
    images = len(_post(client, "tools/find", query | {"Level": "Instance"}))
    patients = _post(client, "tools/find", query | {"Level": "Patient", "Expand": True})
    for patient in patients:
        # Checked here again, because Orthanc interprets the wildcard.
        if patient["MainDicomTags"][PATIENT_ID].startswith(mark):
            delete(client, f"patients/{patient['ID']}")
    return images


def storing(site: Site) -> Any:
    """Return a client of a storing Orthanc that answers; each of them works on the one index.

    Raises
    ------
    RemovalError
        When none answers.
    """
    import httpx  # noqa: PLC0415 - slow to import

    for node in site.members("pacs"):
        client = site.orthanc(node.name, "store")
        try:
            answer = client.get(f"{client.url}/system")
        except httpx.HTTPError:
            continue
        if answer.status_code == _OK:
            return client
    raise RemovalError("No storing Orthanc answers, so marked images stay in the index.", "`hapacs status` says more.")


def delete(client: Any, path: str) -> None:
    """Remove a resource from the index, if it is there.

    Raises
    ------
    RemovalError
        When Orthanc refuses.
    """
    answer = client.delete(f"{client.url}/{path}", timeout=_TIMEOUT_S)
    if answer.status_code not in {_OK, _NOT_FOUND}:
        raise RemovalError(f"DELETE /{path} is answered {answer.status_code}.", "`hapacs status` says more.")


def _post(client: Any, path: str, document: dict[str, Any]) -> list[Any]:
    answer = client.post(f"{client.url}/{path}", json=document, timeout=_TIMEOUT_S)
    if answer.status_code != _OK:
        raise RemovalError(f"POST /{path} is answered {answer.status_code}.", "`hapacs status` says more.")
    found: list[Any] = answer.json()
    return found
