"""dicomweb-client, the library of many tools for research and AI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread

from hapacs.bench import footprint
from hapacs.load.images import Study
from hapacs.site.access import Site
from tests.conformance.target import Made, Target, write

CLIENT = "dicomweb-client"
CT, US = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.3.1"

pytestmark = [pytest.mark.long, pytest.mark.timeout(10 * 60)]


@pytest.fixture(scope="module")
def client(target: Target) -> Any:
    """Return a client with the login of `verify`."""
    api = pytest.importorskip("dicomweb_client.api", reason="it is not installed: use `make conformance`")
    session = pytest.importorskip("dicomweb_client.session_utils")
    login = session.create_session_from_user_pass(target.user, target.password)
    # The environment's authorities and proxies are none of a lab.
    login.trust_env = False
    login = session.add_certs_to_session(login, ca_bundle=str(target.authority))
    return api.DICOMwebClient(f"{target.web}/dicom-web", session=login)


def uids(file: Path) -> tuple[str, str, str]:
    """Return Study, Series and SOP Instance UID of a file."""
    read = dcmread(file, stop_before_pixels=True)
    return str(read.StudyInstanceUID), str(read.SeriesInstanceUID), str(read.SOPInstanceUID)


def test_search(client: Any, made: Made) -> None:
    """QIDO-RS for a study, its series and its images."""
    (found,) = client.search_for_studies(search_filters={"StudyInstanceUID": made.uid}, fields=["PatientName"])
    assert found["0020000D"]["Value"] == [made.uid]
    assert len(client.search_for_series(made.uid)) == 6
    assert {one["00080018"]["Value"][0] for one in client.search_for_instances(made.uid)} == set(made.files)


def test_metadata(client: Any, made: Made) -> None:
    """Metadata of a study and of an image."""
    assert {one["00080018"]["Value"][0] for one in client.retrieve_study_metadata(made.uid)} == set(made.files)
    study, series, sop = uids(made.of(CT)[0])
    assert client.retrieve_instance_metadata(study, series, sop)["00100020"]["Value"] == [made.patient]


def test_study(client: Any, made: Made) -> None:
    """WADO-RS of a whole study in any transfer syntax, every image with equal pixels."""
    came = {
        str(one.SOPInstanceUID): one
        for one in client.retrieve_study(made.uid, media_types=(("application/dicom", "*"),))
    }
    assert set(came) == set(made.files)
    for sop, file in made.files.items():
        sent = dcmread(file)
        if "PixelData" in sent:
            assert (came[sop].pixel_array == sent.pixel_array).all()


def test_instance(client: Any, made: Made) -> None:
    """WADO-RS of each image, decoded as it asks by default."""
    for file in made.of(CT):
        came = client.retrieve_instance(*uids(file))
        assert (came.pixel_array == dcmread(file).pixel_array).all()


def test_frames(client: Any, made: Made) -> None:
    """Frames of a loop by number."""
    (loop,) = made.of(US)
    sent = dcmread(loop).pixel_array
    frames = client.retrieve_instance_frames(*uids(loop), frame_numbers=[1, 20, 7])
    assert frames == [sent[number - 1].tobytes() for number in (1, 20, 7)]


def test_rendered(client: Any, made: Made) -> None:
    """An image rendered as PNG and as JPEG."""
    where = uids(made.of(CT)[0])
    assert client.retrieve_instance_rendered(*where, media_types=("image/png",)).startswith(b"\x89PNG")
    assert client.retrieve_instance_rendered(*where, media_types=("image/jpeg",)).startswith(b"\xff\xd8")


def test_bulk_data(client: Any, made: Made) -> None:
    """Pixel data by the link of the metadata, and a range of them."""
    file = made.of(CT)[0]
    link = client.retrieve_instance_metadata(*uids(file))["7FE00010"]["BulkDataURI"]
    pixels = dcmread(file).PixelData
    assert client.retrieve_bulkdata(link) == [pixels]
    assert client.retrieve_bulkdata(link, byte_range=(100, 299)) == [pixels[100:300]]


def test_store(client: Any, site: Site, tmp_path: Path) -> None:
    """STOW-RS of a study of more than 1 MB, which it sends in chunks."""
    study = write(tmp_path)
    try:
        sent = [dcmread(file) for file in study.files.values()]
        assert sum(file.stat().st_size for file in study.files.values()) > 1 << 20
        answer = client.store_instances(sent, study_instance_uid=study.uid)
        assert len(answer.ReferencedSOPSequence) == len(sent)
        assert "FailedSOPSequence" not in answer
        (loop,) = study.of(US)
        assert np.array_equal(client.retrieve_instance(*uids(loop)).pixel_array, dcmread(loop).pixel_array)
    finally:
        footprint.remove(site, [Study(study.uid, "", study.patient, ())])
