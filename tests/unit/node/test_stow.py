"""STOW-RS over TLS on loopback, with a fake of Orthanc behind it (DICOM PS3.18 10.5)."""

import http.client
import io
import json
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from email.message import Message
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread

from hapacs_node.errors import BadRequestError, NodeError
from hapacs_node.https import Listener
from hapacs_node.stow.body import Body, Part, boundary, parts
from hapacs_node.stow.server import Stow
from tests.support.images import ct
from tests.unit.docs import conformance

WAIT_S = 20
STUDY = "1.2.840.99.1"
TYPE = 'multipart/related; type="application/dicom"; boundary=xX'
GARBAGE = bytes(128) + b"DICM" + b"garbage" * 9


class Orthanc:
    """Keeps files, and refuses what it is told to."""

    def __init__(self) -> None:
        self.files: list[bytes] = []
        self.requests: list[tuple[str, Mapping[str, str]]] = []
        self.reasons: dict[bytes, int] = {GARBAGE: 0xC000}

    def keep(self, content: bytes) -> int:
        reason = self.reasons.get(content, 0)
        self.files += [] if reason else [content]
        return reason

    def arrived(self, path: str, headers: Mapping[str, str]) -> None:
        self.requests.append((path, headers))


type Send = Callable[..., tuple[int, dict[str, Any], http.client.HTTPResponse]]


@pytest.fixture
def orthanc() -> Orthanc:
    return Orthanc()


@pytest.fixture
def send(orthanc: Orthanc, listener: Listener, tls: ssl.SSLContext) -> Iterator[Send]:
    """Send a request; return status, JSON and the response."""
    stow = Stow(orthanc.keep, orthanc.arrived, most_bytes=1 << 20)
    port = stow.start(listener)
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=tls, timeout=WAIT_S)

    def ask(
        body: Any, path: str = "/dicom-web/studies", method: str = "POST", kind: str = TYPE
    ) -> tuple[int, dict[str, Any], http.client.HTTPResponse]:
        headers = {"Content-Type": kind, "X-Hapacs-User": "anna", "Host": "pacs.example"}
        connection.request(method, path, body=body, headers=headers, encode_chunked=not isinstance(body, bytes))
        answer = connection.getresponse()
        content = answer.read()
        return answer.status, json.loads(content) if content.startswith(b"{") else {}, answer

    assert stow.running.probe() == "connections are accepted"
    yield ask
    connection.close()
    stow.running.stop()


def framed(*contents: bytes, kind: bytes = b"application/dicom", end: bytes = b"--xX--\r\n") -> bytes:
    head = b"--xX\r\nContent-Type: " + kind + b"\r\n\r\n"
    return b"".join(head + content + b"\r\n" for content in contents) + end


def uids(document: dict[str, Any], key: str) -> list[str | None]:
    return [(one["00081155"].get("Value") or [None])[0] for one in document.get(key, {}).get("Value", [])]


def sop(content: bytes) -> str:
    return str(dcmread(io.BytesIO(content)).SOPInstanceUID)


def test_images_are_stored_and_named(send: Send, orthanc: Orthanc) -> None:
    images = [ct(StudyInstanceUID=STUDY) for _ in range(3)]
    status, document, answer = send(framed(*images))
    assert (status, answer.getheader("Content-Type")) == (200, "application/dicom+json")
    assert orthanc.files == images
    assert uids(document, "00081199") == [sop(one) for one in images]
    assert "00081198" not in document
    assert document["00081190"]["Value"] == [f"https://pacs.example/dicom-web/studies/{STUDY}"]
    url = document["00081199"]["Value"][0]["00081190"]["Value"][0]
    assert url.startswith(f"https://pacs.example/dicom-web/studies/{STUDY}/series/")
    assert document["00081199"]["Value"][0]["00081150"]["Value"] == ["1.2.840.10008.5.1.4.1.1.2"]
    ((path, headers),) = orthanc.requests
    assert (path, headers["x-hapacs-user"]) == ("/dicom-web/studies", "anna")


@pytest.mark.parametrize("size", [1, 7, 500, 100_000])
def test_a_chunked_body_is_taken(send: Send, orthanc: Orthanc, size: int) -> None:
    images = [ct(), ct()]
    body = framed(*images)
    assert send(iter([body[at : at + size] for at in range(0, len(body), size)]))[0] == 200
    assert orthanc.files == images
    # The connection is still in step.
    assert send(framed(ct()))[0] == 200


def test_good_and_bad_parts_are_accepted_and_both_are_listed(send: Send, orthanc: Orthanc) -> None:
    good, other, refused = ct(), ct(), ct()
    orthanc.reasons[refused] = 0xA700
    status, document, _ = send(framed(good, GARBAGE, refused, other))
    assert status == 202
    assert uids(document, "00081199") == [sop(good), sop(other)]
    assert uids(document, "00081198") == [None, sop(refused)]
    assert [one["00081197"]["Value"] for one in document["00081198"]["Value"]] == [[0xC000], [0xA700]]


def test_an_image_of_another_study_than_the_path_names_is_not_stored(send: Send, orthanc: Orthanc) -> None:
    right, wrong = ct(StudyInstanceUID=STUDY), ct()
    status, document, _ = send(framed(right, wrong), f"/dicom-web/studies/{STUDY}")
    assert (status, orthanc.files) == (202, [right])
    assert document["00081198"]["Value"][0]["00081197"]["Value"] == [0xA900]
    assert send(framed(wrong), f"/dicom-web/studies/{STUDY}")[0] == 409


@pytest.mark.parametrize(("reason", "status"), [(0xC000, 400), (0x0124, 409), (0xA700, 503)])
def test_a_request_of_which_nothing_is_stored_fails(send: Send, orthanc: Orthanc, reason: int, status: int) -> None:
    image = ct()
    orthanc.reasons[image] = reason
    code, document, answer = send(framed(image))
    assert code == status
    assert uids(document, "00081198") == [sop(image)]
    assert (answer.getheader("Retry-After") is not None) == (status == 503)


@pytest.mark.parametrize("reason", [row[0] for row in conformance.rows("stow-reasons")])
def test_a_failure_reason_has_the_status_of_the_conformance_statement(
    send: Send, orthanc: Orthanc, reason: str
) -> None:
    image = ct()
    orthanc.reasons[image] = int(reason, 16)
    (expected,) = (row[0] for row in conformance.rows("stow-statuses") if f"all fail with {reason}" in row[1])
    assert str(send(framed(image))[0]) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no boundary",
        b"--xX",
        b"--xX--\r\n",
        b"--xX\r\nContent-Type: application/dicom",
        b"--xX and more\r\n\r\nx\r\n--xX--",
        framed(b"PK\x03\x04" + bytes(124) + b"DICM" + bytes(100)),
        framed(b"short"),
        framed(b""),
    ],
)
def test_what_is_no_multipart_of_files_is_400_at_once(send: Send, orthanc: Orthanc, body: bytes) -> None:
    assert send(body)[0] == 400
    assert orthanc.files == []
    assert send(framed(ct()))[0] == 200


def test_a_part_of_another_type_is_not_stored(send: Send, orthanc: Orthanc) -> None:
    assert send(framed(ct(), kind=b"application/octet-stream"))[0] == 400
    assert send(framed(ct(), kind=b"Application/DICOM; transfer-syntax=1.2.840.10008.1.2.1"))[0] == 200
    assert len(orthanc.files) == 1


@pytest.mark.parametrize("cut", [3, 600])
def test_a_part_that_is_cut_short_is_not_stored(send: Send, orthanc: Orthanc, cut: int) -> None:
    whole, short = ct(), ct()
    body = framed(whole, short, end=b"")
    status, document, _ = send(body[: -cut - 2])
    assert (status, orthanc.files) == (202, [whole])
    assert uids(document, "00081199") == [sop(whole)]
    assert len(uids(document, "00081198")) == 1


def test_a_body_above_the_limit_is_413_also_when_its_length_is_not_said(send: Send, orthanc: Orthanc) -> None:
    large = ct(PixelData=bytes(2 << 20))
    assert send(framed(large))[0] == 413
    body = framed(large)
    assert send(iter([body[at : at + 65536] for at in range(0, (1 << 20) + 65536, 65536)]))[0] == 413
    assert orthanc.files == []


def test_images_before_the_limit_are_named_as_stored(send: Send, orthanc: Orthanc) -> None:
    first = ct()
    body = framed(first, ct(PixelData=bytes(2 << 20)))
    status, document, _ = send(iter([body[at : at + 65536] for at in range(0, (1 << 20) + 65536, 65536)]))
    assert (status, orthanc.files, uids(document, "00081199")) == (202, [first], [sop(first)])
    assert document["00081198"]["Value"][0]["00081197"]["Value"] == [0xA700]


def test_other_methods_and_paths_are_refused(send: Send) -> None:
    for method in ("GET", "PUT", "DELETE"):
        status, _, answer = send(None, method=method)
        assert (status, answer.getheader("Allow")) == (405, "POST")
    assert send(framed(ct()), "/dicom-web/studies/1.2/series/1.3")[0] == 404
    assert send(framed(ct()), kind="application/dicom")[0] == 400


def test_a_server_that_was_stopped_is_reported(orthanc: Orthanc) -> None:
    with pytest.raises(NodeError, match="does not run"):
        Stow(orthanc.keep, orthanc.arrived).running.probe()


def read(body: bytes, **headers: str) -> Body:
    message = Message()
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    return Body.of(io.BytesIO(body), message, 1 << 20)


@pytest.mark.parametrize(
    "headers",
    [
        {}, {"Content_Length": "-1"}, {"Content_Length": "1_0"}, {"Transfer_Encoding": "gzip, chunked"},
        {"Transfer_Encoding": "chunked", "Content_Length": "5"},
    ],
)  # fmt: skip
def test_a_length_that_is_not_clear_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(BadRequestError):
        read(b"5\r\nhello\r\n0\r\n\r\n", **headers)


@pytest.mark.parametrize("body", [b"x\r\n", b"-1\r\n", b"3\r\nabcd\r\n0\r\n\r\n", b"\r\n", b"0x3\r\nabc\r\n0\r\n\r\n"])
def test_chunks_that_are_not_well_formed_are_refused(body: bytes) -> None:
    chunked = read(body, Transfer_Encoding="chunked")
    with pytest.raises(BadRequestError):
        list(iter(chunked.read, b""))


@given(st.lists(st.binary(max_size=60), max_size=4), st.integers(1, 40), st.binary(max_size=10))
def test_parts_come_back_whatever_the_chunks_are(contents: list[bytes], size: int, preamble: bytes) -> None:
    mark = b"a--boundary"
    if any(mark in content for content in [*contents, preamble]) or not contents:
        return
    body = preamble + b"\r\n" if preamble else b""
    for content in contents:
        body += b"--" + mark + b"\r\n\r\n" + content + b"\r\n"
    body += b"--" + mark + b"--"
    chunks: Sequence[bytes] = [body[at : at + size] for at in range(0, len(body), size)]
    sent = b"".join(f"{len(one):x};a=b\r\n".encode() + one + b"\r\n" for one in chunks) + b"0\r\nX: y\r\n\r\n"
    assert list(parts(read(sent, Transfer_Encoding="chunked"), mark)) == [Part("", one) for one in contents]


@pytest.mark.parametrize(
    "kind", ["", "multipart/related", "application/dicom; boundary=x", "multipart/form-data; boundary=x"]
)
def test_a_type_without_a_boundary_is_refused(kind: str) -> None:
    with pytest.raises(BadRequestError):
        boundary(kind)
    assert boundary('Multipart/Related; type="application/dicom"; boundary="a b"') == b"a b"
