"""C-MOVE and C-GET: what fails, and what comes all the same (DICOM PS3.4 C.4.2 and C.4.3)."""

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit
from pynetdicom import AllStoragePresentationContexts
from pynetdicom.dsutils import decode

from hapacs_node.correction.patient import Move, of_values
from tests.unit.dimse.archive import CT, SR, Archive, study
from tests.unit.dimse.conftest import GET, MOVE, PATIENT_MOVE, Workstation, call, get, key, move

STUDY = "1.2.3"
EXPLICIT, IMPLICIT = str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian)
type Serve = Callable[..., int]


def counts(status: Dataset) -> tuple[int, ...]:
    """Completed, failed and warning sub-operations."""
    return tuple(int(status[f"NumberOf{kind}Suboperations"].value) for kind in ("Completed", "Failed", "Warning"))


def failed(identifier: Dataset | None) -> list[str]:
    assert identifier is not None
    value = identifier.FailedSOPInstanceUIDList
    return [value] if isinstance(value, str) else list(value)


def test_a_move_goes_on_after_a_class_that_the_destination_does_not_take(
    archive: Archive, serve: Serve, receive: Serve, workstation: Workstation
) -> None:
    first, *reports = [archive.add(STUDY, name) for name in (CT, SR, SR)]
    images = [first, *(archive.add(STUDY) for _ in range(4))]
    status, identifier = move(serve(receive((CT, EXPLICIT))), key("STUDY", StudyInstanceUID=STUDY))
    assert status.Status == 0xB000
    assert counts(status) == (5, 2, 0)
    assert "NumberOfRemainingSuboperations" not in status
    assert failed(identifier) == [one.sop for one in reports]
    assert workstation.sops == [one.sop for one in images]
    assert {request.MoveOriginatorApplicationEntityTitle for request in workstation.requests} == {"READING"}
    assert {request.MoveOriginatorMessageID for request in workstation.requests} == {1}
    assert workstation.associations == 1


def test_what_is_sent_are_the_bytes_that_are_stored(
    archive: Archive, serve: Serve, receive: Serve, workstation: Workstation
) -> None:
    # More than one PDU of the destination.
    image = archive.add(STUDY, PixelData=bytes(range(256)) * 200)
    move(serve(receive((CT, EXPLICIT))), key("STUDY", StudyInstanceUID=STUDY))
    assert image.object is not None
    assert archive.contents[image.object.uuid].endswith(workstation.datasets[0])
    assert decode(BytesIO(workstation.datasets[0]), False, True).SOPInstanceUID == image.sop


def test_a_moved_study_is_sent_with_its_patient_and_what_can_not_be_corrected_is_one_failure(
    archive: Archive, serve: Serve, receive: Serve, workstation: Workstation
) -> None:
    moved = Move(of_values({"PatientID": "R7", "PatientName": "Right^Person"}), "20261129204300+0000")
    images = [replace(archive.add(STUDY), move=moved) for _ in range(2)]
    archive.images = images
    damaged = images[1].object
    assert damaged is not None
    archive.contents[damaged.uuid] = archive.contents[damaged.uuid][:200]
    status, identifier = move(serve(receive((CT, EXPLICIT))), key("STUDY", StudyInstanceUID=STUDY))
    assert (status.Status, counts(status), failed(identifier)) == (0xB000, (1, 1, 0), [images[1].sop])
    (sent,) = workstation.datasets
    read = decode(BytesIO(sent), False, True)
    assert (read.PatientID, read.SOPInstanceUID) == ("R7", images[0].sop)
    assert read.OriginalAttributesSequence[0].ModifiedAttributesSequence[0].PatientID == "FT1"


@pytest.mark.parametrize(("answer", "expected"), [(0xA700, (3, 1, 0)), (0xC123, (3, 1, 0)), (0xB007, (3, 0, 1))])
def test_an_image_that_is_answered_with_another_status_is_counted_by_it(  # noqa: PLR0917 - fixtures
    archive: Archive, serve: Serve, receive: Serve, workstation: Workstation, answer: int, expected: tuple[int, ...]
) -> None:
    images = [archive.add(STUDY) for _ in range(4)]
    workstation.answers = lambda event: answer if event.request.AffectedSOPInstanceUID == images[1].sop else 0
    status, identifier = move(serve(receive((CT, EXPLICIT))), key("STUDY", StudyInstanceUID=STUDY))
    assert (status.Status, counts(status)) == (0xB000, expected)
    assert workstation.sops == [one.sop for one in images]
    if expected[1]:
        assert failed(identifier) == [images[1].sop]


def test_images_after_one_at_which_the_destination_aborts_come(
    archive: Archive, serve: Serve, receive: Serve, workstation: Workstation
) -> None:
    images = [archive.add(STUDY) for _ in range(4)]

    def answer(event: Any) -> int:
        if event.request.AffectedSOPInstanceUID == images[1].sop:
            event.assoc.abort()
        return 0

    workstation.answers = answer
    status, identifier = move(serve(receive((CT, EXPLICIT))), key("STUDY", StudyInstanceUID=STUDY))
    assert (status.Status, counts(status), failed(identifier)) == (0xB000, (3, 1, 0), [images[1].sop])


def test_a_class_at_which_the_destination_aborts_does_not_stop_the_others(
    archive: Archive, serve: Serve, receive: Serve, workstation: Workstation
) -> None:
    reports = [archive.add(STUDY, SR) for _ in range(5)]
    image = archive.add(STUDY)
    workstation.answers = lambda event: (event.request.AffectedSOPClassUID == SR and event.assoc.abort()) or 0
    status, identifier = move(serve(receive((CT, EXPLICIT), (SR, EXPLICIT))), key("STUDY", StudyInstanceUID=STUDY))
    assert (status.Status, counts(status), failed(identifier)) == (0xB000, (1, 5, 0), [one.sop for one in reports])
    assert workstation.sops[-1] == image.sop


def test_a_destination_that_aborts_each_image_is_given_up(
    archive: Archive, serve: Serve, receive: Serve, workstation: Workstation
) -> None:
    images = [archive.add(STUDY) for _ in range(9)]
    workstation.answers = lambda event: event.assoc.abort() or 0
    status, identifier = move(serve(receive((CT, EXPLICIT))), key("STUDY", StudyInstanceUID=STUDY))
    assert (status.Status, counts(status)) == (0xA702, (0, 9, 0))
    assert failed(identifier) == [one.sop for one in images]
    assert workstation.associations == 3


def test_an_unknown_destination_is_a801(archive: Archive, serve: Serve, closed_port: int) -> None:
    archive.add(STUDY)
    port = serve(closed_port)
    for name in ("NOBODY", "CT1"):
        assert move(port, key("STUDY", StudyInstanceUID=STUDY), name)[0].Status == 0xA801


def test_a_destination_that_is_down_is_a702(archive: Archive, serve: Serve, closed_port: int) -> None:
    images = [archive.add(STUDY) for _ in range(2)]
    status, identifier = move(serve(closed_port), key("STUDY", StudyInstanceUID=STUDY))
    assert (status.Status, counts(status)) == (0xA702, (0, 2, 0))
    assert failed(identifier) == [one.sop for one in images]


def test_no_match_is_success_without_sub_operations(archive: Archive, serve: Serve, closed_port: int) -> None:
    archive.add(STUDY)
    port = serve(closed_port)
    status, _ = move(port, key("STUDY", StudyInstanceUID="9.9"))
    assert (status.Status, counts(status)) == (0x0000, (0, 0, 0))
    status, _ = get(port, key("STUDY", StudyInstanceUID="9.9"), [(CT, [EXPLICIT])], lambda _: 0)
    assert (status.Status, counts(status)) == (0x0000, (0, 0, 0))


def test_a_list_with_an_unknown_uid_gives_the_others(
    archive: Archive, serve: Serve, receive: Serve, workstation: Workstation
) -> None:
    one, other, third = archive.add(STUDY), archive.add(STUDY), archive.add("1.2.4")
    port = serve(receive((CT, EXPLICIT)))
    status, _ = move(port, key("IMAGE", StudyInstanceUID=STUDY, SeriesInstanceUID="", SOPInstanceUID=[one.sop, "9.9"]))
    assert (status.Status, counts(status)) == (0x0000, (1, 0, 0))
    status, _ = move(port, key("STUDY", StudyInstanceUID=["9.9", STUDY, "1.2.4"]))
    assert (status.Status, counts(status)) == (0x0000, (3, 0, 0))
    status, _ = move(port, key("SERIES", StudyInstanceUID=STUDY, SeriesInstanceUID=[other.series, third.series]))
    assert (status.Status, counts(status)) == (0x0000, (1, 0, 0))
    assert workstation.sops == [one.sop, one.sop, other.sop, third.sop, other.sop]


def test_a_patient_is_found_by_the_patient_id_in_the_patient_root_only(
    archive: Archive, serve: Serve, receive: Serve
) -> None:
    archive.add(STUDY)
    archive.found = [study(STUDY)]
    port = serve(receive((CT, EXPLICIT)))
    status, _ = move(port, key("PATIENT", PatientID="P1"), model=PATIENT_MOVE)
    assert (status.Status, counts(status)) == (0x0000, (1, 0, 0))
    assert archive.searches[0].criteria[0].values == ("P1",)
    assert move(port, key("PATIENT", PatientID="P1"), model=MOVE)[0].Status == 0xA900


@pytest.mark.parametrize(
    "identifier", [key("STUDY", StudyInstanceUID=""), key("SERIES", StudyInstanceUID=STUDY), key("ROOM"), key("")]
)
def test_an_identifier_without_its_unique_key_is_a900(serve: Serve, closed_port: int, identifier: Dataset) -> None:
    assert move(serve(closed_port), identifier)[0].Status == 0xA900


def test_a_database_without_a_leader_is_a701(archive: Archive, serve: Serve, closed_port: int) -> None:
    archive.down = True
    assert move(serve(closed_port), key("STUDY", StudyInstanceUID=STUDY))[0].Status == 0xA701


def test_an_image_that_can_not_be_read_is_one_failure(
    archive: Archive, serve: Serve, receive: Serve, workstation: Workstation
) -> None:
    images = [archive.add(STUDY) for _ in range(4)]
    archive.lose(images[1])
    archive.images[2] = replace(images[2], object=None)
    status, identifier = move(serve(receive((CT, EXPLICIT))), key("STUDY", StudyInstanceUID=STUDY))
    assert (status.Status, counts(status)) == (0xB000, (2, 2, 0))
    assert failed(identifier) == [images[1].sop, images[2].sop]
    assert workstation.sops == [images[0].sop, images[3].sop]


def test_an_image_is_transcoded_for_a_destination_that_takes_it_in_no_other_way(
    archive: Archive, serve: Serve, receive: Serve, workstation: Workstation
) -> None:
    plain, packed = archive.add(STUDY), archive.add(STUDY, syntax=JPEG2000Lossless)
    status, _ = move(serve(receive((CT, IMPLICIT))), key("STUDY", StudyInstanceUID=STUDY))
    assert (status.Status, counts(status)) == (0x0000, (2, 0, 0))
    assert workstation.syntaxes == [IMPLICIT, IMPLICIT]
    received = [decode(BytesIO(one), True, True).SOPInstanceUID for one in workstation.datasets]
    assert received == [plain.sop, packed.sop]


def test_an_image_that_can_not_be_transcoded_is_one_failure(
    archive: Archive, serve: Serve, receive: Serve, workstation: Workstation
) -> None:
    archive.transcodes = frozenset()
    packed, plain = archive.add(STUDY, syntax=JPEG2000Lossless), archive.add(STUDY)
    status, identifier = move(serve(receive((CT, EXPLICIT))), key("STUDY", StudyInstanceUID=STUDY))
    assert (status.Status, counts(status), failed(identifier)) == (0xB000, (1, 1, 0), [packed.sop])
    assert workstation.sops == [plain.sop]


def test_what_the_transcoder_leaves_in_another_transfer_syntax_is_not_sent(
    archive: Archive, serve: Serve, receive: Serve, workstation: Workstation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Archive, "transcode", lambda _self, content, _syntax: content)
    archive.add(STUDY)
    status, _ = move(serve(receive((CT, IMPLICIT))), key("STUDY", StudyInstanceUID=STUDY))
    assert (status.Status, counts(status), workstation.sops) == (0xA702, (0, 1, 0), [])


def test_a_compressed_image_is_sent_as_it_is_to_who_takes_it(
    archive: Archive, serve: Serve, receive: Serve, workstation: Workstation
) -> None:
    archive.transcodes = frozenset()
    archive.add(STUDY, syntax=JPEGBaseline8Bit)
    archive.add(STUDY)
    port = serve(receive((CT, EXPLICIT), (CT, JPEGBaseline8Bit)))
    assert move(port, key("STUDY", StudyInstanceUID=STUDY))[0].Status == 0x0000
    assert workstation.syntaxes == [JPEGBaseline8Bit, EXPLICIT]


def test_more_classes_than_an_association_holds_take_another_one(
    archive: Archive, serve: Serve, receive: Serve, workstation: Workstation
) -> None:
    classes = [str(one.abstract_syntax) for one in AllStoragePresentationContexts[:100]]
    images = [archive.add(STUDY, name) for name in classes]
    status, _ = move(serve(receive(*((name, EXPLICIT) for name in classes))), key("STUDY", StudyInstanceUID=STUDY))
    assert (status.Status, counts(status)) == (0x0000, (100, 0, 0))
    assert workstation.sops == [one.sop for one in images]
    assert workstation.associations == 2


def test_a_move_is_cancelled(archive: Archive, serve: Serve, receive: Serve, workstation: Workstation) -> None:
    for _ in range(6):
        archive.add(STUDY)
    association = call(serve(receive((CT, EXPLICIT))), MOVE)

    def answer(_: Any) -> int:
        if len(workstation.requests) == 1:
            association.send_c_cancel(1, query_model=MOVE)
        return 0

    workstation.answers = answer
    *_, (status, _) = association.send_c_move(key("STUDY", StudyInstanceUID=STUDY), "READING", MOVE, msg_id=1)
    association.release()
    assert status.Status == 0xFE00
    assert status.NumberOfRemainingSuboperations == 6 - len(workstation.requests) > 0
    assert counts(status)[0] == len(workstation.requests)


def test_a_get_goes_on_after_a_class_that_the_caller_does_not_take(archive: Archive, serve: Serve) -> None:
    first, report = archive.add(STUDY), archive.add(STUDY, SR)
    images, got = [first, archive.add(STUDY), archive.add(STUDY)], []

    def on_store(event: Any) -> int:
        assert event.request.MoveOriginatorApplicationEntityTitle is None
        got.append(str(event.request.AffectedSOPInstanceUID))
        return 0 if len(got) != 2 else 0xA700

    status, identifier = get(serve(), key("STUDY", StudyInstanceUID=STUDY), [(CT, [EXPLICIT])], on_store)
    assert (status.Status, counts(status)) == (0xB000, (2, 2, 0))
    assert failed(identifier) == [report.sop, images[1].sop]
    assert got == [one.sop for one in images]


def test_a_get_prefers_a_transfer_syntax_that_every_image_can_have(archive: Archive, serve: Serve) -> None:
    archive.add(STUDY, syntax=JPEG2000Lossless)
    archive.add(STUDY)
    got: list[str] = []

    def on_store(event: Any) -> int:
        got.append(str(event.context.transfer_syntax))
        return 0

    proposed = [(CT, [JPEG2000Lossless, IMPLICIT, EXPLICIT])]
    assert get(serve(), key("STUDY", StudyInstanceUID=STUDY), proposed, on_store)[0].Status == 0x0000
    assert got == [EXPLICIT, EXPLICIT]


def test_a_get_is_cancelled(archive: Archive, serve: Serve) -> None:
    for _ in range(6):
        archive.add(STUDY)
    got: list[str] = []

    def on_store(event: Any) -> int:
        got.append(str(event.request.AffectedSOPInstanceUID))
        if len(got) == 2:
            event.assoc.send_c_cancel(1, query_model=GET)
        return 0

    status, _ = get(serve(), key("STUDY", StudyInstanceUID=STUDY), [(CT, [EXPLICIT])], on_store)
    assert (status.Status, len(got), status.NumberOfRemainingSuboperations) == (0xFE00, 2, 4)


def test_the_association_serves_the_next_request_after_a_failure(
    archive: Archive, serve: Serve, closed_port: int
) -> None:
    archive.add(STUDY)
    association = call(serve(closed_port), MOVE)
    for destination, expected in (("NOBODY", 0xA801), ("READING", 0xA702), ("NOBODY", 0xA801)):
        *_, (status, _) = association.send_c_move(key("STUDY", StudyInstanceUID=STUDY), destination, MOVE)
        assert status.Status == expected
    association.release()
