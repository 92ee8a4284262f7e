"""A transcoded image has the attributes of the received one, and none that the decoder made up."""

from __future__ import annotations

from io import BytesIO

import pytest
from pydicom import Dataset, dcmread, dcmwrite, examples
from pydicom.uid import HTJ2K, JPEG2000, UID, ExplicitVRLittleEndian, JPEG2000Lossless

from hapacs_node.dimse.transcoded import as_jpeg_2000, without_additions
from hapacs_node.dimse.transfer import Transcoder
from tests.support import htj2k


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


@pytest.mark.parametrize("syntax", htj2k.SYNTAXES, ids=lambda uid: uid.name)
def test_decoder_gets_high_throughput_under_the_name_that_it_knows(syntax: UID) -> None:
    content, given = htj2k.ct(syntax), []

    def transcode(content: bytes, syntax: str) -> bytes:
        given.append(content)
        dataset = dcmread(BytesIO(content))
        dataset.PixelData, dataset["PixelData"].is_undefined_length = htj2k.plain(), False
        dataset.file_meta.TransferSyntaxUID = UID(syntax)
        return written(dataset)

    made = Transcoder(transcode).to(content, ExplicitVRLittleEndian)
    assert made is not None
    assert dcmread(BytesIO(made)).file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    (asked,) = map(BytesIO, given)
    named, stored = dcmread(asked), dcmread(BytesIO(content))
    assert named.file_meta.TransferSyntaxUID == (JPEG2000 if syntax == HTJ2K else JPEG2000Lossless)
    assert named == stored
    # The decoder compares the UID as it is written, so it is not filled up.
    assert len(content) - len(given[0]) == 2
    lengths = [one.file_meta.FileMetaInformationGroupLength for one in (stored, named)]
    assert lengths[0] - lengths[1] == 2
    assert given[0][144 + lengths[1] :] == content[144 + lengths[0] :]


def test_other_files_are_given_as_they_are(received: bytes) -> None:
    assert as_jpeg_2000(received) is received
    # What looks like the element further on is not the file's own.
    quoted = dcmread(BytesIO(received))
    quoted.ImageComments = "x" * 1024 + "\x02\x00\x10\x00UI\x18\x001.2.840.10008.1.2.4.201\x00"
    content = written(quoted)
    assert as_jpeg_2000(content) is content
