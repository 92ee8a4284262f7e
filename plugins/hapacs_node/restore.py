"""Restores the removed images of a study: reads their bytes, and stores them again through Orthanc.

Orthanc stores each as any other image, so that the index has it once, and the archive keeps its bytes once.
"""

import http.client
import json
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from hapacs_node import log
from hapacs_node.catalog.catalog import Catalog
from hapacs_node.catalog.objects import StoredObject
from hapacs_node.errors import ConfigurationError, NodeError, OrthancUnavailableError, RefusedError
from hapacs_node.record import identity
from hapacs_node.storage.reader import Reader

_LOG = log.get("restore")
_AT_A_TIME = 4
_UNIDENTIFIED_AT_A_TIME = 10_000
_TIMEOUT_S = 120
_ERRORS: dict[int, type[NodeError]] = {
    HTTPStatus.BAD_REQUEST: RefusedError,
    HTTPStatus.BAD_GATEWAY: OrthancUnavailableError,
    HTTPStatus.SERVICE_UNAVAILABLE: OrthancUnavailableError,
    HTTPStatus.GATEWAY_TIMEOUT: OrthancUnavailableError,
}
CERTIFICATES = Path("/etc/orthanc-tls")
"""Directory of the node's certificate and key, and of the authority."""

State = Literal["restored", "present", "superseded", "unreadable", "refused"]
"""``present``: the index has it already; ``superseded``: the index has other bytes with its UIDs; ``unreadable``: no
place has its bytes; ``refused``: Orthanc did not store it."""


@dataclass(frozen=True)
class Restored:
    """What became of one removed image.

    Attributes
    ----------
    series, sop : str
        Its UIDs.
    digest : str
        SHA-256 of its bytes.
    state : str
        See `State`.
    detail : str
        Why it was not restored, or empty.
    """

    series: str
    sop: str
    digest: str
    state: State
    detail: str = ""


@dataclass(frozen=True)
class Restoration:
    """Restores removed images.

    Parameters
    ----------
    catalog : Catalog
        Knows the removed images.
    reader : Reader
        Reads their bytes and checks them.
    store : callable
        Has Orthanc store a DICOM file; raises NodeError when it does not.
    """

    catalog: Catalog
    reader: Reader
    store: Callable[[bytes], None]

    def study(self, study: str, operator: str) -> list[Restored]:
        """Restore all images of a study that were removed and are not in the index. It can be repeated.

        Of several versions of an image, the one that was removed last is restored.

        Parameters
        ----------
        study : str
            Study Instance UID.
        operator : str
            Who asked for it, for the journal.

        Raises
        ------
        NodeError
            When the catalog doesn't answer.
        """
        identify(self.catalog, self.reader)
        stored = self.catalog.stored(study)

        def one(item: tuple[tuple[str, str], StoredObject]) -> Restored:
            (series, sop), row = item
            if (series, sop) in stored:
                same = stored[series, sop] == row.digest
                return Restored(series, sop, row.digest, "present" if same else "superseded")
            return self._restore(study, series, sop, row, operator)

        with ThreadPoolExecutor(_AT_A_TIME, thread_name_prefix="restore") as workers:
            return list(workers.map(one, self.catalog.removed(study).items()))

    def _restore(self, study: str, series: str, sop: str, row: StoredObject, operator: str) -> Restored:
        try:
            content = self.reader.read(row.uuid)
        except NodeError as error:
            return Restored(series, sop, row.digest, "unreadable", str(error))
        try:
            self.store(content)
            self.catalog.inherit_caller(row.digest, row.caller)
        except NodeError as error:
            return Restored(series, sop, row.digest, "refused", str(error))
        about = {"sop": sop, "series": series, "study": study, "uuid": row.uuid, "digest": row.digest, "size": row.size}
        _LOG.warning(log.line("restored", **about, old_caller=row.caller, operator=operator))
        return Restored(series, sop, row.digest, "restored")


def identify(catalog: Catalog, reader: Reader) -> int:
    """Find the UIDs of removed images that the catalog does not know, from their bytes.

    Returns
    -------
    int
        Number of images whose bytes can't be read now.
    """
    unread = 0
    for row in catalog.removed_without_study(_UNIDENTIFIED_AT_A_TIME):
        try:
            about = identity.of(reader.head(row))
        except NodeError as error:
            _LOG.warning(log.line("removed_image_unread", uuid=row.uuid, digest=row.digest, error=error))
            unread += 1
            continue
        catalog.identify_removed(row.uuid, about.study or "", about.series or "", about.sop or "")
    return unread


@dataclass(frozen=True)
class Orthanc:
    """The storing Orthanc of this node, by its REST interface.

    Parameters
    ----------
    url : str
        ``https://address:port``.
    tls : ssl.SSLContext
        Trusts its authority and presents this node's certificate.
    """

    url: str
    tls: ssl.SSLContext

    @classmethod
    def of(cls, url: str, directory: Path = CERTIFICATES) -> "Orthanc":
        """Take the node's certificate from a directory: ``node.crt``, ``node.key`` and ``ca-pacs.crt``."""
        try:
            tls = ssl.create_default_context(cafile=str(directory / "ca-pacs.crt"))
            tls.load_cert_chain(directory / "node.crt", directory / "node.key")
        except OSError as error:
            raise ConfigurationError(f"{directory}: the node's certificate can't be read: {error}") from error
        return cls(url, tls)

    def remove(self, path: str, who: str) -> None:
        """Remove a study or a series; one that is not there is no error.

        Parameters
        ----------
        path : str
            ``/studies/ID`` or ``/series/ID`` with Orthanc's identifier.
        who : str
            Who asked for it, for tombstones and the journal.

        Raises
        ------
        OrthancUnavailableError
            When Orthanc does not answer.
        NodeError
            When Orthanc does not remove it.
        """
        name = "".join(character if character.isascii() and character.isprintable() else "?" for character in who)
        status, _ = self._ask("DELETE", path, None, {"X-Hapacs-User": name})
        if status not in {HTTPStatus.OK, HTTPStatus.NOT_FOUND}:
            kind = _ERRORS.get(status, NodeError)
            raise kind(f"{self.url} did not remove {path}: HTTP status {status}")

    def store(self, content: bytes) -> None:
        """Store a DICOM file as it is.

        Raises
        ------
        OrthancUnavailableError
            When Orthanc does not answer.
        RefusedError
            When the file is no DICOM file for Orthanc.
        NodeError
            When Orthanc does not store it for another reason.
        """
        status, body = self._ask("POST", "/instances", content, {"Content-Type": "application/dicom"})
        if status != HTTPStatus.OK or _status(body) != "Success":
            kind = _ERRORS.get(status, NodeError)
            raise kind(f"{self.url} did not store the image: HTTP status {status}, {_status(body)}")

    def _ask(self, method: str, path: str, content: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        parts = urlsplit(self.url)
        connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=_TIMEOUT_S, context=self.tls)
        try:
            connection.request(method, path, content, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(10_000)
        except (OSError, http.client.HTTPException) as error:
            raise OrthancUnavailableError(f"{self.url} does not answer {method} {path}: {error}") from error
        finally:
            connection.close()


def _status(body: bytes) -> str:
    try:
        document: dict[str, Any] = json.loads(body)
    except ValueError:
        return "no reason given"
    return str(document.get("Status") or document.get("Message") or "no reason given")
