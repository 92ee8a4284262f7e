"""The ways in which a modality stores: by C-STORE, and by STOW-RS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import httpx

from hapacs.dicom import Caller, DicomError, Peer, files, multipart
from hapacs.dicom.client import NOT_ACCEPTED, SUCCESS, WARNING
from hapacs.load.images import Image
from hapacs.load.ledger import Outcome
from hapacs.load.wire import CT, Association, Kind

# The same data set is refused again: data set does not match SOP class, cannot understand (PS3.4 B.2.3).
_FINAL_STATUSES = range(0xA900, 0xAA00), range(0xC000, 0xD000)
_FINAL_CODES = {400, 401, 403, 404, 405, 413, 415}
# A balancer's own answers: the server behind it may have stored, but its answer did not arrive.
_NO_ANSWER_CODES = {httpx.codes.BAD_GATEWAY, httpx.codes.GATEWAY_TIMEOUT}
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
_DICOM = "application/dicom"
_REFERENCED = "00081199"


@dataclass(frozen=True)
class Answer:
    """The answer to one store.

    Attributes
    ----------
    reason
        Why it was not acknowledged.
    final
        Whether the same instance would be refused again.
    seconds
        From the request to the answer.
    """

    outcome: Outcome
    reason: str = ""
    final: bool = False
    seconds: float = 0


class Connection(Protocol):
    """An open connection."""

    def store(self, image: Image) -> Answer:
        """Store an image."""
        ...

    def close(self) -> None:
        """End the connection."""
        ...


class Entrance(Protocol):
    """One way in."""

    @property
    def protocol(self) -> str:
        """Its name in the ledger."""
        ...

    def connect(self) -> Connection:
        """Open a connection.

        Raises
        ------
        DicomError
            When there is none.
        """
        ...


@dataclass(frozen=True)
class CStore:
    """C-STORE.

    Parameters
    ----------
    caller, peer
        Sender and receiver; the peer's time-out applies to every step.
    kinds
        SOP classes and transfer syntaxes to negotiate.
    """

    caller: Caller
    peer: Peer
    kinds: Sequence[Kind] = (CT,)
    protocol: str = "C-STORE"

    def connect(self) -> Connection:
        """Open an association."""
        try:
            return _Associated(Association(self.caller, self.peer, "store", self.kinds).__enter__())
        except OSError as error:
            raise DicomError(f"{self.peer.host}:{self.peer.port} can't be reached: {error}.") from error


@dataclass(frozen=True)
class Stow:
    """STOW-RS.

    Parameters
    ----------
    client
        Makes a client whose base is the DICOMweb root.
    """

    client: Callable[[], httpx.Client]
    protocol: str = "STOW-RS"

    def connect(self) -> Connection:
        """Make a client; it connects with its first request."""
        return _Web(self.client())


@dataclass
class _Associated:
    association: Association
    answers: bool = True

    def store(self, image: Image) -> Answer:
        if image.kind not in self.association.accepted:
            return Answer("refused", NOT_ACCEPTED, final=True)
        request = self.association.store_request(image.sop_instance, image.dataset, image.kind)
        try:
            status, _ = self.association.exchange(request)
        except (DicomError, OSError) as error:
            self.answers = False
            return Answer("unknown", str(error))
        if status == SUCCESS or status & 0xF000 == WARNING:
            return Answer("acknowledged")
        return Answer("refused", f"status 0x{status:04X}", final=any(status in one for one in _FINAL_STATUSES))

    def close(self) -> None:
        # Every instance has its answer already, so a lost connection loses nothing.
        with suppress(DicomError, OSError):
            self.association.__exit__(None if self.answers else DicomError)


@dataclass
class _Web:
    client: httpx.Client

    def store(self, image: Image) -> Answer:
        whole = files.whole(image.sop_class, image.sop_instance, image.transfer_syntax, image.dataset)
        content_type, body = multipart.encode([whole], _DICOM)
        headers = {"Content-Type": content_type, "Accept": "application/dicom+json"}
        try:
            answer = self.client.post("studies", content=body, headers=headers)
        except _NOT_SENT as error:
            return Answer("refused", f"{type(error).__name__}: {error}")
        except httpx.HTTPError as error:
            return Answer("unknown", f"{type(error).__name__}: {error}")
        if answer.status_code in _NO_ANSWER_CODES:
            return Answer("unknown", f"status {answer.status_code}")
        if answer.status_code != httpx.codes.OK:
            return Answer("refused", f"status {answer.status_code}", final=answer.status_code in _FINAL_CODES)
        try:
            stored = answer.json().get(_REFERENCED, {}).get("Value", ())
        except ValueError:
            return Answer("unknown", "the answer is no JSON")
        return Answer("acknowledged") if stored else Answer("refused", "the answer does not list the instance")

    def close(self) -> None:
        self.client.close()
