"""What the probe asks by DICOMweb: STOW-RS, QIDO-RS and WADO-RS (DICOM PS3.18 10.4 to 10.6)."""

import base64
import http.client
import json
import ssl
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from hapacs_node import multipart
from hapacs_node.probe.dimse import ProbeError
from hapacs_node.probe.image import ProbeImage
from hapacs_node.probe.names import USER

_SOP, _STORED = "00080018", "00081199"
_DICOM = "application/dicom"
_AS_STORED = f'multipart/related; type="{_DICOM}"; transfer-syntax=*'
_MOST_BYTES = 1_000_000


@dataclass(frozen=True)
class Web:
    """The DICOMweb service of a site.

    Attributes
    ----------
    host, port
        Of the virtual address.
    tls : ssl.SSLContext or None
        Trusts the site's authority; without it connections are not encrypted (loopback tests).
    password : str
        Of the probe's user.
    timeout_s : float
        Limit for the connection, and for each read.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None
    password: str
    timeout_s: float

    def store(self, image: ProbeImage) -> None:
        """Send the image by STOW-RS, and check that the answer lists it as stored.

        Raises
        ------
        ProbeError
            When it does not. So do the methods below.
        """
        content_type, pieces = multipart.framed([image.file], _DICOM)
        headers = {"Content-Type": content_type, "Accept": "application/dicom+json"}
        document = _json(self._ask("STOW-RS", "POST", "studies", headers, b"".join(pieces)))
        if len(document.get(_STORED, {}).get("Value", ())) != 1:
            raise ProbeError("STOW-RS does not list the image as stored")

    def find(self, image: ProbeImage) -> None:
        """Search for the image by QIDO-RS, and check that it is found once."""
        path = f"studies/{image.study}/series/{image.series}/instances?{urlencode({'SOPInstanceUID': image.sop})}"
        body = self._ask("QIDO-RS", "GET", path, {"Accept": "application/dicom+json"})
        found = [entry[_SOP]["Value"][0] for entry in _json(body)] if body else []
        if found != [image.sop]:
            raise ProbeError(f"QIDO-RS names {len(found)} images instead of the one that was stored")

    def get(self, image: ProbeImage) -> None:
        """Retrieve the image by WADO-RS, and check its bytes."""
        path = f"studies/{image.study}/series/{image.series}/instances/{image.sop}"
        if self._ask("WADO-RS", "GET", path, {"Accept": _AS_STORED}).count(image.file) != 1:
            raise ProbeError("WADO-RS does not bring the bytes that were stored")

    def _ask(self, what: str, method: str, path: str, headers: dict[str, str], body: bytes | None = None) -> bytes:
        login = base64.b64encode(f"{USER}:{self.password}".encode()).decode()
        connection = (
            http.client.HTTPSConnection(self.host, self.port, timeout=self.timeout_s, context=self.tls)
            if self.tls
            else http.client.HTTPConnection(self.host, self.port, timeout=self.timeout_s)
        )
        try:
            connection.request(method, f"/dicom-web/{path}", body, {**headers, "Authorization": f"Basic {login}"})
            answer = connection.getresponse()
            content = answer.read(_MOST_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise ProbeError(f"{what} gets no answer: {type(error).__name__}: {error}") from None
        finally:
            connection.close()
        if answer.status not in {HTTPStatus.OK, HTTPStatus.NO_CONTENT}:
            raise ProbeError(f"{what} is answered {answer.status}")
        return content


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        raise ProbeError("the answer is no JSON") from None
