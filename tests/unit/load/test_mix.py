"""Made images: their kinds, shares, sizes and names."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from pydicom.uid import ExplicitVRLittleEndian

from hapacs.dicom import files, marks
from hapacs.errors import UsageError
from hapacs.load.images import Image
from hapacs.load.mix import kinds, made_images, parse

SIZES = {"ct": 0.5e6, "cr": 20e6, "us": 4.6e6, "mr": 3.1e6, "sr": 5.3e3}


def first(shares: dict[str, int], count: int) -> list[Image]:
    return list(itertools.islice(made_images(shares, rows=16)(0), count))


@pytest.mark.parametrize("kind", SIZES)
def test_each_kind_has_its_size_and_can_be_read(kind: str) -> None:
    image = next(made_images({kind: 1})(0))
    assert len(image.dataset) == pytest.approx(SIZES[kind], rel=0.1)
    dataset = files.decode(files.whole(*image.kind[:1], image.sop_instance, image.transfer_syntax, image.dataset))
    assert dataset.Modality == kind.upper()
    assert str(dataset.PatientID) == image.patient
    assert str(dataset.PatientName).startswith(marks.LOAD)
    assert image.patient.startswith(marks.LOAD)
    assert (dataset.StudyInstanceUID, dataset.SeriesInstanceUID) == (image.study, image.series)
    if "PixelData" in dataset:
        assert dataset.pixel_array.size
    assert image.kind in kinds()
    assert image.transfer_syntax == ExplicitVRLittleEndian


def test_kinds_get_their_shares_in_whole_studies() -> None:
    images = first({"ct": 90, "sr": 10}, 500)
    found = Counter(image.sop_class.name.partition(" ")[0] for image in images)
    assert 40 <= found["Basic"] <= 60
    by_study = Counter(image.study for image in images if image.sop_class.name.startswith("CT"))
    assert max(by_study.values()) == 50
    assert len({image.patient for image in images}) == len({image.study for image in images})


def test_no_two_images_are_alike() -> None:
    images = [*first({"ct": 1}, 60), *first({"sr": 1}, 5), *first({"sr": 1}, 5)]
    assert len({image.instance.digest for image in images}) == len({image.sop_instance for image in images}) == 70


def test_mix_is_read() -> None:
    assert parse("ct=80, cr=4,sr") == {"ct": 80, "cr": 4, "sr": 1}


@pytest.mark.parametrize("text", ["", "xa=3", "ct=0", "ct=-1", "ct=1.5", "ct=80,,sr=1"])
def test_mix_that_is_wrong_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no part of a mix"):
        parse(text)
