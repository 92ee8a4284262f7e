"""An application that asks for storage commitment and takes reports, by pynetdicom, as dcm4che's stgcmtscu does."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass, field
from types import TracebackType

from pydicom import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined] # made at import time
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)


@dataclass(frozen=True)
class Report:
    """A report that came."""

    calling: str
    kind: int
    transaction: str
    committed: set[str]
    failed: dict[str, int]


def action(transaction: str, *images: tuple[str, str]) -> Dataset:
    """Return the action information of a request for images, each with SOP class and SOP instance."""
    asked = Dataset()
    asked.TransactionUID = transaction
    items = []
    for sop_class, sop in images:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop
        items.append(item)
    asked.ReferencedSOPSequence = items
    return asked


def ask(
    association: Association, *images: tuple[str, str], transaction: str | None = None
) -> tuple[str, int | None, str]:
    """Send a request; return its Transaction UID, and status and comment of the answer."""
    uid = transaction or str(generate_uid())
    status, _ = association.send_n_action(
        action(uid, *images), 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
    )
    return uid, status.get("Status"), str(status.get("ErrorComment", ""))


def associate(
    port: int, *storing: UID, calling: str = "CT1", called: str = "HAPACS", host: str = "127.0.0.1"
) -> Association:
    """Open an association for some SOP classes and for storage commitment."""
    entity = AE(ae_title=calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 30
    contexts = [build_context(sop_class, [ExplicitVRLittleEndian]) for sop_class in storing]
    syntaxes: list[str | UID] = [ImplicitVRLittleEndian, ExplicitVRLittleEndian]
    return entity.associate(
        host,
        port,
        contexts=[*contexts, build_context(StorageCommitmentPushModel, syntaxes)],
        ae_title=called,
    )


@dataclass
class Modality:
    """Listens for reports, and answers each with `status`."""

    port: int
    status: int = 0
    title: str = "CT1"
    host: str = "127.0.0.1"
    reports: queue.Queue[Report] = field(default_factory=queue.Queue)
    tried: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def __enter__(self) -> Modality:
        entity = AE(ae_title=self.title)
        entity.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
        self._server = entity.start_server(
            (self.host, self.port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, self._take)]
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._server is not None
        self._server.shutdown()

    def _take(self, event: evt.Event) -> tuple[int, None]:
        told = event.event_information
        self.reports.put(
            Report(
                calling=event.assoc.requestor.ae_title,
                kind=event.event_type or 0,
                transaction=told.TransactionUID,
                committed={str(item.ReferencedSOPInstanceUID) for item in told.get("ReferencedSOPSequence", [])},
                failed={
                    str(item.ReferencedSOPInstanceUID): int(item.FailureReason)
                    for item in told.get("FailedSOPSequence", [])
                },
            )
        )
        self.tried.release()
        return self.status, None
