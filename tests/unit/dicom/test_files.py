"""What is known of a real file before it is sent."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.uid import CTImageStorage

from hapacs.dicom import NotSendable, Sample, files, read_sample

SHIPPED = {path.name: path for path in files.shipped_with_pydicom()}


def test_the_real_files_are_there() -> None:
    assert len(SHIPPED) > 100
    assert {"CT_small.dcm", "chrRuss.dcm", "DICOMDIR"} <= set(SHIPPED)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no_meta.dcm", "no DICOM file"),
        ("meta_missing_tsyntax.dcm", "file meta information without"),
        ("MR_truncated.dcm", "cut short: (7FE0,0010) says 8192 bytes, 8130 are there"),
        ("SC_rgb_jpeg.dcm", "not encoded as its transfer syntax"),
    ],
)
def test_unsendable_file_has_a_reason(name: str, reason: str) -> None:
    found = read_sample(SHIPPED[name])
    assert isinstance(found, NotSendable)
    assert found.reason.startswith(reason)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("DICOMDIR", "no storage SOP class"),
        ("JPEGLSNearLossless_08.dcm", "no Study Instance UID"),
        ("rtdose_rle.dcm", "with VR UN"),
        ("image_dfl.dcm", "deflated as a whole"),
    ],
)
def test_file_to_be_refused_has_a_reason(name: str, reason: str) -> None:
    found = read_sample(SHIPPED[name])
    assert isinstance(found, Sample)
    assert reason in found.refusal


def test_a_good_file_is_split_where_its_data_set_begins() -> None:
    sample = read_sample(SHIPPED["CT_small.dcm"])
    assert isinstance(sample, Sample)
    assert sample.refusal == ""
    assert sample.sop_class == CTImageStorage
    assert sample.dataset_bytes[:4] == b"\x08\x00\x05\x00"
    assert files.split(sample.content) == sample.dataset_bytes


def test_file_with_two_uids_is_sent_under_that_of_its_data_set(tmp_path: Path) -> None:
    sample = read_sample(SHIPPED["rtplan.dcm"])
    assert isinstance(sample, Sample)
    assert not sample.named_alike
    written = read_sample(sample.write_as_named(tmp_path / "sample"))
    assert isinstance(written, Sample)
    assert written.named_alike
    assert (written.sop_instance, written.dataset_bytes) == (sample.sop_instance, sample.dataset_bytes)
