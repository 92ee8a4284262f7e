"""The mark of images that hapacs sends itself changes the patient's name and ID and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.dsutils import encode

from hapacs.dicom import Sample, compare, files, marks, read_sample
from hapacs.load.images import made_study
from hapacs.load.made import made_ct

SHIPPED = [sample for path in files.shipped_with_pydicom() if isinstance(sample := read_sample(path), Sample)]


def test_every_real_file_is_marked_and_otherwise_unchanged(tmp_path: Path) -> None:
    assert len(SHIPPED) > 100
    for number, sample in enumerate(SHIPPED):
        marked = read_sample(files.write_marked(sample, marks.VERIFY, tmp_path / str(number) / sample.name))
        assert isinstance(marked, Sample), sample.name
        assert marked.patient_id == f"{marks.VERIFY}{sample.patient_id}"
        dataset = marked.dataset()
        assert str(dataset.PatientName).startswith(marks.VERIFY)
        differences = compare.differences(sample.dataset(), dataset)
        assert {difference[:11] for difference in differences} <= {"(0010,0010)", "(0010,0020)"}, sample.name
        unchanged = ("sop_class", "sop_instance", "transfer_syntax", "study", "series", "named_alike", "refusal")
        assert all(getattr(marked, name) == getattr(sample, name) for name in unchanged), sample.name


def test_marked_files_are_no_two_of_the_same_instance_unless_they_were(tmp_path: Path) -> None:
    marked = [read_sample(files.write_marked(one, marks.VERIFY, tmp_path / str(n))) for n, one in enumerate(SHIPPED)]
    assert len({one.key for one in SHIPPED}) == len({one.key for one in marked if isinstance(one, Sample)})


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize(
    "patient", [{}, {"PatientName": "", "PatientID": ""}, {"PatientName": "A^B", "PatientID": "7"}]
)
def test_a_patient_is_marked_also_without_a_name(syntax: UID, patient: dict[str, str]) -> None:
    dataset = Dataset()
    dataset.Modality = "CT"
    dataset.PatientSex = "O"
    for keyword, value in patient.items():
        setattr(dataset, keyword, value)
    big = syntax == ExplicitVRBigEndian
    encoded = encode(dataset, is_implicit_vr=syntax == ImplicitVRLittleEndian, is_little_endian=not big)
    assert encoded is not None
    dataset.PatientName = f"{marks.VERIFY}{patient.get('PatientName', '')}"
    dataset.PatientID = f"{marks.VERIFY}{patient.get('PatientID', '')}"
    expected = encode(dataset, is_implicit_vr=syntax == ImplicitVRLittleEndian, is_little_endian=not big)
    assert marks.mark(encoded, syntax, marks.VERIFY) == expected


def test_made_images_are_marked_too() -> None:
    made = made_ct("1.2.3", "1.2.3.4", 1, rows=8)
    assert str(made.PatientName).startswith(marks.LOAD)
    assert made.PatientID.startswith(marks.LOAD)
    assert made_study(1, 8).patient.startswith(marks.BENCH)
