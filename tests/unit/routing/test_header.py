"""Of an image only its header is read, and always all that the rules need of it."""

import json
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from hapacs_node.query import dicom_json, document
from hapacs_node.query.dicom_json import UnreadableError
from hapacs_node.record.identity import Identity
from hapacs_node.routing import attributes
from hapacs_node.routing.header import Needed
from hapacs_node.routing.model import Routing

FILES = ("CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm", "image_dfl.dcm", "ExplVR_BigEnd.dcm", "reportsi.dcm")
NAMED = ("Modality", "PatientID", "StudyDescription", "BodyPartExamined", "SliceThickness")


def content(name: str) -> bytes:
    return Path(str(get_testdata_file(name))).read_bytes()


def rules(*conditions: dict[str, Any]) -> Routing:
    return Routing.model_validate({"rules": [{"name": "r", "destinations": ["d"], "when": conditions}]})


def present(*names: str) -> Needed:
    return Needed.of(rules(*({"attribute": name, "present": True} for name in names)))


def values(dataset: Dataset) -> list[tuple[str, ...] | None]:
    return [attributes.values(dataset, attributes.parse(name)) for name in NAMED]


def refused() -> bytes:
    raise AssertionError("the whole file was read")


def made(syntax: UID, overhead: int) -> bytes:
    """Make an image with long values before the last attribute that rules name."""
    dataset, meta = Dataset(), FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.file_meta = meta
    dataset.Modality, dataset.PatientID = "CT", "P1"
    item = Dataset()
    item.TextValue = "x" * overhead
    dataset.ReferencedImageSequence = [item]
    dataset.AdditionalPatientHistory = "x" * overhead
    dataset.BodyPartExamined = "HEAD"
    dataset.RequestedProcedureID = "R1"
    dataset.PixelData = bytes(4000)
    dataset["PixelData"].VR = "OW"
    output = BytesIO()
    dataset.save_as(output, enforce_file_format=True)
    return output.getvalue()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("length", [0, 100, 132, 400, 900, 1500, 3000, 1 << 20])
def test_a_beginning_of_any_length_gives_what_the_whole_file_gives(name: str, length: int) -> None:
    whole = content(name)
    found = present(*NAMED).of_file(whole[:length], lambda: whole)
    assert values(found) == values(dcmread(BytesIO(whole)))
    assert found.file_meta.TransferSyntaxUID == dcmread(BytesIO(whole)).file_meta.TransferSyntaxUID


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_the_whole_file_is_read_only_when_the_last_needed_attribute_may_be_behind_the_beginning(syntax: UID) -> None:
    whole = made(syntax, 40_000)
    assert present("Modality", "PatientID").of_file(whole[:65_536], refused).PatientID == "P1"
    later = present("Modality", "RequestedProcedureID")
    assert later.of_file(whole[:65_536], lambda: whole).RequestedProcedureID == "R1"
    with pytest.raises(AssertionError, match="the whole file was read"):
        later.of_file(whole[:65_536], refused)
    assert later.of_file(made(syntax, 10)[:1500], refused).RequestedProcedureID == "R1"


def test_rules_of_the_association_need_no_attribute() -> None:
    found = present("calling_ae").of_file(content("CT_small.dcm")[:1000], refused)
    assert len(found) == 0
    assert found.file_meta.MediaStorageSOPClassUID == CTImageStorage


def test_an_attribute_that_an_image_has_not_is_looked_for_up_to_the_pixel_data_and_no_further() -> None:
    found = present("0009,VENDOR,01", "EncryptedAttributesSequence").of_file(content("CT_small.dcm")[:7000], refused)
    assert "PixelData" not in found


def test_a_private_attribute_is_read_by_its_creator() -> None:
    whole = content("CT_small.dcm")
    (wanted,) = [attributes.parse("0009,GEMS_IDEN_01,02")]
    found = present("0009,GEMS_IDEN_01,02").of_file(whole[:2000], refused)
    assert attributes.values(found, wanted) == ("CT01",)


def test_bytes_that_are_no_dicom_file_are_unreadable() -> None:
    with pytest.raises(UnreadableError):
        present("Modality").of_file(b"text", lambda: b"text")


@pytest.mark.parametrize("name", FILES[:3])
def test_kept_metadata_give_what_the_file_gives(name: str) -> None:
    named = ("Modality", "PatientID", "PatientName", "StudyDescription", "BodyPartExamined", "ImageType", "StudyDate")
    needed = present(*named)
    assert needed.documented
    whole = content(name)
    kept = document.packed(document.attributes_of(*dicom_json.read(whole, "ISO_IR 100"), Identity("1.1", "1.2", "1.3")))
    found, file = needed.of_document(kept), dcmread(BytesIO(whole))
    for one in map(attributes.parse, named):
        assert (attributes.values(found, one) or ()) == (attributes.values(file, one) or ())


def test_damaged_metadata_are_unreadable() -> None:
    for kept in (b"", zlib.compress(b"{"), zlib.compress(json.dumps({"00080060": 7}).encode())):
        with pytest.raises(UnreadableError):
            present("Modality").of_document(kept)


@pytest.mark.parametrize(
    ("condition", "decides"),
    [
        ({"attribute": "Modality", "equals": "CT"}, True),
        ({"attribute": "SliceThickness", "at_least": 2}, True),
        ({"attribute": "SliceThickness", "equals": "5.0"}, False),
        ({"attribute": "SeriesNumber", "matches": "0.*"}, False),
        ({"attribute": "0009,VENDOR,01", "present": True}, False),
        ({"attribute": "calling_ae", "equals": "CT1"}, True),
    ],
)
def test_kept_metadata_do_not_decide_about_private_attributes_and_the_text_of_numbers(
    condition: dict[str, Any], decides: bool
) -> None:
    assert Needed.of(rules(condition)).documented == decides
