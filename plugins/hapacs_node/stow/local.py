"""Gives a DICOM file to Orthanc on this machine, by its REST interface."""

import json
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus

from hapacs_node.errors import OrthancUnavailableError
from hapacs_node.loopback import Orthanc
from hapacs_node.stow.store import CANNOT_UNDERSTAND, OUT_OF_RESOURCES

TIMEOUT_S = 590
"""Above the longest store of the largest image, and below the balancer's own limit."""


def store(orthanc: Orthanc, content: bytes, headers: Mapping[str, str]) -> int:
    """Store a DICOM file.

    Parameters
    ----------
    orthanc : Orthanc
        Waits for `TIMEOUT_S`.
    content : bytes
        The whole file.
    headers : mapping
        Who sends it, as the balancer says it.

    Returns
    -------
    int
        Zero, or the failure reason (DICOM PS3.18 table 10.5.3-2).
    """
    try:
        answer = orthanc.ask("POST", "/instances", {"Content-Type": "application/dicom", **headers}, content)
    except OrthancUnavailableError:
        # Nothing is said to be stored; the sender repeats it.
        return OUT_OF_RESOURCES
    # Without a description: the role orthanc switches those off (`HttpDescribeErrors`).
    if answer.status == HTTPStatus.BAD_REQUEST:
        return CANNOT_UNDERSTAND
    return 0 if answer.status == HTTPStatus.OK and _is_kept(answer.body) else OUT_OF_RESOURCES


def _is_kept(body: bytes) -> bool:
    """Return whether an answer says that the file is stored. That of an archive of files is a list."""
    with suppress(ValueError):
        answer = json.loads(body)
        return isinstance(answer, dict) and answer.get("Status") in {"Success", "AlreadyStored"}
    return False
