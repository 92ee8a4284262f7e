"""Changes of the copy that leaves."""

from io import BytesIO
from pathlib import Path

import pytest
from pydantic import ValidationError
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.tag import Tag

from hapacs_node.routing.change import changed
from hapacs_node.routing.model import Change


def read(content: bytes) -> Dataset:
    return dcmread(BytesIO(content))


def file(name: str) -> bytes:
    path = get_testdata_file(name)
    assert isinstance(path, str)
    return Path(path).read_bytes()


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_RLE.dcm", "JPEG2000.dcm", "MR_small_bigendian.dcm"])
def test_only_the_listed_attributes_differ_in_the_same_transfer_syntax(name: str) -> None:
    before = file(name)
    changes = [
        Change(attribute="PatientName", replace="RESEARCH"),
        Change(attribute="PatientID", prefix="R-"),
        Change(attribute="PatientBirthDate", remove=True),
        Change(attribute="ClinicalTrialSubjectID", replace="S1"),
    ]
    old, new = read(before), read(changed(before, changes))
    assert new.file_meta.TransferSyntaxUID == old.file_meta.TransferSyntaxUID
    assert (str(new.PatientName), new.PatientID, new.ClinicalTrialSubjectID) == ("RESEARCH", f"R-{old.PatientID}", "S1")
    touched = {Tag(name) for name in ("PatientName", "PatientID", "PatientBirthDate", "ClinicalTrialSubjectID")}
    assert "PatientBirthDate" not in new
    assert {e.tag: e.value for e in new if e.tag not in touched} == {
        e.tag: e.value for e in old if e.tag not in touched
    }


def test_a_prefix_of_an_absent_attribute_adds_nothing() -> None:
    content = changed(file("CT_small.dcm"), [Change(attribute="ClinicalTrialSiteID", prefix="X-")])
    assert "ClinicalTrialSiteID" not in read(content)


def test_values_are_mapped_and_others_stay() -> None:
    map_ = {"CT": "OT", "MR": "XX"}
    before = file("CT_small.dcm")
    assert read(changed(before, [Change(attribute="Modality", map=map_)])).Modality == "OT"
    assert read(changed(before, [Change(attribute="Modality", map={"US": "OT"})])).Modality == "CT"
    # Of several values each is looked up by itself.
    image_type = list(read(before).ImageType)
    after = read(changed(before, [Change(attribute="ImageType", map={image_type[0]: "DERIVED"})]))
    assert list(after.ImageType) == ["DERIVED", *image_type[1:]]
    assert "ClinicalTrialSiteID" not in read(changed(before, [Change(attribute="ClinicalTrialSiteID", map={"a": "b"})]))


def test_a_value_is_added_only_where_there_is_none() -> None:
    before = file("CT_small.dcm")
    add = [Change(attribute="InstitutionName", add="NORTH"), Change(attribute="ClinicalTrialSiteID", add="S2")]
    after = read(changed(before, add))
    assert (after.InstitutionName, after.ClinicalTrialSiteID) == (read(before).InstitutionName, "S2")
    empty = changed(before, [Change(attribute="InstitutionName", replace="")])
    assert read(changed(empty, add)).InstitutionName == "NORTH"


def test_numbers_are_mapped_by_their_text() -> None:
    before = file("CT_small.dcm")
    number = str(read(before).SeriesNumber)
    assert read(changed(before, [Change(attribute="SeriesNumber", map={number: "77"})])).SeriesNumber == 77


@pytest.mark.parametrize("given", [{}, {"add": "x", "replace": "y"}, {"map": {}}, {"map": {"a": "b"}, "remove": True}])
def test_a_change_is_exactly_one(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Change.model_validate({"attribute": "PatientID", **given})
