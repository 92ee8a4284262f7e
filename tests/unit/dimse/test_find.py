"""C-FIND: what is asked of the catalog, and how it is answered (DICOM PS3.4 C.4.1)."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.dimse_primitives import C_FIND
from pynetdicom.dsutils import encode

from hapacs_node.query.spoken import spoken
from tests.unit.dimse.archive import Archive, study
from tests.unit.dimse.conftest import FIND, Outcome, call, key

type Serve = Callable[..., int]


def find(port: int, identifier: Dataset, syntax: str = ExplicitVRLittleEndian) -> list[Outcome]:
    association = call(port, contexts=[build_context(FIND, syntax)])
    assert association.is_established
    answers = list(association.send_c_find(identifier, FIND))
    association.release()
    return answers


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_answers_have_the_attributes_that_were_asked_for(archive: Archive, serve: Serve, syntax: str) -> None:
    archive.found = [study("1.2.3", PatientName="Müller^Jürgen", StudyDate="20240315", PatientSex="M")]
    (status, answer), (last, _) = find(serve(), key("STUDY", StudyInstanceUID="", PatientName=""), syntax)
    assert (status.Status, last.Status) == (0xFF00, 0x0000)
    assert answer is not None
    assert (answer.StudyInstanceUID, answer.PatientName) == ("1.2.3", "Müller^Jürgen")
    assert (answer.RetrieveAETitle, answer.SpecificCharacterSet) == ("HAPACS_QR", "ISO_IR 192")
    assert "StudyDate" not in answer


@pytest.mark.parametrize("characters", ["ISO_IR 100", "ISO_IR 192"])
def test_a_key_is_read_in_its_character_set(archive: Archive, serve: Serve, characters: str) -> None:
    find(serve(), key("STUDY", SpecificCharacterSet=characters, PatientName="MÜLLER*"))
    (criterion,) = archive.searches[0].criteria
    assert (criterion.path, criterion.values) == ("00100010", ("muller%",))


@pytest.mark.parametrize(
    ("asked", "name", "spoken"),
    [
        ("ISO_IR 100", "Müller^Jürgen", "ISO_IR 100"),
        ("ISO 2022 IR 100", "Müller^Jürgen", "ISO 2022 IR 100"),
        ("ISO_IR 100", "Иванов^Пётр", "ISO_IR 192"),
        ("ISO_IR 144", "Иванов^Пётр", "ISO_IR 144"),
        ("GB18030", "王^小东", "GB18030"),
        ("ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ", "ISO_IR 13"),
        ("ISO_IR 13", "山田^太郎", "ISO_IR 192"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう", ["", "ISO 2022 IR 87"]),
        (["", "ISO 2022 IR 87"], "Müller^漢", "ISO_IR 192"),
        (["", "ISO 2022 IR 159"], "Aida^Hiroshi=麤^麤", ["", "ISO 2022 IR 159"]),
        (["", "ISO 2022 IR 159"], "Yamada^Tarou=山田^太郎", "ISO_IR 192"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동", ["", "ISO 2022 IR 149"]),
        (["", "ISO 2022 IR 58"], "Zhang^XiaoDong=张^小东", ["", "ISO 2022 IR 58"]),
        (
            ["ISO 2022 IR 6", "ISO 2022 IR 126", "ISO 2022 IR 100"],
            "Müller^Διον",
            ["ISO 2022 IR 6", "ISO 2022 IR 126", "ISO 2022 IR 100"],
        ),
        (["", "no such"], "Müller^Jürgen", "ISO_IR 192"),
        ("ISO 2022 IR 87", "山田^太郎", "ISO_IR 192"),
        (None, "Müller^Jürgen", "ISO_IR 192"),
    ],
)
def test_answers_are_in_the_callers_character_set_if_it_has_all_characters(
    archive: Archive, serve: Serve, asked: str | list[str] | None, name: str, spoken: str | list[str]
) -> None:
    archive.found = [study("1.2.3", PatientName=name, StudyDescription="Schädel" if "ü" in name else "Skull")]
    declared = {} if asked is None else {"SpecificCharacterSet": asked}
    identifier = key("STUDY", PatientName="", StudyDescription="", **declared)
    (_, answer), _ = find(serve(), identifier)
    assert answer is not None
    assert (answer.SpecificCharacterSet, str(answer.PatientName)) == (spoken, name)
    assert answer.StudyDescription in {"Schädel", "Skull"}


def test_an_empty_one_of_several_names_says_nothing_about_the_character_set() -> None:
    names: dict[str, Any] = {"vr": "PN", "Value": [None, {"Alphabetic": "Müller"}]}
    item: dict[str, Any] = {"vr": "SQ", "Value": [{"00081030": {"vr": "LO", "Value": [None, "Шмидт"]}}]}
    assert spoken({"00101001": names}, "ISO_IR 100") == ["ISO_IR 100"]
    assert spoken({"00101001": names, "00081110": item}, "ISO_IR 100") == ["ISO_IR 192"]
    assert spoken({"00101001": names, "00081110": item}, "ISO 2022 IR 100\\ISO 2022 IR 144") == [
        "ISO 2022 IR 100",
        "ISO 2022 IR 144",
    ]


def test_keys_inside_of_sequences_restrict_the_search(archive: Archive, serve: Serve) -> None:
    code = Dataset()
    code.CodeValue = "CTHEAD"
    find(serve(), key("STUDY", ProcedureCodeSequence=[code], StudyDate="20240101-20241231", InstanceNumber=None))
    paths = {one.path: one for one in archive.searches[0].criteria}
    assert paths["00081032.00080100"].values == ("CTHEAD",)
    assert paths["00080020"].span == ("20240101", "20241231")
    assert len(paths) == 2


def test_an_ignored_key_is_said_by_the_status(archive: Archive, serve: Serve) -> None:
    archive.found = [study("1.2.3")]
    (status, _), (last, _) = find(serve(), key("STUDY", StudyInstanceUID="", RequestedContrastAgent="none"))
    assert (status.Status, last.Status) == (0xFF01, 0x0000)


def test_more_answers_than_the_limit_are_out_of_resources(archive: Archive, serve: Serve) -> None:
    archive.found = [study(f"1.2.{number}") for number in range(5)]
    *answers, (last, _) = find(serve(results=3), key("STUDY", StudyInstanceUID=""))
    assert (len(answers), last.Status) == (3, 0xA700)
    assert "restrict" in last.ErrorComment


@pytest.mark.parametrize("level", ["", "ROOM"])
def test_an_unknown_level_is_a900(serve: Serve, level: str) -> None:
    [(status, _)] = find(serve(), key(level, StudyInstanceUID=""))
    assert status.Status == 0xA900


def test_a_database_without_a_leader_is_a_failure(archive: Archive, serve: Serve) -> None:
    archive.down = True
    [(status, _)] = find(serve(), key("STUDY", StudyInstanceUID=""))
    assert status.Status == 0xC001


def test_garbage_in_place_of_an_identifier_is_a900_and_ends_nothing(archive: Archive, serve: Serve) -> None:
    archive.found = [study("1.2.3")]
    association = call(serve(), FIND)
    good = encode(key("STUDY", StudyInstanceUID=""), False, True)
    assert good is not None
    for content, expected in ((b"\x08\x00\x52\x00CS\xff\xff" + b"x" * 9, 0xA900), (good, 0xFF00)):
        request = C_FIND()
        request.MessageID, request.AffectedSOPClassUID, request.Priority = 7, FIND, 2
        request.Identifier = BytesIO(content)
        association._reactor_checkpoint.clear()
        association.dimse.send_msg(request, 1)
        _, answer = association.dimse.get_msg(block=True)
        assert isinstance(answer, C_FIND)
        assert answer.Status == expected
    association.abort()


def test_a_find_is_cancelled(archive: Archive, serve: Serve) -> None:
    archive.found = [study(f"1.2.{number}") for number in range(2000)]
    association = call(serve(), FIND)
    received = []
    for status, _ in association.send_c_find(key("STUDY", StudyInstanceUID=""), FIND, msg_id=3):
        received.append(status.Status)
        if len(received) == 1:
            association.send_c_cancel(3, query_model=FIND)
    association.release()
    assert received[-1] == 0xFE00
    assert len(received) < 2000
