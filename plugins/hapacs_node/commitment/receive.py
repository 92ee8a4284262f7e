"""Reports of destinations that were asked for storage commitment: associations and answers (DICOM PS3.4 J.3.3)."""

from collections.abc import Iterator
from io import BytesIO

from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID
from pynetdicom.dimse_messages import N_EVENT_REPORT_RSP
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.dsutils import decode
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import PresentationContext

from hapacs_node.catalog.outbound_commitment import Report
from hapacs_node.commitment import pdu
from hapacs_node.commitment.action import INSTANCE
from hapacs_node.commitment.pdu import Pdu
from hapacs_node.errors import RefusedError
from hapacs_node.routing.commit import INVALID_ARGUMENT, read

# A presentation context is accepted, its abstract syntax is not known, or none of its transfer syntaxes is
# (DICOM PS3.8 9.3.3.2).
_ACCEPTED, _NO_CLASS, _NO_SYNTAX = 0, 3, 4
_SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
_MAXIMUM_PDU = 131072
_NO_SUCH_INSTANCE = 0x0112


def accept(request: Pdu) -> tuple[bytes, dict[int, str]]:
    """Accept an association that brings reports.

    Returns
    -------
    bytes
        The A-ASSOCIATE-AC. The peer is the SCP, as it proposed (PS3.7 D.3.3.4); only storage commitment is accepted.
    dict
        Transfer syntaxes by the numbers of the accepted presentation contexts.

    Raises
    ------
    RefusedError
        When the request can't be read.
    """
    asked = A_ASSOCIATE_RQ()
    try:
        asked.decode(request.content)
        proposed = asked.to_primitive()
        answer = A_ASSOCIATE()
        answer.application_context_name = proposed.application_context_name
        answer.calling_ae_title, answer.called_ae_title = proposed.calling_ae_title, proposed.called_ae_title
        answer.result, answer.result_source = 0, 1
        results = [_result(context) for context in proposed.presentation_context_definition_list]
        answer.presentation_context_definition_results_list = results
        answer.user_information = [*_user(), _role()]
        accepted = A_ASSOCIATE_AC()
        accepted.from_primitive(answer)
        content = accepted.encode()
    except Exception as error:
        raise RefusedError(f"no A-ASSOCIATE-RQ: {type(error).__name__}") from error
    return content, {
        int(one.context_id or 0): str(one.transfer_syntax[0]) for one in results if one.result == _ACCEPTED
    }


def _result(context: PresentationContext) -> PresentationContext:
    made = PresentationContext()
    made.context_id, made.abstract_syntax = context.context_id, context.abstract_syntax
    fitting = [syntax for syntax in _SYNTAXES if syntax in context.transfer_syntax]
    # One transfer syntax is part of a refusal too; it has no meaning there.
    made.transfer_syntax = [fitting[0] if fitting else ImplicitVRLittleEndian]
    made.result = _NO_CLASS if context.abstract_syntax != pdu.MODEL else _ACCEPTED if fitting else _NO_SYNTAX
    return made


def _user() -> tuple[MaximumLengthNotification, ImplementationClassUIDNotification]:
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = _MAXIMUM_PDU
    implementation.implementation_class_uid = PYNETDICOM_IMPLEMENTATION_UID
    return length, implementation


def _role() -> SCP_SCU_RoleSelectionNegotiation:
    item = SCP_SCU_RoleSelectionNegotiation()
    item.sop_class_uid, item.scu_role, item.scp_role = pdu.MODEL, False, True
    return item


def report(event: N_EVENT_REPORT, syntax: str) -> Report | int:
    """Return what a report says, or the status of the answer to one that can't be read.

    Parameters
    ----------
    event : N_EVENT_REPORT
        As it came.
    syntax : str
        Transfer syntax of its presentation context.
    """
    if str(event.AffectedSOPInstanceUID or "") != INSTANCE:
        return _NO_SUCH_INSTANCE
    try:
        implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
        return read(decode(event.EventInformation or BytesIO(), implicit, little))
    except Exception:  # noqa: BLE001 - what comes from outside can fail in many ways
        return INVALID_ARGUMENT


def answer(event: N_EVENT_REPORT, context: int, maximum: int, status: int) -> Iterator[bytes]:
    """Return the PDUs of the answer to a report.

    Parameters
    ----------
    event : N_EVENT_REPORT
        As it came.
    context : int
        Its presentation context.
    maximum : int
        Longest PDU that the peer takes, bytes.
    status : int
        Of the answer.
    """
    reply = N_EVENT_REPORT()
    reply.MessageIDBeingRespondedTo = event.MessageID
    reply.AffectedSOPClassUID = event.AffectedSOPClassUID
    reply.AffectedSOPInstanceUID = event.AffectedSOPInstanceUID
    reply.EventTypeID = event.EventTypeID
    reply.Status = status
    message = N_EVENT_REPORT_RSP()
    message.primitive_to_message(reply)
    for part in message.encode_msg(context, maximum):
        yield pdu.data((number, value) for number, value in part.presentation_data_value_list)
