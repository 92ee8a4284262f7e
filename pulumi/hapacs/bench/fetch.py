"""Retrieves a whole study, by WADO-RS or by C-GET, and compares it with the data sets that were sent."""

from __future__ import annotations

import base64
import http.client
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass

from pydicom import Dataset

from hapacs.dicom import Caller, DicomError, Peer, files, multipart
from hapacs.dicom.client import SUCCESS
from hapacs.load.images import Study
from hapacs.load.wire import Association

_PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class Fetched:
    """Result of a retrieval.

    Attributes
    ----------
    seconds
        From the request to its last byte.
    cpu_s
        Processor seconds of the client.
    wrong
        Number of instances that did not arrive as they were sent.
    """

    seconds: float
    cpu_s: float
    wrong: int


@dataclass(frozen=True)
class Web:
    """A DICOMweb server.

    Attributes
    ----------
    tls
        None for HTTP in the clear.
    login
        User and password, or None.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    login: tuple[str, str] | None = None
    timeout_s: float = 120

    def fetch(self, study: Study) -> Fetched:
        """Retrieve a study by WADO-RS on a connection that is open already.

        Raises
        ------
        DicomError
            When the server doesn't return the study.
        """
        headers = {"Accept": multipart.AS_STORED, **self.login_headers}
        connection = self.connection()
        try:
            connection.connect()
            begun, cpu = time.perf_counter(), time.process_time()
            connection.request("GET", f"/dicom-web/studies/{study.uid}", headers=headers)
            answer = connection.getresponse()
            pieces = list(iter(lambda: answer.read(_PIECE_BYTES), b""))
            seconds, cpu_s = time.perf_counter() - begun, time.process_time() - cpu
        except (OSError, http.client.HTTPException) as error:
            raise DicomError(f"WADO-RS at {self.host}:{self.port} failed: {error}.") from error
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise DicomError(f"WADO-RS at {self.host}:{self.port} is answered {answer.status}.")
        parts = multipart.decode(answer.getheader("Content-Type", ""), b"".join(pieces))
        return Fetched(seconds, cpu_s, _wrong(study, [files.split(part) for part in parts]))

    @property
    def login_headers(self) -> dict[str, str]:
        """The header with user and password; none without a login."""
        if self.login is None:
            return {}
        return {"Authorization": f"Basic {base64.b64encode(':'.join(self.login).encode()).decode()}"}

    def connection(self) -> http.client.HTTPConnection:
        """Return a connection that is opened by its first request."""
        if self.tls is None:
            return http.client.HTTPConnection(self.host, self.port, timeout=self.timeout_s)
        return http.client.HTTPSConnection(self.host, self.port, timeout=self.timeout_s, context=self.tls)


def by_get(caller: Caller, peer: Peer) -> Callable[[Study], Fetched]:
    """Return a function that retrieves a study by C-GET; it raises DicomError when the C-GET fails."""

    def fetch(study: Study) -> Fetched:
        identifier = Dataset()
        identifier.QueryRetrieveLevel = "STUDY"
        identifier.StudyInstanceUID = study.uid
        came: list[bytes] = []
        with Association(caller, peer, "get") as association:
            begun, cpu = time.perf_counter(), time.process_time()
            status = association.get(identifier, lambda _, dataset: came.append(dataset))
            seconds, cpu_s = time.perf_counter() - begun, time.process_time() - cpu
        if status != SUCCESS:
            raise DicomError(f"C-GET from {peer.ae_title} ended with status 0x{status:04X}.")
        return Fetched(seconds, cpu_s, _wrong(study, came))

    return fetch


def _wrong(study: Study, came: list[bytes]) -> int:
    """Count instances that are missing, arrived twice, or have other bytes."""
    sent = {image.dataset for image in study.images}
    return max(len(sent - set(came)), len(came) - len(sent))
