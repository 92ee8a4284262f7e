"""A transcoded image has the attributes of the received one, and none that the decoder made up."""

from __future__ import annotations

from io import BytesIO

import pytest
from pydicom import Dataset, dcmread, dcmwrite, examples
from pydicom.uid import ExplicitVRLittleEndian

from hapacs_node.dimse.transcoded import without_additions
from hapacs_node.dimse.transfer import Transcoder


def written(dataset: Dataset) -> bytes:
    output = BytesIO()
    dcmwrite(output, dataset, enforce_file_format=True)
    return output.getvalue()


@pytest.fixture
def received() -> bytes:
    """A CT without geometry, in JPEG 2000."""
    dataset = examples.get_path("jpeg2k")
    return written(_without_geometry(dcmread(dataset)))


def _without_geometry(dataset: Dataset) -> Dataset:
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleIntercept"):
        if keyword in dataset:
            delattr(dataset, keyword)
    return dataset


def decoded(received: bytes, **added: object) -> bytes:
    """Decode as GDCM does, with attributes that were not there."""
    dataset = dcmread(BytesIO(received))
    dataset.decompress(generate_instance_uid=False)
    for keyword, value in added.items():
        setattr(dataset, keyword, value)
    return written(dataset)


def test_what_the_decoder_made_up_is_taken_out_and_all_else_stays(received: bytes) -> None:
    made = decoded(received, ImagePositionPatient=[0, 0, 0], PixelSpacing=[1, 1], RescaleIntercept=0, RescaleType="US")
    given = dcmread(BytesIO(without_additions(received, made)))
    wanted = dcmread(BytesIO(decoded(received)))
    assert given == wanted
    assert given.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert "PixelSpacing" not in given


def test_what_says_nothing_more_is_given_as_it_is(received: bytes) -> None:
    made = decoded(received, LossyImageCompression="01")
    assert without_additions(received, made) is made


def test_what_stands_after_the_pixels_stays(received: bytes) -> None:
    padded = dcmread(BytesIO(received))
    padded.DataSetTrailingPadding = bytes(8)
    made = decoded(written(padded), PixelSpacing=[1, 1])
    given = dcmread(BytesIO(without_additions(written(padded), made)))
    assert given.DataSetTrailingPadding == bytes(8)
    assert "PixelSpacing" not in given


def test_the_transcoder_of_all_answers_takes_it_out(received: bytes) -> None:
    made = Transcoder(lambda content, _: decoded(content, PixelSpacing=[1, 1])).to(received, ExplicitVRLittleEndian)
    assert made is not None
    assert "PixelSpacing" not in dcmread(BytesIO(made))
