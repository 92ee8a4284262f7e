"""Storage commitment answers with the statuses and failure reasons of the conformance statement (DICOM PS3.4 J.3)."""

from collections.abc import Mapping
from io import BytesIO
from uuid import UUID, uuid4

import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage
from pynetdicom.dimse_primitives import N_ACTION
from pynetdicom.dsutils import encode

from hapacs_node.catalog.commitment import COMMITTED, Referenced
from hapacs_node.commitment import action, pdu
from hapacs_node.commitment.copies import Copies
from hapacs_node.commitment.report import document
from tests.support.commitment import action as information
from tests.unit.docs import conformance

CT, WHOLE = str(CTImageStorage), UUID(int=1)


def request(sop_class: str, instance: str, kind: int, asked: Dataset) -> N_ACTION:
    made, encoded = N_ACTION(), encode(asked, False, True)
    assert encoded is not None
    made.MessageID, made.RequestedSOPClassUID, made.RequestedSOPInstanceUID = 1, sop_class, instance
    made.ActionTypeID, made.ActionInformation = kind, BytesIO(encoded)
    return made


def test_the_statuses_of_a_request_are_those_of_the_statement() -> None:
    good, empty = information("1.2.3", (CT, "1.2.4")), information("1.2.3")
    wrong = [
        request(CT, action.INSTANCE, 1, good),
        request(pdu.MODEL, "1.2.5", 1, good),
        request(pdu.MODEL, action.INSTANCE, 2, good),
        request(pdu.MODEL, action.INSTANCE, 1, empty),
    ]
    seen = set()
    for one in wrong:
        with pytest.raises(action.Refusal) as refusal:
            action.wanted(one, ExplicitVRLittleEndian)
        seen.add(f"{refusal.value.status:04X}")
    assert action.wanted(request(pdu.MODEL, action.INSTANCE, 1, good), ExplicitVRLittleEndian).images
    # Whether it can be kept is decided later: `test_relay`.
    assert {row[0] for row in conformance.rows("requests")} - seen == {"0000", "0110"}


def test_the_failure_reasons_of_a_report_are_those_of_the_statement() -> None:
    judged: list[tuple[Mapping[UUID, str | None], str]] = [
        ({WHOLE: CT}, CT),
        ({}, CT),
        ({WHOLE: CT}, str(MRImageStorage)),
        ({uuid4(): CT}, CT),
    ]
    images = [Copies._judged(Referenced(name, "1.2.3"), files, {WHOLE: ""}) for files, name in judged]
    assert images[0].failure == COMMITTED
    _, report = document("1.2.3", images)
    reasons = {f"{item.FailureReason:04X}" for item in report.FailedSOPSequence}
    assert reasons == {row[0] for row in conformance.rows("reasons")}
