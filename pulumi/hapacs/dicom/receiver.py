"""An application entity that receives the instances of a C-MOVE and keeps them in memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self, cast

from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.transport import ThreadedAssociationServer

from hapacs.dicom.client import SUCCESS, DicomError
from hapacs.dicom.files import Sample


class Receiver:
    """Listens while the `with` block runs.

    Parameters
    ----------
    ae_title, host, port
        As the PACS has this destination configured.
    samples
        Instances that may arrive: their SOP classes and transfer syntaxes are accepted.

    Attributes
    ----------
    datasets
        Transfer syntax and encoded data set as received, by SOP Instance UID.
    senders
        AE titles and addresses that opened an association.
    """

    def __init__(self, ae_title: str, host: str, port: int, samples: Sequence[Sample]) -> None:
        self.datasets: dict[str, tuple[UID, bytes]] = {}
        self.senders: set[tuple[str, str]] = set()
        self._address = (host, port)
        self._entity = AE(ae_title=ae_title)
        self._entity.maximum_pdu_size = 131072
        self._entity.require_called_aet = True
        for sop_class in dict.fromkeys(sample.sop_class for sample in samples):
            syntaxes = dict.fromkeys(s.transfer_syntax for s in samples if s.sop_class == sop_class)
            self._entity.add_supported_context(sop_class, list(syntaxes))
        self._lock = threading.Lock()
        self._server: ThreadedAssociationServer | None = None

    def __enter__(self) -> Self:
        """Start listening.

        Raises
        ------
        DicomError
            When the address can't be bound.
        """
        handlers = [(evt.EVT_C_STORE, self._keep)]
        try:
            self._server = self._entity.start_server(self._address, block=False, evt_handlers=handlers)  # type: ignore[arg-type]
        except OSError as error:
            host, port = self._address
            raise DicomError(
                f"This machine can't listen at {host}:{port} for C-MOVE: {error.strerror}.",
                "The address is the setting `verify` of the deployment; it must be this machine's, and its port free.",
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.shutdown()

    def _keep(self, event: evt.Event) -> int:
        uid = str(cast(C_STORE, event.request).AffectedSOPInstanceUID)
        with self._lock:
            self.datasets[uid] = (UID(event.context.transfer_syntax), event.encoded_dataset(include_meta=False))
            self.senders.add((str(event.assoc.requestor.ae_title), str(event.assoc.requestor.address)))
        return SUCCESS
