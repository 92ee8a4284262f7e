"""Gives a DICOM file to Orthanc on this machine, by its REST interface."""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from hapacs_node.stow.store import CANNOT_UNDERSTAND, OUT_OF_RESOURCES

# Orthanc's errors about a file: parameter out of range, bad file format, inexistent tag (tried with 1.12.7).
_UNSOUND = frozenset({3, 15, 21})
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
            answer = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError):
            # Nothing is said to be stored; the sender repeats it.
            return OUT_OF_RESOURCES
        finally:
            connection.close()
        if not isinstance(answer, dict):
            return OUT_OF_RESOURCES
        if response.status == HTTPStatus.OK:
            return 0 if answer.get("Status") in {"Success", "AlreadyStored"} else OUT_OF_RESOURCES
        return CANNOT_UNDERSTAND if answer.get("OrthancStatus") in _UNSOUND else OUT_OF_RESOURCES
