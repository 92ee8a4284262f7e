"""Searches by QIDO-RS and C-FIND over images that a node stored, on a real PostgreSQL."""

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
from pydicom import Dataset
from pydicom.datadict import keyword_dict
from pydicom.uid import generate_uid

from hapacs_node.catalog.removals import Removal
from hapacs_node.node import Node
from hapacs_node.query import web
from hapacs_node.query.cfind import Finder, Path
from hapacs_node.query.qido import Request
from tests.storage.servers import Postgres
from tests.support.images import ct

type Answers = list[dict[str, Any]]
GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
NAMES = {
    "ISO_IR 100": "Müller^Jürgen",
    "ISO_IR 101": "Dvořák^Jiří",
    "ISO_IR 126": "Παπαδόπουλος^Γιώργος",
    "ISO_IR 127": "قباني^لنزار",
    "ISO_IR 138": "שרון^דבורה",
    "ISO_IR 144": "Иванов^Пётр",
    "ISO_IR 148": "Çavuşoğlu^Gül",
    "ISO_IR 166": "ประยุทธ์^สมชาย",
    "GB18030": "王^小东",
    "ISO_IR 192": "山田^太郎",
    "\\ISO 2022 IR 87": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "ISO 2022 IR 13\\ISO 2022 IR 87": "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    "\\ISO 2022 IR 159": "Aida^Hiroshi=麤^麤",
    "\\ISO 2022 IR 149": "Hong^Gildong=洪^吉洞=홍^길동",
    "\\ISO 2022 IR 58": "Zhang^XiaoDong=张^小东",
    "ISO 2022 IR 6\\ISO 2022 IR 126\\ISO 2022 IR 100": "Müller^Διον",
    "ISO_IR 109": "Ĉapek^Ĝi",
    "ISO_IR 110": "Bērziņš^Jānis",
    "ISO_IR 203": "Cœur^Žan",
    "ISO_IR 13": "ﾔﾏﾀﾞ^ﾀﾛｳ",
    "GBK": "王^小東",
}


# PS3.5 annexes I and K: after each delimiter the escape sequence comes again.
ESCAPED = {
    "ISO 2022 IR 149": b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
    "ISO 2022 IR 58": b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab",
}


@pytest.fixture
def store(node: Node, postgres: Postgres) -> Callable[..., str]:
    """Store an image as Orthanc does, and return its attachment."""

    def store(content: bytes) -> str:
        name = str(uuid4())
        node.storage.create(name, 1, content)
        with postgres.connect() as connection:
            connection.execute("insert into attachedfiles (id, filetype, uuid) values (1, 1, %s)", [name])
        return name

    return store


@pytest.fixture
def qido(node: Node) -> Callable[[str], Answers]:
    def ask(target: str) -> Answers:
        request = Request.of(f"/dicom-web/{target}")
        assert request is not None
        found: Answers = json.loads(web.reply(request, node.storage.catalog.search, "pacs.example", "HAPACS_QR").body)
        return found

    return ask


def warnings(target: str) -> tuple[str, ...]:
    request = Request.of(f"/dicom-web/{target}")
    assert request is not None
    return request.warnings


@pytest.mark.parametrize(("characters", "name"), NAMES.items())
def test_a_name_of_any_character_set_is_found_and_returned(
    characters: str, name: str, store: Callable[..., str], qido: Callable[[str], Answers], node: Node
) -> None:
    study = generate_uid()
    declared = characters.split("\\") if "\\" in characters else characters
    store(ct(SpecificCharacterSet=declared, PatientName=name, StudyInstanceUID=study))
    [found] = qido(f"studies?StudyInstanceUID={study}&PatientName={quote(name)}")
    groups = found["00100010"]["Value"][0]
    assert [groups[group] for group in GROUPS[: len(groups)]] == name.split("=")
    [part] = qido(f"studies?0020000D={study}&00100010={quote(name.rpartition('=')[2][:2].swapcase())}*")
    assert part["0020000D"]["Value"] == [study]
    keys: dict[Path, str] = {(0x00080052,): "STUDY", (0x0020000D,): study, (0x00100010,): ""}
    [answer] = Finder(node.storage.catalog.search).find(keys, "WS", "HAPACS_QR").answers
    assert str(answer.PatientName) == name
    assert answer.SpecificCharacterSet == "ISO_IR 192"


@pytest.mark.parametrize("characters", ESCAPED)
@pytest.mark.parametrize("escaped", [True, False])
def test_a_name_with_or_without_its_escape_sequences_is_found_and_returned(
    characters: str, escaped: bool, store: Callable[..., str], qido: Callable[[str], Answers]
) -> None:
    study = generate_uid()
    raw = ESCAPED[characters] if escaped else re.sub(rb"\x1b\$\)[AC]", b"", ESCAPED[characters])
    placeholder = "X" * (len(raw) + len(raw) % 2)
    made = ct(SpecificCharacterSet=["", characters], PatientName=placeholder, StudyInstanceUID=study)
    store(made.replace(placeholder.encode(), raw.ljust(len(placeholder))))
    name = NAMES[f"\\{characters}"]
    [found] = qido(f"studies?StudyInstanceUID={study}&PatientName={quote(name)}")
    groups = found["00100010"]["Value"][0]
    assert [groups[group] for group in GROUPS[: len(groups)]] == name.split("=")


def test_a_file_without_a_character_set_is_read_in_the_sites_own(
    store: Callable[..., str], qido: Callable[[str], Answers], node: Node
) -> None:
    study = generate_uid()
    content = ct(SpecificCharacterSet="ISO_IR 144", PatientName="Иванов^Пётр", StudyInstanceUID=study)
    # The element is left out; explicit little endian, VR CS, 10 bytes.
    undeclared = content.replace(b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 144", b"")
    assert len(undeclared) == len(content) - 18
    node.storage.undeclared = "ISO_IR 144"
    store(undeclared)
    assert len(qido(f"studies?StudyInstanceUID={study}&PatientName={quote('иванов^петр')}")) == 1


@pytest.mark.parametrize(
    "key",
    [
        "PatientName=m%C3%BCller*", "PatientName=muller%5Ej%3Frgen", "PatientName=%2Argen",
        "StudyDescription=CT%20ABDOMEN",
        "StudyDescription=CT+ABDOMEN", "PatientID=25%2F1", "StudyDate=20240101-20241231", "StudyDate=-20240315",
        "StudyTime=0830", "StudyTime=0800-0900", "Modality=CT", "ModalitiesInStudy=CT", "StationName=CT99",
        "PatientAge=054Y", "PerformingPhysicianName=*", "SeriesNumber=01", "SOPClassUID=1.2.840.10008.5.1.4.1.1.2",
        "RequestAttributesSequence.ScheduledProcedureStepID=S7", "00400275.00400009=S%3F", "Rows=16", "PatientName=",
        "Bogus=1", "NumberOfStudyRelatedInstances=7",
    ],
)  # fmt: skip
def test_a_study_is_found_by_keys_of_any_level(
    key: str, store: Callable[..., str], qido: Callable[[str], Answers]
) -> None:
    step = Dataset()
    step.ScheduledProcedureStepID = "S7"
    study = generate_uid()
    attributes = {"PatientName": "Müller^Jürgen", "StudyDescription": "CT ABDOMEN", "PatientID": "25/1"}
    store(ct(StudyInstanceUID=study, RequestAttributesSequence=[step], **attributes))
    assert [one["0020000D"]["Value"] for one in qido(f"studies?StudyInstanceUID={study}&{key}")] == [[study]]


@pytest.mark.parametrize(
    "key",
    [
        "PatientName=M%C3%BCller", "PatientName=%25", "StudyDescription=ct%20abdomen",
        "StudyDate=20240316-", "Modality=MR",
        "ModalitiesInStudy=MR", "PatientAge=055Y", "Rows=17", "RequestAttributesSequence.ScheduledProcedureStepID=S8",
        "SOPInstanceUID=1.2",
    ],
)  # fmt: skip
def test_a_study_is_not_found_by_a_key_that_differs(
    key: str, store: Callable[..., str], qido: Callable[[str], Answers]
) -> None:
    study = generate_uid()
    store(ct(StudyInstanceUID=study, PatientName="Müller^Jürgen", StudyDescription="CT ABDOMEN"))
    assert qido(f"studies?StudyInstanceUID={study}&{key}") == []


def test_several_studies_are_named_by_a_list_in_any_encoding(
    store: Callable[..., str], qido: Callable[[str], Answers]
) -> None:
    first, second = generate_uid(), generate_uid()
    for study in (first, second):
        store(ct(StudyInstanceUID=study))
    for comma in (",", "%2C", "%2c", "%5C"):
        assert len(qido(f"studies?StudyInstanceUID={first}{comma}{second}")) == 2


def test_answers_have_the_required_attributes(store: Callable[..., str], qido: Callable[[str], Answers]) -> None:
    study, series = generate_uid(), generate_uid()
    store(ct(StudyInstanceUID=study, SeriesInstanceUID=series, InstanceNumber=2))
    store(ct(StudyInstanceUID=study, SeriesInstanceUID=series, InstanceNumber=1))
    store(ct(StudyInstanceUID=study, Modality="MR"))
    [found] = qido(f"studies?StudyInstanceUID={study}")
    assert found["00080061"]["Value"] == ["CT", "MR"]
    assert (found["00201206"]["Value"], found["00201208"]["Value"]) == ([2], [3])
    assert found["00081190"]["Value"] == [f"https://pacs.example/dicom-web/studies/{study}"]
    assert (found["00080054"]["Value"], found["00080056"]["Value"]) == (["HAPACS_QR"], ["ONLINE"])
    assert found["00080050"] == {"vr": "SH"}
    assert "00101010" not in found
    [ours] = [one for one in qido(f"studies/{study}/series") if one["0020000E"]["Value"] == [series]]
    assert ours["00201209"]["Value"] == [2]
    images = qido(f"studies/{study}/series/{series}/instances?includefield=PatientAge%2CStationName")
    assert [image["00200013"]["Value"] for image in images] == [[1], [2]]
    for tag in ("00280010", "00280011", "00280100", "00080016", "00101010", "00081010"):
        assert images[0][tag]["Value"]
    everything = qido(f"studies/{study}/instances?includefield=all")
    assert len(everything) == 3
    assert set(images[0]) - {"00201209"} <= set(everything[0])


def test_the_newest_studies_come_first_and_in_pages(store: Callable[..., str], qido: Callable[[str], Answers]) -> None:
    patient = f"P{uuid4().hex[:8]}"
    for day in ("20240101", "20240301", "20240201"):
        store(ct(PatientID=patient, StudyDate=day))

    def days(page: str) -> list[str]:
        return [one["00080020"]["Value"][0] for one in qido(f"studies?PatientID={patient}{page}")]

    assert days("") == ["20240301", "20240201", "20240101"]
    assert days("&limit=2") == ["20240301", "20240201"]
    assert days("&limit=1&offset=1") == ["20240201"]
    assert days("&offset=2") == ["20240101"]


def test_what_is_ignored_is_said() -> None:
    assert warnings("studies?PatientName=x") == ()
    assert len(warnings("studies?Bogus=1&00091001=2&fuzzymatching=true&includefield=Nonsense")) == 4


def test_a_removed_or_unindexed_image_is_not_found(
    store: Callable[..., str], qido: Callable[[str], Answers], node: Node
) -> None:
    study = generate_uid()
    name = store(ct(StudyInstanceUID=study))
    node.storage.create(str(uuid4()), 1, ct(StudyInstanceUID=f"{study}.1"))
    assert qido(f"studies?StudyInstanceUID={study}.1") == []
    assert len(qido(f"studies?StudyInstanceUID={study}")) == 1
    node.storage.remove(name, 1, Removal("removed"))
    assert qido(f"studies?StudyInstanceUID={study}") == []
    assert qido(f"studies/{study}/instances") == []


def test_a_correction_that_is_sent_again_is_found(store: Callable[..., str], qido: Callable[[str], Answers]) -> None:
    study = generate_uid()
    store(ct(StudyInstanceUID=study, PatientName="Wrong^Name"))
    store(ct(StudyInstanceUID=study, PatientName="Right^Name"))
    assert qido(f"studies?StudyInstanceUID={study}&PatientName=Wrong*") == []
    assert len(qido(f"studies?StudyInstanceUID={study}&PatientName=Right*")) == 1


def test_c_find_answers_each_level(store: Callable[..., str], node: Node) -> None:
    study, patient = generate_uid(), f"P{uuid4().hex[:8]}"
    store(ct(StudyInstanceUID=study, PatientID=patient))
    store(ct(StudyInstanceUID=study, PatientID=patient, Modality="MR"))

    def find(level: str, **keys: str) -> list[Any]:
        asked: dict[Path, str] = {
            (0x00080052,): level,
            **{(keyword_dict[name],): value for name, value in keys.items()},
        }
        return list(Finder(node.storage.catalog.search).find(asked, "WS", "HAPACS_QR").answers)

    assert [one.PatientID for one in find("PATIENT", PatientID=patient, PatientName="")] == [patient]
    [one] = find("STUDY", PatientID=patient, Modality="CT", ModalitiesInStudy="", NumberOfStudyRelatedSeries="")
    assert (list(one.ModalitiesInStudy), one.NumberOfStudyRelatedSeries) == (["CT", "MR"], 2)
    [one] = find("SERIES", StudyInstanceUID=study, Modality="MR", SeriesInstanceUID="")
    [image] = find("IMAGE", StudyInstanceUID=study, SeriesInstanceUID=one.SeriesInstanceUID, Rows="")
    assert image.Rows == 16
