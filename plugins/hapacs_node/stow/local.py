"""Gives a DICOM file to Orthanc on this machine, by its REST interface."""

import http.client
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus

from hapacs_node.stow.store import CANNOT_UNDERSTAND, OUT_OF_RESOURCES

# Above the longest store of the largest image, and below the balancer's own limit.
_TIMEOUT_S = 590


@dataclass
class Local:
    """Orthanc's REST interface on this machine.

    Not the plugin's own call (`orthanc.RestApiPost`): it holds Python's lock until the image is in the index. When
    another image ends at the same moment, Orthanc holds its lock on the callback of stored images while it waits for
    Python's, and this one waits for that callback: neither goes on, for ever (seen with Orthanc 1.12.7 and its Python
    plugin of Debian 13). A request over the loopback lets go of Python's lock while it waits.

    Parameters
    ----------
    port : int
        Orthanc's HTTP port.
    timeout_s : float
        Longest wait.
    """

    port: int
    timeout_s: float = _TIMEOUT_S

    def store(self, content: bytes, headers: Mapping[str, str]) -> int:
        """Store a DICOM file.

        Parameters
        ----------
        content : bytes
            The whole file.
        headers : mapping
            Who sends it, as the balancer says it.

        Returns
        -------
        int
            Zero, or the failure reason (DICOM PS3.18 table 10.5.3-2).
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.timeout_s)
        try:
            connection.request("POST", "/instances", content, {"Content-Type": "application/dicom", **headers})
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException):
            # Nothing is said to be stored; the sender repeats it.
            return OUT_OF_RESOURCES
        finally:
            connection.close()
        # Without a description: the role orthanc switches those off (`HttpDescribeErrors`).
        if response.status == HTTPStatus.BAD_REQUEST:
            return CANNOT_UNDERSTAND
        return 0 if response.status == HTTPStatus.OK and _is_kept(body) else OUT_OF_RESOURCES


def _is_kept(body: bytes) -> bool:
    """Return whether an answer says that the file is stored. That of an archive of files is a list."""
    with suppress(ValueError):
        answer = json.loads(body)
        return isinstance(answer, dict) and answer.get("Status") in {"Success", "AlreadyStored"}
    return False
