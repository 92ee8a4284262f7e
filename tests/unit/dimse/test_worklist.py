"""The worklist's own title, asked by pynetdicom (DICOM PS3.4 K)."""

import json
from collections.abc import Callable, Sequence

import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import build_context

from hapacs_node.errors import CatalogUnavailableError
from hapacs_node.query.dicom_json import Json
from hapacs_node.worklist.entry import Entry
from hapacs_node.worklist.find import WorklistFinder
from tests.support.refusal import refusal
from tests.support.scheduled import document
from tests.unit.dimse.conftest import FIND, GET, MOVE, READING, WAIT_S, WORKLIST_TITLE, call
from tests.unit.docs import conformance

type Serve = Callable[..., int]
WORKLIST, VERIFICATION = "1.2.840.10008.5.1.4.31", "1.2.840.10008.1.1"


def kept(step: dict[str, object] | None = None, **attributes: object) -> Json:
    return Entry.of(json.dumps(document(step, **attributes)).encode()).document


ENTRIES = [
    kept(PatientName="Müller^Jörg", AccessionNumber="A1"),
    kept({"ScheduledStationAETitle": "MR1", "Modality": "MR"}, PatientName="Meier^Anna", AccessionNumber="A2"),
    kept({"ScheduledProcedureStepStartDate": "20300106", "ScheduledProcedureStepStartTime": "0915"},
         PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう", AccessionNumber="A3"),
]  # fmt: skip


def asked(step: dict[str, str] | None = None, **keys: str) -> Dataset:
    """Make an identifier as a modality does: keys of the step inside of the sequence."""
    made, item = Dataset(), Dataset()
    for dataset, values in (
        (item, {"ScheduledStationAETitle": "", "ScheduledProcedureStepStartDate": "", "Modality": "", **(step or {})}),
        (made, {"PatientName": "", "PatientID": "", "AccessionNumber": "", "StudyInstanceUID": "", **keys}),
    ):
        for keyword, value in values.items():
            setattr(dataset, keyword, value)
    made.ScheduledProcedureStepSequence = [item]
    return made


def find(port: int, identifier: Dataset) -> tuple[list[Dataset], int]:
    association = call(port, WORKLIST, called=WORKLIST_TITLE)
    assert association.is_established
    *pending, (last, _) = association.send_c_find(identifier, WORKLIST)
    association.release()
    assert {status.Status for status, _ in pending} <= {0xFF00}
    return [answer for _, answer in pending if answer is not None], int(last.Status)


def numbers(answers: Sequence[Dataset]) -> list[str]:
    return [str(answer.AccessionNumber) for answer in answers]


@pytest.fixture
def port(serve: Serve) -> int:
    return serve(worklist=WorklistFinder(lambda: ENTRIES))


@pytest.mark.parametrize(
    ("step", "keys", "expected"),
    [
        ({}, {}, ["A1", "A2", "A3"]),
        ({"ScheduledStationAETitle": "MR1"}, {}, ["A2"]),
        ({"ScheduledStationAETitle": " CT1 "}, {}, ["A1", "A3"]),
        ({"ScheduledStationAETitle": "XR1"}, {}, []),
        ({"Modality": "CT"}, {}, ["A1", "A3"]),
        ({"Modality": "CT\\MR"}, {}, ["A1", "A2", "A3"]),
        ({"ScheduledProcedureStepStartDate": "20300105"}, {}, ["A1", "A2"]),
        ({"ScheduledProcedureStepStartDate": "20300106-"}, {}, ["A3"]),
        ({"ScheduledProcedureStepStartDate": "-20300105"}, {}, ["A1", "A2"]),
        ({"ScheduledProcedureStepStartDate": "20300105", "ScheduledProcedureStepStartTime": "1000-1100"}, {},
         ["A1", "A2"]),
        # Both are ranges: one period, from ten on the first day to ten on the second one (PS3.4 table K.6-1).
        ({"ScheduledProcedureStepStartDate": "20300105-20300106", "ScheduledProcedureStepStartTime": "1000-1000"}, {},
         ["A1", "A2", "A3"]),
        ({"ScheduledProcedureStepStartDate": "20300105-20300106", "ScheduledProcedureStepStartTime": "1100-0900"}, {},
         []),
        ({"ScheduledProcedureStepStartTime": "0900-1000"}, {}, ["A3"]),
        ({}, {"PatientName": "muller*"}, ["A1"]),
        ({}, {"PatientName": "M?ier^Anna"}, ["A2"]),
        ({}, {"PatientName": "山田^太郎"}, ["A3"]),
        ({}, {"AccessionNumber": "A[12]"}, []),
        ({}, {"AccessionNumber": "*2"}, ["A2"]),
        ({}, {"PatientID": "%"}, []),
        ({"Modality": "MR"}, {"PatientName": "Müller*"}, []),
        ({}, {"ReferringPhysicianName": "Nobody"}, []),
    ],
)  # fmt: skip
def test_entries_match_by_the_keys(port: int, step: dict[str, str], keys: dict[str, str], expected: list[str]) -> None:
    identifier = asked(step, **keys)
    identifier.SpecificCharacterSet = "ISO_IR 192"
    answers, last = find(port, identifier)
    assert (numbers(answers), last) == (expected, 0x0000)


def test_an_answer_has_what_was_asked_for_and_nothing_else(port: int) -> None:
    identifier = asked({"ScheduledProcedureStepID": ""}, AccessionNumber="A1", ReferringPhysicianName="")
    (answer,), _ = find(port, identifier)
    assert {element.keyword for element in answer} == {element.keyword for element in identifier} | {
        "SpecificCharacterSet"
    }
    (step,) = answer.ScheduledProcedureStepSequence
    assert {element.keyword: element.value for element in step} == {
        "Modality": "CT",
        "ScheduledStationAETitle": "CT1",
        "ScheduledProcedureStepStartDate": "20300105",
        "ScheduledProcedureStepID": "S1",
    }
    assert (answer.PatientName, answer.ReferringPhysicianName) == ("Müller^Jörg", "")


def test_a_sequence_without_an_item_asks_for_all_of_it(port: int) -> None:
    identifier = Dataset()
    identifier.AccessionNumber, identifier.ScheduledProcedureStepSequence = "A1", []
    (answer,), _ = find(port, identifier)
    assert answer.ScheduledProcedureStepSequence[0].ScheduledProcedureStepDescription == "CT of the field"


@pytest.mark.parametrize(
    ("wanted", "number", "spoken"),
    [
        ("ISO_IR 100", "A1", "ISO_IR 100"),
        ("ISO_IR 100", "A3", "ISO_IR 192"),
        ("ISO_IR 192", "A1", "ISO_IR 192"),
        ("", "A1", "ISO_IR 192"),
        ("ISO_IR 6", "A1", "ISO_IR 192"),
        ("no such", "A1", "ISO_IR 192"),
    ],
)
def test_answers_are_in_the_character_set_of_the_caller_if_it_has_all_characters(
    port: int, wanted: str, number: str, spoken: str
) -> None:
    identifier = asked(AccessionNumber=number)
    if wanted:
        identifier.SpecificCharacterSet = wanted
    (answer,), _ = find(port, identifier)
    name = next(one for one in ENTRIES if one["00080050"]["Value"] == [number])["00100010"]["Value"][0]
    assert (answer.SpecificCharacterSet, str(answer.PatientName).split("=")[0]) == (spoken, name["Alphabetic"])


def test_each_title_has_its_own_services(port: int) -> None:
    found = {}
    for title in (WORKLIST_TITLE, "HAPACS_QR"):
        association = call(port, VERIFICATION, WORKLIST, FIND, GET, MOVE, called=title)
        found[title] = {str(one.abstract_syntax) for one in association.accepted_contexts}
        association.release()
    assert found == {WORKLIST_TITLE: {VERIFICATION, WORKLIST}, "HAPACS_QR": {VERIFICATION, FIND, GET, MOVE}}


def test_a_caller_that_may_not_is_refused_the_context(serve: Serve) -> None:
    port = serve(may=frozenset({"echo", "find"}), worklist=WorklistFinder(lambda: ENTRIES))
    association = call(port, VERIFICATION, WORKLIST, called=WORKLIST_TITLE)
    assert {str(one.abstract_syntax): one.result for one in association.rejected_contexts} == {WORKLIST: 1}
    association.release()


def test_a_site_without_a_worklist_has_no_such_title(serve: Serve) -> None:
    assert refusal("127.0.0.1", READING, WORKLIST_TITLE, serve(), WAIT_S) == (1, 1, 7)


def test_the_statuses_are_those_of_the_statement(serve: Serve) -> None:
    seen = {0xFF00}

    def down() -> list[Json]:
        raise CatalogUnavailableError("no leader")

    for finder in (
        WorklistFinder(lambda: ENTRIES),
        WorklistFinder(lambda: ENTRIES, limit=1),
        WorklistFinder(down),
    ):
        seen.add(find(serve(worklist=finder), asked())[1])
    # So many that not all are sent when the C-CANCEL comes.
    port = serve(worklist=WorklistFinder(lambda: ENTRIES * 600))
    association = call(port, called=WORKLIST_TITLE, contexts=[build_context(WORKLIST, ExplicitVRLittleEndian)])
    for status, _ in association.send_c_find(asked(), WORKLIST, msg_id=3):
        if status.Status == 0xFF00:
            association.send_c_cancel(3, query_model=WORKLIST)
        seen.add(status.Status)
    association.release()
    # A900 is an identifier that can't be decoded, which pynetdicom does not send.
    assert {f"{status:04X}" for status in seen} | {"A900"} == {row[0] for row in conformance.rows("worklist-statuses")}


def test_a_key_with_many_wildcards_takes_no_long_time(serve: Serve) -> None:
    entries = [kept(AccessionNumber="a" * 16, PatientID="a" * 64)]
    answers, last = find(serve(worklist=WorklistFinder(lambda: entries)), asked(PatientID="*a" * 31 + "b"))
    assert (answers, last) == ([], 0x0000)
