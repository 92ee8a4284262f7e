"""WADO-URI over TLS on loopback: it asks for what WADO-RS gives; catalog and Orthanc are fakes."""

import http.client

import pytest

from tests.support.images import ct
from tests.unit.node.test_frames import (
    INSTANCE,
    SERIES,
    SOP,
    STUDY,
    Keep,
    OrthancHttp,
    balancer,
    catalog,
    get,
    keep,
    orthanc,
    port,
    retrieval,
)

__all__ = ["balancer", "catalog", "keep", "orthanc", "port", "retrieval"]

BY_PARAMETERS = f"/wado?requestType=WADO&studyUID={STUDY}&seriesUID={SERIES}&objectUID={SOP}"


@pytest.mark.parametrize(
    ("more", "accept", "asked"),
    [
        ("", "image/jpeg", "/rendered"),
        ("&contentType=image/png", "image/png", "/rendered"),
        ("&contentType=text/html,image/*", "image/jpeg", "/rendered"),
        ("&windowCenter=40.5&windowWidth=4e2", "image/jpeg", "/rendered?window=40.5,400,linear"),
        ("&rows=64&columns=128", "image/jpeg", "/rendered?viewport=128,64"),
        ("&rows=64", "image/jpeg", "/rendered?viewport=64,64"),
        ("&imageQuality=80&frameNumber=2", "image/jpeg", "/frames/2/rendered?quality=80"),
    ],
)
def test_a_picture_by_parameters_is_one_of_wado_rs(
    balancer: http.client.HTTPSConnection, keep: Keep, orthanc: type[OrthancHttp], more: str, accept: str, *, asked: str
) -> None:
    keep(ct())
    status, headers, body = get(balancer, f"{BY_PARAMETERS}{more}", "text/html", **{"X-Hapacs-User": "reader"})
    assert (status, headers["Content-Type"], body) == (200, "image/jpeg", b"a picture")
    assert orthanc.asked == [(f"{INSTANCE}{asked}", accept, "reader")]


@pytest.mark.parametrize(
    ("parameters", "status"),
    [
        ("requestType=WADO&studyUID=1&seriesUID=1", 400),
        ("studyUID=1&seriesUID=1&objectUID=1", 400),
        ("requestType=WADO&studyUID=1/../2&seriesUID=1&objectUID=1", 400),
        ("requestType=WADO&studyUID=1&seriesUID=1&objectUID=1&anonymize=yes&contentType=application/dicom", 400),
        ("requestType=WADO&studyUID=1&seriesUID=1&objectUID=1&windowCenter=40", 400),
        ("requestType=WADO&studyUID=1&seriesUID=1&objectUID=1&windowCenter=nan&windowWidth=1", 400),
        ("requestType=WADO&studyUID=1&seriesUID=1&objectUID=1&frameNumber=0", 400),
        ("requestType=WADO&studyUID=1&seriesUID=1&objectUID=1&rows=1000000", 400),
        ("requestType=WADO&studyUID=1&seriesUID=1&objectUID=1&imageQuality=0", 400),
        ("requestType=WADO&studyUID=1&seriesUID=1&objectUID=1&contentType=application/pdf", 406),
    ],
)
def test_parameters_that_mean_nothing_are_refused(
    balancer: http.client.HTTPSConnection, keep: Keep, parameters: str, status: int
) -> None:
    keep(ct())
    assert get(balancer, f"/wado?{parameters}")[0] == status
