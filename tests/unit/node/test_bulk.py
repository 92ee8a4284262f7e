"""Bulk data over TLS on loopback: what the metadata link, whole, in parts, and by range (DICOM PS3.18 10.4.1.1.5)."""

import http.client
import json
from io import BytesIO

import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.encaps import get_frame
from pydicom.uid import UID, ExplicitVRBigEndian, ImplicitVRLittleEndian

from hapacs_node.query import dicom_json, document
from hapacs_node.record import identity
from hapacs_node.retrieve import bulk
from hapacs_node.retrieve.accept import ranges
from hapacs_node.retrieve.bulk import Form, OutsideError
from tests.support.images import ct
from tests.unit.node.test_frames import (
    INSTANCE,
    JPEG,
    OCTETS,
    Keep,
    catalog,
    content_of,
    get,
    keep,
    orthanc,
    retrieval,
)
from tests.unit.node.test_retrieval import balancer, instances_of, port

__all__ = ["balancer", "catalog", "keep", "orthanc", "port", "retrieval"]

type Balancer = http.client.HTTPSConnection
CURVE = bytes(range(256)) * 8
PIXELS = bytes(range(256)) * 2


def waveform(**attributes: object) -> bytes:
    """Make an image with values of every kind in front of its pixels."""
    item = Dataset()
    item.WaveformBitsAllocated, item.WaveformData = 16, CURVE
    item["WaveformData"].VR = "OW"
    return ct(WaveformSequence=[Dataset(), item], ICCProfile=CURVE[::-1], PixelData=PIXELS, **attributes)


def test_what_the_metadata_link_is_there(balancer: Balancer, keep: Keep) -> None:
    content = waveform()
    keep(content)
    dataset, pixels = dicom_json.read(content, "ISO_IR 192")
    found = document.attributes_of(dataset, pixels, identity.of(content))
    links = {
        found["7FE00010"]["BulkDataURI"]: PIXELS,
        found["00282000"]["BulkDataURI"]: CURVE[::-1],
        found["54000100"]["Value"][1]["54001010"]["BulkDataURI"]: CURVE,
    }
    assert json.dumps(found).count("BulkDataURI") == len(links)
    for link, expected in links.items():
        place = link.partition("/bulk/")[2]
        for path in (f"bulk/{place}", f"bulkdata/{place.lower()}"):
            status, headers, body = get(balancer, f"{INSTANCE}/{path}", OCTETS)
            assert (status, instances_of(headers, body)) == (200, [expected])
            assert int(headers["Content-Length"]) == len(body)
            assert get(balancer, f"{INSTANCE}/{path}", "application/octet-stream")[2] == expected


def test_it_is_of_the_image_that_was_stored_last(balancer: Balancer, keep: Keep) -> None:
    for number in (1, 2):
        keep(ct(PatientID=f"P{number}", ICCProfile=bytes([number]) * 2000))
    status, headers, body = get(balancer, f"{INSTANCE}/bulk/00282000", OCTETS)
    assert (status, instances_of(headers, body)) == (200, [b"\2" * 2000])


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-9", 0, 9),
        ("bytes=2040-", 2040, 2047),
        ("bytes=2040-9999999", 2040, 2047),
        ("bytes=-8", 2040, 2047),
        ("bytes=-99999", 0, 2047),
    ],
)
def test_a_range_of_bytes_is_sent(balancer: Balancer, keep: Keep, asked: str, first: int, last: int) -> None:
    keep(waveform())
    for accept in ("*/*", "application/octet-stream"):
        status, headers, body = get(balancer, f"{INSTANCE}/bulk/54000100/2/54001010", accept, Range=asked)
        assert (status, body) == (206, CURVE[first : last + 1])
        assert headers["Content-Range"] == f"bytes {first}-{last}/2048"
        assert headers["Content-Type"] == "application/octet-stream"


def test_a_range_of_pixels_is_sent(balancer: Balancer, keep: Keep) -> None:
    keep(waveform())
    status, _, body = get(balancer, f"{INSTANCE}/bulk/7FE00010", "*/*", Range="bytes=100-199")
    assert (status, body) == (206, PIXELS[100:200])


@pytest.mark.parametrize("asked", ["bytes=512-", "bytes=9999-10000", "bytes=-0"])
def test_a_range_behind_the_end_is_416_with_the_length(balancer: Balancer, keep: Keep, asked: str) -> None:
    keep(waveform())
    status, headers, _ = get(balancer, f"{INSTANCE}/bulk/7FE00010", "*/*", Range=asked)
    assert (status, headers["Content-Range"]) == (416, "bytes */512")


@pytest.mark.parametrize(
    "headers",
    [
        {"Range": "bytes=0-1,4-5"},
        {"Range": "bytes=5-4"},
        {"Range": "lines=1-2"},
        {"Range": "bytes=-"},
        {"Range": "bytes=0-1", "If-Range": '"a version"'},
    ],
)
def test_a_range_that_can_not_be_had_alone_is_the_whole_value(
    balancer: Balancer, keep: Keep, headers: dict[str, str]
) -> None:
    keep(waveform())
    status, found, body = get(balancer, f"{INSTANCE}/bulk/7FE00010", "application/octet-stream", **headers)
    assert (status, body, found["Accept-Ranges"]) == (200, PIXELS, "bytes")


def test_a_range_in_a_part_says_so_there(balancer: Balancer, keep: Keep) -> None:
    keep(waveform())
    # As dicomweb-client asks.
    for accept in (OCTETS, 'multipart/related; type="*/*"'):
        status, headers, body = get(balancer, f"{INSTANCE}/bulk/7FE00010", accept, Range="bytes=100-199")
        assert (status, instances_of(headers, body)) == (206, [PIXELS[100:200]])
        assert b"\r\nContent-Range: bytes 100-199/512\r\n" in body
        assert "Content-Range" not in headers


def test_head_is_answered_as_get_without_a_body(balancer: Balancer, keep: Keep) -> None:
    keep(waveform())
    headers = {"Accept": "application/octet-stream", "Range": "bytes=0-1"}
    balancer.request("HEAD", f"{INSTANCE}/bulk/7FE00010", headers=headers)
    answer = balancer.getresponse()
    assert (answer.status, answer.headers["Content-Length"], answer.read()) == (200, "512", b"")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("bulk/00282001", 404),
        ("bulk/00100010", 404),
        ("bulk/54000100", 404),
        ("bulk/54000100/1/54001010", 404),
        ("bulk/54000100/3/54001010", 404),
        ("bulk/54000100/0/54001010", 404),
        ("bulk/7FE00008", 404),
        ("bulk/7FE0001", 404),
        ("bulk/00282000/../7FE00010", 404),
        ("bulk/", 404),
    ],
)
def test_what_is_no_bulk_data_is_404(balancer: Balancer, keep: Keep, path: str, status: int) -> None:
    keep(waveform())
    assert get(balancer, f"{INSTANCE}/{path}", "*/*")[0] == status
    assert get(balancer, f"{INSTANCE}/bulk/00282000", "*/*")[0] == 200


def test_a_compressed_image_comes_in_frames_as_stored_or_decoded(balancer: Balancer, keep: Keep) -> None:
    content = content_of("SC_rgb_jpeg_dcmtk.dcm")
    keep(content)
    expected = get_frame(dcmread(BytesIO(content)).PixelData, 0, number_of_frames=1)
    for accept in ("*/*", 'multipart/related; type="image/jpeg"'):
        status, headers, body = get(balancer, f"{INSTANCE}/bulk/7FE00010", accept)
        assert (status, instances_of(headers, body)) == (200, [expected])
        assert f"Content-Type: image/jpeg; transfer-syntax={JPEG}\r\n".encode() in body
    decoded = dcmread(BytesIO(content))
    decoded.decompress()
    status, headers, body = get(balancer, f"{INSTANCE}/bulk/7FE00010", OCTETS)
    assert (status, instances_of(headers, body)) == (200, [decoded.PixelData])
    assert get(balancer, f"{INSTANCE}/bulk/7FE00010", "image/png")[0] == 406


def test_all_frames_of_a_compressed_loop_are_sent(balancer: Balancer, keep: Keep) -> None:
    content = content_of("SC_rgb_rle_2frame.dcm")
    keep(content)
    encapsulated = dcmread(BytesIO(content)).PixelData
    status, headers, body = get(balancer, f"{INSTANCE}/bulk/7FE00010", "*/*")
    expected = [get_frame(encapsulated, number, number_of_frames=2) for number in range(2)]
    assert (status, instances_of(headers, body)) == (200, expected)


def test_a_document_is_sent_as_octets_or_as_what_it_is(balancer: Balancer, keep: Keep) -> None:
    pdf = b"%PDF-1.7 " + bytes(2000) + b"\n"
    keep(ct(EncapsulatedDocument=pdf, MIMETypeOfEncapsulatedDocument="application/pdf"))
    path = f"{INSTANCE}/bulk/00420011"
    status, headers, body = get(balancer, path, "application/pdf")
    assert (status, headers["Content-Type"], body) == (200, "application/pdf", pdf)
    # What OHIF asks for.
    for accept in (f"{OCTETS}; transfer-syntax=*, multipart/related; type=application/pdf", "*/*"):
        status, headers, body = get(balancer, path, accept)
        assert (status, instances_of(headers, body)) == (200, [pdf])
        assert b"Content-Type: application/octet-stream\r\n" in body
    status, headers, body = get(balancer, path, "multipart/related; type=application/pdf")
    assert b"Content-Type: application/pdf\r\n" in body
    assert get(balancer, path, "image/png")[0] == 406


@pytest.mark.parametrize("kind", ["text/html\r\nSet-Cookie: a=b", "", "pdf"])
def test_a_type_in_a_file_injects_no_header(balancer: Balancer, keep: Keep, kind: str) -> None:
    keep(ct(EncapsulatedDocument=bytes(2000), MIMETypeOfEncapsulatedDocument=kind))
    status, headers, _ = get(balancer, f"{INSTANCE}/bulk/00420011", "application/octet-stream, text/html")
    assert (status, headers["Content-Type"]) == (200, "application/octet-stream")
    assert "Set-Cookie" not in headers


@pytest.mark.parametrize(("syntax", "swapped"), [(ExplicitVRBigEndian, True), (ImplicitVRLittleEndian, False)])
def test_words_are_sent_in_little_endian(balancer: Balancer, keep: Keep, syntax: UID, *, swapped: bool) -> None:
    dataset, file = dcmread(BytesIO(ct(RedPaletteColorLookupTableData=b"\1\2\3\4" * 600, ICCProfile=CURVE))), BytesIO()
    dataset.file_meta.TransferSyntaxUID = syntax
    big = syntax == ExplicitVRBigEndian
    dcmwrite(file, dataset, little_endian=not big, implicit_vr=not big, enforce_file_format=True)
    keep(file.getvalue())
    body = get(balancer, f"{INSTANCE}/bulk/00281201", "application/octet-stream")[2]
    assert body == (b"\2\1\4\3" if swapped else b"\1\2\3\4") * 600
    assert get(balancer, f"{INSTANCE}/bulk/00282000", "application/octet-stream")[2] == CURVE


def test_an_object_without_pixels_has_none(balancer: Balancer, keep: Keep) -> None:
    keep(content_of("reportsi.dcm"))
    assert get(balancer, f"{INSTANCE}/bulk/7FE00010", "*/*")[0] == 404


@pytest.mark.parametrize(
    ("accept", "ranged", "expected"),
    [
        ("*/*", False, Form(True, bulk.OCTETS)),
        ("*/*", True, Form(False, bulk.OCTETS)),
        ("application/*", False, Form(False, bulk.OCTETS)),
        ("multipart/related", True, Form(True, bulk.OCTETS)),
        ("text/xml, multipart/*;q=0.1", False, Form(True, bulk.OCTETS)),
        ("text/xml", False, Form(False, "text/xml")),
        ("multipart/related; type=image/png", False, None),
    ],
)
def test_the_form_is_the_best_that_is_accepted(accept: str, expected: Form | None, *, ranged: bool) -> None:
    assert bulk.form(ranges([accept]), "text/xml", ranged=ranged) == expected


def test_an_empty_value_has_no_range() -> None:
    with pytest.raises(OutsideError):
        bulk.wanted_range("bytes=0-", 0)
