"""Two data sets hold the same, or not."""

from __future__ import annotations

import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence

from hapacs.dicom import compare


def dataset() -> Dataset:
    item = Dataset()
    item.CodeValue = "T-04000"
    found = Dataset()
    found.PatientID = "MADE"
    found.Rows = 2
    found.ProcedureCodeSequence = Sequence([item])
    found.add_new(0x00080000, "UL", 100)
    found.add_new(0x7FE00010, "OW", b"\1\2")
    return found


def test_group_lengths_padding_and_the_vr_of_pixels_do_not_matter() -> None:
    other = dataset()
    other[0x00080000].value = 200
    other.add_new(0xFFFCFFFC, "OB", b"\0\0")
    other[0x7FE00010].VR = "OB"
    assert compare.differences(dataset(), other) == []


def test_changed_element_is_named_without_its_value() -> None:
    other = dataset()
    other.PatientID = "SECRET"
    found = compare.differences(dataset(), other)
    assert found == ["(0010,0020) PatientID differs"]


@pytest.mark.parametrize("keyword", ["PatientID", "Rows", "ProcedureCodeSequence"])
def test_a_missing_element_is_named(keyword: str) -> None:
    other = dataset()
    del other[keyword]
    assert len(compare.differences(dataset(), other)) == 1
    assert "only in what was sent" in compare.differences(dataset(), other)[0]


def test_a_change_in_a_sequence_is_seen() -> None:
    other = dataset()
    other.ProcedureCodeSequence[0].CodeValue = "T-04001"
    assert compare.differences(dataset(), other) == ["(0008,1032) ProcedureCodeSequence differs"]


def test_other_pixels_are_seen() -> None:
    other = dataset()
    other[0x7FE00010].value = b"\1\3"
    assert compare.differences(dataset(), other) == ["(7FE0,0010) PixelData differs"]


def test_pixels_of_a_data_set_without_any() -> None:
    assert compare.pixels(Dataset()) is None
