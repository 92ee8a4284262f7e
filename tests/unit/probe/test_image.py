"""The images of the probe are the same bytes in every run, and different between probes and ways."""

from __future__ import annotations

from io import BytesIO

import pydicom

from hapacs_node.probe.image import ProbeImage

DICOM = ProbeImage("lab-primary", "pacs1", "dicom")


def test_the_same_bytes_each_time() -> None:
    again = ProbeImage("lab-primary", "pacs1", "dicom")
    assert again.file == DICOM.file
    assert again.encoded == DICOM.encoded
    # The archive holds this object already: another digest would be another object on every site.
    assert DICOM.sop == "2.25.44430371766328449520548762846452615851"


def test_each_probe_and_each_way_has_an_image_of_its_own() -> None:
    images = [
        ProbeImage(site, node, way)
        for site in ("a", "b")
        for node in ("pacs1", "pacs2")
        for way in ("dicom", "dicomweb")
    ]
    assert len({image.sop for image in images}) == 8
    assert len({image.study for image in images}) == 4, "both images of a probe are in one study"


def test_the_file_is_dicom_with_a_marked_patient() -> None:
    read = pydicom.dcmread(BytesIO(DICOM.file))
    assert (str(read.PatientName), read.PatientID) == ("HAPACS-PROBE", "HAPACS-PROBE")
    assert DICOM.file.endswith(DICOM.encoded)
    assert read.pixel_array.shape == (64, 64)
    assert len(set(read.pixel_array.flat)) == 64
