"""curl, as the old viewers that link to single images ask: WADO-URI (DICOM PS3.18 9)."""

from __future__ import annotations

import subprocess
from io import BytesIO
from pathlib import Path
from urllib.parse import urlencode

import pytest
from PIL import Image
from pydicom import dcmread

from tests.conformance.target import TIMEOUT_S, Made, Target

CLIENT = "curl"
CT = "1.2.840.10008.5.1.4.1.1.2"

pytestmark = pytest.mark.timeout(5 * 60)


def get(target: Target, place: Path, **parameters: str) -> tuple[int, str, bytes]:
    """Ask for an object; return status, media type and body."""
    login = place / "login"
    login.write_text(f'user = "{target.user}:{target.password}"\n', encoding="utf-8")
    body = place / "body"
    body.unlink(missing_ok=True)
    url = f"{target.web}/wado?{urlencode({'requestType': 'WADO'} | parameters)}"
    command = ["curl", "--silent", "--noproxy", "*", "--config", str(login), "--cacert", str(target.authority),
               "--output", str(body), "--write-out", "%{http_code} %{content_type}", url]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    status, _, kind = done.stdout.partition(" ")
    return int(status), kind, body.read_bytes() if body.exists() else b""


def uids(file: Path) -> dict[str, str]:
    """Return the parameters that name an image."""
    read = dcmread(file, stop_before_pixels=True)
    return {"studyUID": str(read.StudyInstanceUID), "seriesUID": str(read.SeriesInstanceUID),
            "objectUID": str(read.SOPInstanceUID)}  # fmt: skip


def test_file(target: Target, made: Made, tmp_path: Path) -> None:
    """A file, with equal pixels."""
    for file in made.of(CT):
        status, kind, body = get(target, tmp_path, contentType="application/dicom", **uids(file))
        assert (status, kind.partition(";")[0]) == (200, "application/dicom")
        assert (dcmread(BytesIO(body)).pixel_array == dcmread(file).pixel_array).all()


def test_picture(target: Target, made: Made, tmp_path: Path) -> None:
    """A picture of an image, JPEG unless another one is asked for."""
    file = made.of(CT)[0]
    sent = dcmread(file, stop_before_pixels=True)
    for asked, wanted in (({}, "JPEG"), ({"contentType": "image/png"}, "PNG")):
        status, _, body = get(target, tmp_path, **asked, **uids(file))
        assert status == 200
        with Image.open(BytesIO(body)) as picture:
            assert (picture.format, picture.size) == (wanted, (sent.Columns, sent.Rows))


def test_what_is_not_there(target: Target, made: Made, tmp_path: Path) -> None:
    """An object that does not exist, a request without its UIDs, and a media type that there is not."""
    known = uids(made.of(CT)[0])
    assert get(target, tmp_path, **known | {"objectUID": "1.2.3"})[0] == 404
    assert get(target, tmp_path, studyUID=known["studyUID"])[0] == 400
    assert get(target, tmp_path, contentType="video/x-unknown", **known)[0] == 406
