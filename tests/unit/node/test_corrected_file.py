"""Files with the patient of a move: what is replaced, what is kept byte by byte, and what metadata say of it."""

import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_files
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from hapacs_node.correction import original, patient
from hapacs_node.correction.file import corrected
from hapacs_node.correction.patient import Move
from hapacs_node.errors import BadRequestError, UncorrectedError
from hapacs_node.query import dicom_json
from hapacs_node.query.dicom_json import UnreadableError
from hapacs_node.record import identity
from hapacs_node.record.elements import Elements
from tests.support.images import ct

AT = "20261129204300+0000"
RIGHT = patient.of_values({"PatientID": "R7", "PatientName": "Right^Person", "PatientBirthDate": "19800101"})
MOVE = Move(RIGHT, AT)
UNDECLARED = "ISO_IR 100"
# Whole data sets without file meta information, and with broken elements.
UNPARSED = {"ExplVR_BigEndNoMeta", "ExplVR_LitEndNoMeta", "no_meta", "rtplan_truncated", "SC_rgb_jpeg"}
PIXELS = bytes(range(256)) * 2


def wrong(syntax: str = ExplicitVRLittleEndian, *, undefined: bool = False, **attributes: object) -> bytes:
    """Make an image of the wrong patient in a transfer syntax; with sequences of undefined length."""
    made = Dataset()
    for element in dcmread(BytesIO(ct(PatientName="Wrong^Person", PatientID="W1", PatientWeight=80, PixelData=PIXELS))):
        made.add(element)
    other = Dataset()
    other.PatientID = "W2"
    made.OtherPatientIDsSequence = [other]
    made.Allergies = "penicillin"
    made.add_new(0x00091001, "LO", "private")
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    for element in made:
        if element.VR == "SQ":
            element.is_undefined_length = undefined
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = UID(syntax)
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    if syntax == JPEGBaseline8Bit:
        made.PixelData = encapsulate([PIXELS])
        made["PixelData"].is_undefined_length = True
    file = BytesIO()
    made.save_as(file, enforce_file_format=True, implicit_vr=syntax == ImplicitVRLittleEndian,
                 little_endian=syntax != ExplicitVRBigEndian)  # fmt: skip
    return file.getvalue()


def shown(content: bytes) -> dicom_json.Json:
    return dicom_json.of(dicom_json.read(content, UNDECLARED)[0])


def spans(content: bytes, syntax: str) -> dict[int, bytes]:
    """Return the elements after the file meta information as they are encoded."""
    elements = Elements(content, 132)
    while elements.peek() >> 16 == 2:
        elements.next()
    elements = Elements(
        content, elements.at, implicit=syntax == ImplicitVRLittleEndian, big=syntax == ExplicitVRBigEndian
    )
    found = {}
    while elements.at < len(content):
        at = elements.at
        tag, _ = elements.next()
        found[tag] = content[at : elements.at]
    return found


@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, JPEGBaseline8Bit]
)
def test_only_the_patient_is_replaced_and_every_other_element_keeps_its_bytes(syntax: str, undefined: bool) -> None:
    content = wrong(syntax, undefined=undefined)
    made = corrected(content, MOVE, UNDECLARED)
    read = dcmread(BytesIO(made))
    assert (read.PatientID, str(read.PatientName), read.PatientBirthDate) == ("R7", "Right^Person", "19800101")
    assert read["PatientSex"].is_empty
    assert read.PatientWeight == 80
    for keyword in ("OtherPatientIDsSequence", "Allergies", "PatientAge", "IssuerOfPatientID"):
        assert keyword not in read
    before, after = spans(content, syntax), spans(made, syntax)
    kept = {tag for tag in before if not patient.is_patients(f"{tag:08X}")}
    assert 0x7FE00010 in kept
    assert {tag: before[tag] for tag in kept} == {tag: after[tag] for tag in kept}
    assert set(after) - kept == {0x00100010, 0x00100020, 0x00100030, 0x00100040, 0x04000561}
    assert list(after) == sorted(after)
    (item,) = read.OriginalAttributesSequence
    assert (item.ReasonForTheAttributeModification, item.ModifyingSystem) == ("CORRECT", "HAPACS")
    assert item.AttributeModificationDateTime == AT
    assert item["SourceOfPreviousValues"].is_empty
    (modified,) = item.ModifiedAttributesSequence
    assert (modified.PatientID, modified.Allergies) == ("W1", "penicillin")
    assert modified.OtherPatientIDsSequence[0].PatientID == "W2"
    assert shown(made) == original.corrected(shown(content), MOVE)


@pytest.mark.parametrize("undefined", [True, False])
def test_a_second_correction_keeps_the_history_of_the_file(undefined: bool) -> None:
    earlier, values = Dataset(), Dataset()
    values.PatientID = "W0"
    earlier.ModifiedAttributesSequence = [values]
    earlier.ReasonForTheAttributeModification = "COERCE"
    content = wrong(undefined=undefined, OriginalAttributesSequence=[earlier])
    made = corrected(content, MOVE, UNDECLARED)
    reasons = [item.ReasonForTheAttributeModification for item in dcmread(BytesIO(made)).OriginalAttributesSequence]
    assert reasons == ["COERCE", "CORRECT"]
    assert shown(made) == original.corrected(shown(content), MOVE)


@pytest.mark.parametrize(
    ("declared", "name", "written", "expected"),
    [
        ("ISO_IR 100", "Wróng", "Müller^Jürgen", "ISO_IR 100"),
        ("ISO_IR 100", "Mäller", "Иванов^Пётр", "ISO_IR 192"),
        ("ISO_IR 192", "Wróng", "山田^太郎", "ISO_IR 192"),
        # JIS X 0201 has Katakana of half width, and no Kanji: codecs for it know both.
        ("ISO_IR 13", "ｱﾅｶﾞ", "ﾔﾏﾀﾞ^ﾀﾛｳ", "ISO_IR 13"),
        ("ISO_IR 13", "ｱﾅｶﾞ", "山田^太郎", "ISO_IR 192"),
        ("ISO_IR 166", "กข", "คง^จฉ", "ISO_IR 166"),
        ("GB18030", "王", "李^四", "GB18030"),
        ("GB18030", "王^小东", "山田^太郎", "GB18030"),
        (None, "Mäller", "Müller^Jürgen", "ISO_IR 192"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎", "Müller^Jürgen", "ISO_IR 192"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎", "Right^Person", ["", "ISO 2022 IR 87"]),
    ],
)
def test_a_name_is_written_in_the_character_set_of_the_file_or_else_all_text_becomes_utf_8(
    declared: str | list[str] | None, name: str, written: str, expected: str | list[str]
) -> None:
    nested = Dataset()
    nested.CodeMeaning = name.partition("^")[0]
    attributes: dict[str, Any] = {"SpecificCharacterSet": "ISO_IR 100" if declared is None else declared}
    content = wrong(
        **attributes, PatientName=name, StudyDescription=name.partition("=")[0], ProcedureCodeSequence=[nested]
    )
    if declared is None:
        content = content.replace(b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100", b"")
    move = Move(patient.of_values({"PatientID": "R7", "PatientName": written}), AT)
    made = corrected(content, move, UNDECLARED)
    read = dcmread(BytesIO(made))
    assert str(read.PatientName) == written
    assert read.SpecificCharacterSet == expected
    assert str(read.OriginalAttributesSequence[0].ModifiedAttributesSequence[0].PatientName) == name
    assert read.ProcedureCodeSequence[0].CodeMeaning == nested.CodeMeaning
    assert read.PixelData == PIXELS
    assert shown(made) == original.corrected(shown(content), move)


def real_files() -> list[Path]:
    files = [Path(name) for name in get_testdata_files()]
    return sorted({one for one in files if one.is_file() and one.suffix == ".dcm" and one.stem not in UNPARSED})


@pytest.mark.parametrize("name", ["Right^Person", "Müller^Jürgen", "Иванов^Пётр"])
def test_metadata_of_real_files_say_what_the_corrected_files_have(name: str) -> None:
    move, compared = Move(patient.of_values({"PatientID": "R7", "PatientName": name}), AT), 0
    for path in real_files():
        content = path.read_bytes()
        try:
            before = shown(content)
        except UnreadableError:
            continue
        about = identity.of(content)
        if None in {about.study, about.series, about.sop}:
            with pytest.raises(UncorrectedError, match="UIDs"):
                corrected(content, move, UNDECLARED)
            continue
        made = corrected(content, move, UNDECLARED)
        assert shown(made) == original.corrected(before, move), path.name
        compared += 1
    assert compared > 60


TEXT = st.text(st.characters(blacklist_categories=["Cs", "Cc", "Zl", "Zp"], blacklist_characters="\\^="), max_size=20)


@settings(max_examples=60, deadline=None)
@given(family=TEXT, given_name=TEXT, identifier=TEXT, before=TEXT, implicit=st.booleans())
def test_any_name_is_read_as_it_was_given(
    family: str, given_name: str, identifier: str, before: str, implicit: bool
) -> None:
    values = {"PatientID": f"R{identifier.strip()}", "PatientName": f"R{family.strip()}^{given_name.strip()}"}
    move = Move(patient.of_values(values), AT)
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    content = wrong(syntax, SpecificCharacterSet="ISO_IR 192", PatientName=f"W{before.strip()}")
    made = corrected(content, move, UNDECLARED)
    read = dcmread(BytesIO(made))
    assert (read.PatientID, str(read.PatientName).rstrip("^")) == (
        values["PatientID"],
        values["PatientName"].rstrip("^"),
    )
    assert shown(made) == original.corrected(shown(content), move)
    assert made.endswith(PIXELS)


@settings(max_examples=100, deadline=None)
@given(st.integers(132, 900), st.binary(min_size=1, max_size=6))
def test_a_damaged_file_is_given_with_the_right_patient_or_not_at_all(at: int, damage: bytes) -> None:
    content = wrong()
    content = content[:at] + damage + content[at + len(damage) :]
    try:
        made = corrected(content, MOVE, UNDECLARED)
    except UncorrectedError:
        return
    top = made.split(struct.pack("<HH", 0x0400, 0x0561))[0]
    assert b"R7" in top or b"Right^Person" in made
    assert made.endswith(content[-len(PIXELS) :])


def test_what_can_not_be_corrected_is_an_error_without_values() -> None:
    for content in (b"", bytes(1000), b"Smith^John" * 100, wrong()[:400], wrong(DeflatedExplicitVRLittleEndian)):
        with pytest.raises(UncorrectedError) as caught:
            corrected(content, MOVE, UNDECLARED)
        assert "Smith" not in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {}, {"PatientID": " "}, {"PatientID": "a\\b"}, {"PatientID": "a\nb"}, {"PatientID": "x" * 65},
        {"PatientID": "1", "PatientSex": "X"}, {"PatientID": "1", "PatientBirthDate": "19800230"},
        {"PatientID": "1", "PatientBirthDate": "1980-1-1"}, {"PatientID": "1", "PatientName": "a=b=c=d"},
        {"PatientID": "1", "PatientName": "a^b^c^d^e^f"}, {"PatientID": "1", "PatientAge": "3"},
    ],
)  # fmt: skip
def test_a_patient_that_no_file_can_have_is_refused(values: dict[str, str]) -> None:
    with pytest.raises(BadRequestError):
        patient.of_values(values)


def test_a_patient_is_read_as_it_was_given() -> None:
    values = {
        "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう", "PatientID": "R7", "IssuerOfPatientID": "HOSP",
        "PatientBirthDate": "19800101", "PatientSex": "F",
    }  # fmt: skip
    assert patient.values_of(patient.of_values(values)) == values
    assert patient.values_of(patient.of_values({"PatientID": "R7"})) == {
        "PatientName": "", "PatientID": "R7", "PatientBirthDate": "", "PatientSex": "",
    }  # fmt: skip
