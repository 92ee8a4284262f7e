"""The three UIDs of real files, of truncated files, and of bytes that are no DICOM file."""

import io
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from hapacs_node.record import identity
from hapacs_node.record.identity import Identity

DATA = Path(pydicom.__file__).parent / "data" / "test_files"
FILES = [
    "CT_small.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_implicit.dcm",
    "JPEG2000.dcm",
    "rtplan.dcm",
    "reportsi.dcm",
]
SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]


def image(syntax: UID, *, undefined: bool) -> bytes:
    """Write an image that refers to another study, before its own identifiers."""
    other = Dataset()
    other.StudyInstanceUID, other.SeriesInstanceUID = "9.9.9", "8.8.8"
    nested = Dataset()
    nested.ReferencedSeriesSequence = Sequence([other])
    nested.is_undefined_length_sequence_item = undefined
    dataset = Dataset()
    dataset.SOPClassUID = dataset.SOPInstanceUID = UID("1.2.3")
    dataset.StudiesContainingOtherReferencedInstancesSequence = Sequence([nested])
    dataset["StudiesContainingOtherReferencedInstancesSequence"].is_undefined_length = undefined
    dataset.PatientName = "Doe"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1", "1.2"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    written = io.BytesIO()
    pydicom.dcmwrite(written, dataset, enforce_file_format=True)
    return written.getvalue()


@pytest.mark.parametrize("name", FILES)
def test_the_uids_of_real_files_are_read(name: str) -> None:
    content = (DATA / name).read_bytes()
    known = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True)
    expected = Identity(known.StudyInstanceUID, known.SeriesInstanceUID, known.SOPInstanceUID)
    assert identity.of(content) == expected
    assert identity.of(content[:65536]) == expected


@pytest.mark.parametrize("undefined", [False, True], ids=["defined length", "undefined length"])
@pytest.mark.parametrize("syntax", SYNTAXES, ids=["implicit", "explicit", "big endian"])
def test_uids_inside_sequences_are_skipped(syntax: UID, *, undefined: bool) -> None:
    assert identity.of(image(syntax, undefined=undefined)) == Identity("1", "1.2", "1.2.3")


@given(st.integers(0, 1000))
def test_a_file_that_ends_early_gives_no_wrong_uid(length: int) -> None:
    found = identity.of(image(ExplicitVRLittleEndian, undefined=True)[:length])
    assert found.study in {None, "1"}
    assert found.series in {None, "1.2"}
    assert found.sop in {None, "1.2.3"}


@given(st.binary(max_size=300))
def test_bytes_that_are_no_dicom_file_give_no_error(content: bytes) -> None:
    identity.of(content)
    identity.of(bytes(128) + b"DICM" + content)


def test_an_invalid_uid_is_omitted() -> None:
    content = image(ExplicitVRLittleEndian, undefined=False).replace(b"UI\x04\x001.2\0", b"UI\x04\x00Doe\0")
    assert identity.of(content) == Identity("1", None, "1.2.3")
