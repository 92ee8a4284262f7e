"""The N-EVENT-REPORT about a request, on an association of its own (DICOM PS3.4 J.3.3)."""

import ssl
from collections.abc import Sequence

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context, build_role

from hapacs_node.association import released, request
from hapacs_node.catalog.commitment import COMMITTED, Claim, Referenced
from hapacs_node.commitment import pdu
from hapacs_node.commitment.action import INSTANCE
from hapacs_node.commitment.copies import PROCESSING_FAILURE
from hapacs_node.commitment.settings import Address
from hapacs_node.errors import NodeError

_TIMEOUT_S = 30
_MAXIMUM_PDU = 131072
_ALL_COMMITTED, _SOME_FAILED = 1, 2


class ReportError(NodeError):
    """A caller took no report."""


def document(transaction: str, images: Sequence[Referenced]) -> tuple[int, Dataset]:
    """Return event type and event information of a report (DICOM PS3.4 table J.3-3)."""
    report, done, failed = Dataset(), [], []
    report.TransactionUID = transaction
    for image in images:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.sop_class, image.sop
        if image.failure == COMMITTED:
            done.append(item)
        else:
            item.FailureReason = PROCESSING_FAILURE if image.failure is None else image.failure
            failed.append(item)
    if done:
        report.ReferencedSOPSequence = done
    if failed:
        report.FailedSOPSequence = failed
    return (_SOME_FAILED if failed else _ALL_COMMITTED), report


def send(claim: Claim, images: Sequence[Referenced], to: Address, tls: ssl.SSLContext | None = None) -> None:
    """Send a report.

    Raises
    ------
    ReportError
        When the caller does not take it.
    """
    where = f"{claim.caller} at {to.host}:{to.port}"
    context = build_context(pdu.MODEL, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    try:
        association, refusal = request(
            claim.called, claim.caller, to.host, to.port, [context],
            timeout_s=_TIMEOUT_S, maximum_pdu=_MAXIMUM_PDU, tls=tls, roles=[build_role(pdu.MODEL, scp_role=True)],
        )  # fmt: skip
    except OSError as error:
        raise ReportError(f"{where}: {error}") from error
    if refusal:
        raise ReportError(f"{where} refuses an association: {refusal}")
    if not association.is_established:
        raise ReportError(f"{where} gives no association for storage commitment")
    kind, report = document(claim.transaction, images)
    with released(association):
        if not association.accepted_contexts[0].as_scp:
            raise ReportError(f"{where} does not let the archive be the SCP (PS3.7 D.3.3.4)")
        status, _ = association.send_n_event_report(report, kind, pdu.MODEL, INSTANCE)
    if "Status" not in status:
        raise ReportError(f"{where} does not answer the report")
    if status.Status != 0:
        raise ReportError(f"{where} answers the report with status 0x{status.Status:04X}")
