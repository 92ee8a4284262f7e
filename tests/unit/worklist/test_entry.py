"""Entries of the worklist are checked before they are kept (PS3.4 table K.6-1)."""

import json
from contextlib import suppress
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hapacs_node.errors import BadRequestError
from hapacs_node.worklist.entry import Entry
from tests.support.scheduled import document

STEPS = "00400100"


def read(made: dict[str, Any]) -> Entry:
    return Entry.of(json.dumps(made).encode())


def test_an_entry_is_kept_as_it_was_sent_in_utf_8() -> None:
    made = document()
    assert read({**made, "00080005": {"vr": "CS", "Value": ["ISO_IR 100"]}}).document == made


def test_the_name_is_that_of_study_and_step() -> None:
    first = read(document(StudyInstanceUID="1.2.3"))
    assert read(document({"ScheduledStationAETitle": "CT2"}, StudyInstanceUID="1.2.3")).name == first.name
    assert read(document({"ScheduledProcedureStepID": "S2"}, StudyInstanceUID="1.2.3")).name != first.name
    assert read(document(StudyInstanceUID="1.2.4")).name != first.name
    assert first.starts == date(2030, 1, 5)


@pytest.mark.parametrize("keyword", ["PatientName", "PatientID", "StudyInstanceUID", "RequestedProcedureID"])
def test_an_attribute_that_every_answer_needs_is_demanded(keyword: str) -> None:
    for value in (None, ""):
        with pytest.raises(BadRequestError, match=f"^{keyword} must have a value"):
            read(document(None, **{keyword: value}))


@pytest.mark.parametrize(
    "keyword",
    [
        "ScheduledStationAETitle",
        "ScheduledProcedureStepStartDate",
        "ScheduledProcedureStepStartTime",
        "Modality",
        "ScheduledProcedureStepID",
    ],
)
def test_an_attribute_that_every_step_needs_is_demanded(keyword: str) -> None:
    with pytest.raises(BadRequestError, match=f"^{keyword} must have a value"):
        read(document({keyword: None}))


def wrong(change: dict[str, Any]) -> dict[str, Any]:
    return {**document(), **change}


@pytest.mark.parametrize(
    ("made", "named"),
    [
        ([], "object"),
        (wrong({STEPS: {"vr": "SQ", "Value": []}}), "ScheduledProcedureStepSequence"),
        (wrong({STEPS: {"vr": "SQ", "Value": document()[STEPS]["Value"] * 2}}), "ScheduledProcedureStepSequence"),
        (wrong({STEPS: {"vr": "SQ", "Value": "x"}}), "ScheduledProcedureStepSequence"),
        (wrong({"PatientName": {"vr": "PN", "Value": ["x"]}}), "eight hexadecimal digits"),
        (wrong({"00100010": {"vr": "PN", "Value": ["Secret^Name"]}}), "PatientName"),
        (wrong({"00100010": {"vr": "PN", "Value": [{"Roman": "Secret"}]}}), "PatientName"),
        (wrong({"00100020": {"vr": "LO", "Value": [{"Secret": "Secret"}]}}), "PatientID"),
        (wrong({"00104000": {"vr": "LT", "BulkDataURI": "http://elsewhere"}}), "PatientComments"),
        (wrong({"00420011": {"vr": "OB", "Value": ["Secret"]}}), "EncapsulatedDocument"),
        (wrong({"00100020": {"vr": "XX", "Value": ["Secret"]}}), "PatientID"),
        (wrong({"00281052": {"vr": "DS", "Value": ["Secret"]}}), "encoded"),
        (wrong({"00020010": {"vr": "UI", "Value": ["1.2"]}}), "eight hexadecimal digits"),
        (wrong({"0020000D": {"vr": "UI", "Value": ["Secret"]}}), "StudyInstanceUID"),
        (document({"ScheduledProcedureStepStartDate": "2030-01-05"}), "ScheduledProcedureStepStartDate"),
        (document({"ScheduledProcedureStepStartDate": "20301305"}), "ScheduledProcedureStepStartDate"),
        (document({"ScheduledProcedureStepStartTime": "10:30"}), "ScheduledProcedureStepStartTime"),
    ],
)
def test_what_can_not_be_sent_is_refused_without_its_values(made: Any, named: str) -> None:
    with pytest.raises(BadRequestError, match=named) as refused:
        read(made)
    assert "Secret" not in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"\xff", b"[" * 60_000, b'{"00100010": ', b"NaN", b"null"])
def test_what_is_no_object_in_json_is_refused(content: bytes) -> None:
    with pytest.raises(BadRequestError):
        Entry.of(content)


def test_items_inside_of_items_are_limited() -> None:
    made = document()
    deep: dict[str, Any] = {"vr": "SQ", "Value": [{}]}
    for _ in range(20):
        deep = {"vr": "SQ", "Value": [{"0040A730": deep}]}
    with pytest.raises(BadRequestError, match="8 levels"):
        read({**made, "0040A730": deep})


@settings(max_examples=60, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda one: st.lists(one) | st.dictionaries(
    st.sampled_from(["vr", "Value", "00100010", "Alphabetic", STEPS, "00281052"]), one)))  # fmt: skip
def test_anything_is_refused_or_taken(value: Any) -> None:
    for made in (value, wrong({"00280010": value}), wrong({"00281052": {"vr": "DS", "Value": value}})):
        with suppress(BadRequestError):
            assert read(made).starts == date(2030, 1, 5)
