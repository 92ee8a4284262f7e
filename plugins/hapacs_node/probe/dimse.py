"""What the probe asks by DICOM: C-ECHO, C-STORE, C-FIND and C-GET, each in an association of its own."""

import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage
from pynetdicom import _config, build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.events import Event, EventHandlerType
from pynetdicom.sop_class import (  # type: ignore[attr-defined] # made at import time
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    Verification,
)

from hapacs_node.association import released, request
from hapacs_node.errors import NodeError
from hapacs_node.probe.image import ProbeImage
from hapacs_node.probe.names import TITLE

_config.LOG_HANDLER_LEVEL = "none"
_MAXIMUM_PDU = 131072
_PENDING = {0xFF00, 0xFF01}


class ProbeError(NodeError):
    """A step of the probe failed; the message says how."""


@dataclass(frozen=True)
class Peer:
    """An application entity that the probe calls.

    Attributes
    ----------
    host, port, title
        Where, and the called AE title.
    timeout_s : float
        Limit for the connection, for the association and for each answer.
    tls : ssl.SSLContext or None
        Opens associations with TLS.
    """

    host: str
    port: int
    title: str
    timeout_s: float
    tls: ssl.SSLContext | None = None


def echo(peer: Peer) -> None:
    """Send a C-ECHO.

    Raises
    ------
    ProbeError
        When it is not answered with success. So do the functions below.
    """
    with _associated(peer, str(Verification)) as association:
        _expect("C-ECHO", association.send_c_echo())


def store(peer: Peer, image: ProbeImage) -> None:
    """Send a C-STORE."""
    with _associated(peer, str(SecondaryCaptureImageStorage)) as association:
        _expect("C-STORE", association.send_c_store(image.dataset))


def find(peer: Peer, image: ProbeImage) -> None:
    """Send a C-FIND for the image, and check that it is found once."""
    model = str(StudyRootQueryRetrieveInformationModelFind)
    found = []
    with _associated(peer, model) as association:
        for status, identifier in association.send_c_find(_identifier(image), model):
            if status.get("Status") in _PENDING:
                found.append(str(identifier.SOPInstanceUID) if identifier is not None else "")
            else:
                _expect("C-FIND", status)
    if found != [image.sop]:
        raise ProbeError(f"C-FIND names {len(found)} images instead of the one that was stored")


def get(peer: Peer, image: ProbeImage) -> None:
    """Send a C-GET for the image, and check that its bytes come back."""
    model = str(StudyRootQueryRetrieveInformationModelGet)
    came: list[bytes] = []

    def keep(event: Event) -> int:
        came.append(event.encoded_dataset(include_meta=False))
        return 0

    roles = (str(SecondaryCaptureImageStorage),)
    with _associated(peer, model, *roles, roles=roles, handlers=[(evt.EVT_C_STORE, keep)]) as association:
        for status, _ in association.send_c_get(_identifier(image), model):
            if status.get("Status") not in _PENDING:
                _expect("C-GET", status)
    if came != [image.encoded]:
        raise ProbeError(f"C-GET brought {len(came)} images, not the bytes that were stored")


def _identifier(image: ProbeImage) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = "IMAGE"
    query.StudyInstanceUID = image.study
    query.SeriesInstanceUID = image.series
    query.SOPInstanceUID = image.sop
    return query


@contextmanager
def _associated(
    peer: Peer, *classes: str, roles: Sequence[str] = (), handlers: Sequence[EventHandlerType] = ()
) -> Iterator[Association]:
    association, refusal = request(
        TITLE,
        peer.title,
        peer.host,
        peer.port,
        [build_context(name, ExplicitVRLittleEndian) for name in classes],
        timeout_s=peer.timeout_s,
        maximum_pdu=_MAXIMUM_PDU,
        tls=peer.tls,
        roles=[build_role(name, scp_role=True) for name in roles],
        handlers=handlers,
    )
    where = f"{peer.title} at {peer.host}:{peer.port}"
    if refusal:
        raise ProbeError(f"{where} refuses the association: {refusal}")
    if not association.is_established:
        raise ProbeError(f"{where} gives no association: no answer, or the connection was ended")
    with released(association):
        accepted = {str(context.abstract_syntax) for context in association.accepted_contexts}
        if missing := set(classes) - accepted:
            raise ProbeError(f"{where} does not accept {', '.join(sorted(missing))}")
        yield association


def _expect(operation: str, answer: Dataset) -> None:
    status = answer.get("Status")
    if status is None:
        raise ProbeError(f"{operation} is not answered in time, or the association was lost")
    if status != 0:
        raise ProbeError(f"{operation} ends with status 0x{status:04X}")
