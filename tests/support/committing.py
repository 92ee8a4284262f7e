"""An archive that commits itself to keep images (DICOM PS3.4 J), by pynetdicom: a destination of routing."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass, field
from types import TracebackType

from pydicom import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.dimse_messages import N_ACTION_RSP
from pynetdicom.events import EventHandlerType
from pynetdicom.sop_class import (  # type: ignore[attr-defined] # made at import time
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    Verification,
)

TITLE = "PEER"


@dataclass(frozen=True)
class Request:
    """A request that came: its Transaction UID, and SOP class and SOP instance of each image."""

    transaction: str
    images: tuple[tuple[str, str], ...]


def information(transaction: str, committed: list[tuple[str, str]], failed: dict[tuple[str, str], int]) -> Dataset:
    """Return the event information of a report."""
    told = Dataset()
    told.TransactionUID = transaction
    for name, images in (("ReferencedSOPSequence", committed), ("FailedSOPSequence", list(failed))):
        items = []
        for image in images:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image
            if image in failed:
                item.FailureReason = failed[image]
            items.append(item)
        if items:
            setattr(told, name, items)
    return told


def report(
    port: int, request: Request, failed: dict[str, int] | None = None, *, title: str = TITLE, roles: bool = True
) -> int | None:
    """Report on a new association to a port; return the status of the answer, or None without one."""
    entity = AE(ae_title=title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 30
    contexts = [
        build_context(StorageCommitmentPushModel, [ImplicitVRLittleEndian, ExplicitVRLittleEndian]),
        build_context(Verification),
    ]
    role = [build_role(StorageCommitmentPushModel, scp_role=True)] if roles else []
    association = entity.associate("127.0.0.1", port, contexts=contexts, ae_title="HAPACS", ext_neg=list(role))
    if not association.is_established:
        return None
    status = _send(association, request, failed or {})
    association.release()
    assert association.is_released
    return status


def _send(association: Association, request: Request, failed: dict[str, int]) -> int | None:
    committed = [image for image in request.images if image[1] not in failed]
    lost = {image: failed[image[1]] for image in request.images if image[1] in failed}
    status, _ = association.send_n_event_report(
        information(request.transaction, committed, lost),
        2 if lost else 1,
        StorageCommitmentPushModel,
        StorageCommitmentPushModelInstance,
    )
    return int(status.Status) if "Status" in status else None


@dataclass
class Committing:
    """Takes images and requests.

    Attributes
    ----------
    status
        Of its answers to requests.
    same
        Whether it reports on the association of the request.
    commits
        Whether it knows storage commitment at all.
    """

    port: int
    status: int = 0
    same: bool = False
    commits: bool = True
    stored: list[str] = field(default_factory=list)
    requests: queue.Queue[Request] = field(default_factory=queue.Queue)
    answers: queue.Queue[int | None] = field(default_factory=queue.Queue)
    _came: dict[Association, Request] = field(default_factory=dict)

    def __enter__(self) -> Committing:
        entity = AE(ae_title=TITLE)
        entity.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
        entity.add_supported_context(Verification)
        if self.commits:
            entity.add_supported_context(StorageCommitmentPushModel)
        handlers: list[EventHandlerType] = [
            (evt.EVT_C_STORE, self._store), (evt.EVT_N_ACTION, self._take), (evt.EVT_DIMSE_SENT, self._answered),
        ]  # fmt: skip
        self._server = entity.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._server is not None
        self._server.shutdown()

    def _store(self, event: evt.Event) -> int:
        self.stored.append(str(event.dataset.SOPInstanceUID))
        return 0

    def _take(self, event: evt.Event) -> tuple[int, None]:
        asked = event.action_information
        images = tuple(
            (str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID))
            for item in asked.ReferencedSOPSequence
        )
        request = Request(str(asked.TransactionUID), images)
        if self.same:
            self._came[event.assoc] = request
        self.requests.put(request)
        return self.status, None

    def _answered(self, event: evt.Event) -> None:
        if isinstance(event.message, N_ACTION_RSP) and (request := self._came.pop(event.assoc, None)) is not None:
            association = event.assoc
            threading.Thread(target=lambda: self.answers.put(_send(association, request, {}))).start()
