"""Frames and pictures over TLS on loopback, of pydicom's files and of made ones; catalog and Orthanc are fakes."""

import http.client
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import UID, ImplicitVRLittleEndian

from hapacs_node.catalog.index import Attachment
from hapacs_node.catalog.selection import Selected, Selection
from hapacs_node.dimse.transfer import Transcoder
from hapacs_node.log import Event
from hapacs_node.loopback import Orthanc
from hapacs_node.metrics import Metrics
from hapacs_node.retrieve.accept import ranges
from hapacs_node.retrieve.budget import Budget
from hapacs_node.retrieve.frames import EXPLICIT, Form, form
from hapacs_node.retrieve.pixels import NoFrameError, NoPixelsError, Pixels
from hapacs_node.retrieve.server import Retrieval
from hapacs_node.retrieve.sources import Sources
from hapacs_node.storage.area import StorageArea
from tests.support.images import ct
from tests.unit.node.fakes import FakeCatalog
from tests.unit.node.test_das import file_of
from tests.unit.node.test_retrieval import balancer, instances_of, port

__all__ = ["balancer", "port"]

STUDY, SERIES, SOP = "1.2.3", "1.2.3.4", "1.2.3.4.5"
INSTANCE = f"/dicom-web/studies/{STUDY}/series/{SERIES}/instances/{SOP}"
OCTETS = 'multipart/related; type="application/octet-stream"'
ANY_SYNTAX = f"{OCTETS}; transfer-syntax=*"
Keep = Callable[[bytes], str]
DECODED = Form(True, "application/octet-stream", EXPLICIT)
RLE, JPEG, JLS, J2K, BIG = (f"1.2.840.10008.1.2.{end}" for end in ("5", "4.50", "4.80", "4.90", "2"))


def content_of(name: str) -> bytes:
    path = get_testdata_file(name)
    assert isinstance(path, str)
    return Path(path).read_bytes()


class Index(FakeCatalog):
    """A catalog in which one instance was stored, perhaps several times."""

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, Attachment] = {}

    def select(self, wanted: Selection) -> list[Selected]:
        self._ask()
        rows = [self.rows[file.uuid] for file in self.files.values()]
        elsewhere = Selected("9.9", SERIES, SOP, "", "", None)
        last = [Selected(STUDY, SERIES, SOP, "", "", rows[-1])] if rows else []
        return [elsewhere, *last] if wanted == Selection(instances=(SOP,)) else []

    def instances(self, name: str) -> dict[str, list[Attachment]]:
        return {one: [file] for one, file in self.files.items()} if name == SOP else {}


class OrthancHttp(BaseHTTPRequestHandler):
    """Answers as Orthanc does, and remembers the requests."""

    asked: list[tuple[str, str | None, str | None]]
    status = 200

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers["Accept"], self.headers["X-Hapacs-User"]))
        body = b"a picture"
        self.send_response(self.status)
        self.send_header("Content-Type", "image/jpeg")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def orthanc() -> Iterator[type[OrthancHttp]]:
    class Handler(OrthancHttp):
        asked = []  # noqa: RUF012 - of this test alone

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Handler.port = server.server_address[1]  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield Handler
    server.shutdown()
    server.server_close()


@pytest.fixture
def catalog() -> Index:
    return Index()


@pytest.fixture
def retrieval(area: StorageArea, catalog: Index, metrics: Metrics, orthanc: type[OrthancHttp]) -> Retrieval:
    def transcode(content: bytes, syntax: str) -> bytes:
        dataset, file = dcmread(BytesIO(content)), BytesIO()
        dataset.decompress()
        assert dataset.file_meta.TransferSyntaxUID == syntax
        dataset.save_as(file, enforce_file_format=True)
        return file.getvalue()

    made = Retrieval(catalog, area, Budget(1 << 24, 0.2), metrics, Transcoder(transcode))
    made.orthanc = Orthanc(orthanc.port)  # type: ignore[attr-defined]
    return made


@pytest.fixture
def keep(area: StorageArea, catalog: Index) -> Keep:
    """Store a file; return Orthanc's identifier of it."""

    def store(content: bytes) -> str:
        uuid, name = uuid4(), f"orthanc{len(catalog.files)}"
        area.create(str(uuid), 1, content)
        catalog.files[name] = Attachment(uuid, 1, len(content), 1, "")
        return name

    return store


def get(
    connection: http.client.HTTPSConnection, path: str, accept: str = ANY_SYNTAX, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection.request("GET", path, headers={"Accept": accept, **headers})
    answer = connection.getresponse()
    return answer.status, dict(answer.headers), answer.read()


@pytest.mark.parametrize(
    ("name", "media_type", "syntax"),
    [
        ("MR_small_RLE.dcm", "image/dicom-rle", RLE),
        ("SC_rgb_jpeg_dcmtk.dcm", "image/jpeg", JPEG),
        ("MR_small_jpeg_ls_lossless.dcm", "image/jls", JLS),
        ("examples_jpeg2k.dcm", "image/jp2", J2K),
    ],
)
def test_a_compressed_frame_is_sent_as_stored_with_its_media_type(
    balancer: http.client.HTTPSConnection,
    keep: Keep,
    name: str,
    media_type: str,
    syntax: str,
) -> None:
    content = content_of(name)
    keep(content)
    expected = get_frame(dcmread(BytesIO(content)).PixelData, 0, number_of_frames=1)
    for accept in (
        ANY_SYNTAX,
        f'multipart/related; type="{media_type}"',
        "*/*",
        f'{OCTETS}; transfer-syntax="{syntax}"',
    ):
        status, headers, body = get(balancer, f"{INSTANCE}/frames/1", accept)
        assert (status, instances_of(headers, body)) == (200, [expected])
        assert int(headers["Content-Length"]) == len(body)
        assert f"Content-Type: {media_type}; transfer-syntax={syntax}\r\n".encode() in body
    status, headers, body = get(balancer, f"{INSTANCE}/frames/1", media_type)
    assert (status, headers["Content-Type"], body) == (200, f"{media_type}; transfer-syntax={syntax}", expected)


def test_a_compressed_frame_is_decoded_for_who_takes_octets(
    balancer: http.client.HTTPSConnection,
    keep: Keep,
) -> None:
    content = content_of("SC_rgb_rle_2frame.dcm")
    keep(content)
    pixels = dcmread(BytesIO(content)).pixel_array
    for accept in (OCTETS, f"{OCTETS}; transfer-syntax={EXPLICIT}"):
        status, headers, body = get(balancer, f"{INSTANCE}/frames/2", accept)
        (frame,) = instances_of(headers, body)
        decoded = dcmread(BytesIO(content))
        decoded.decompress()
        size = pixels[0].size
        assert (status, frame) == (200, decoded.PixelData[size : 2 * size])
        assert f"transfer-syntax={EXPLICIT}\r\n".encode() in body


def test_a_frame_that_no_decoder_takes_is_406(
    balancer: http.client.HTTPSConnection,
    keep: Keep,
    retrieval: Retrieval,
) -> None:
    keep(content_of("MR_small_RLE.dcm"))
    retrieval.transcoder.transcode = None
    status, _, body = get(balancer, f"{INSTANCE}/frames/1", OCTETS)
    assert (status, RLE.encode() in body) == (406, True)
    assert get(balancer, f"{INSTANCE}/frames/1", "image/png")[0] == 406
    assert get(balancer, f"{INSTANCE}/frames/1", f"{OCTETS};q=0.5, {ANY_SYNTAX};q=0.1")[0] == 406
    assert get(balancer, f"{INSTANCE}/frames/1", f"image/png, {ANY_SYNTAX};q=0.1")[0] == 200


def test_frames_are_sent_by_number_and_in_the_order_of_the_list(
    balancer: http.client.HTTPSConnection,
    keep: Keep,
) -> None:
    pixels = np.arange(3 * 16 * 16, dtype="<u2")
    keep(ct(NumberOfFrames=3, PixelData=pixels.tobytes()))
    expected = [frame.tobytes() for frame in pixels.reshape(3, 256)]
    for listed, numbers in (("2", (2,)), ("1,2,3", (1, 2, 3)), ("3,1", (3, 1))):
        status, headers, body = get(balancer, f"{INSTANCE}/frames/{listed}", OCTETS)
        assert (status, instances_of(headers, body)) == (200, [expected[number - 1] for number in numbers])
    status, headers, body = get(balancer, f"{INSTANCE}/frames/3", "application/octet-stream")
    assert (status, body) == (200, expected[2])
    assert get(balancer, f"{INSTANCE}/frames/1,3", "application/octet-stream")[0] == 406


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{INSTANCE}/frames/2", 404),
        (f"{INSTANCE}/frames/1,2", 404),
        (f"{INSTANCE}/frames/0", 400),
        (f"{INSTANCE}/frames/1,1", 400),
        (f"{INSTANCE}/frames/x", 404),
        (f"{INSTANCE}/frames/1,", 404),
        (f"{INSTANCE}.9/frames/1", 404),
        (INSTANCE.replace(SERIES, "1.9") + "/frames/1", 404),
    ],
)
def test_frames_that_are_not_there_are_refused(
    balancer: http.client.HTTPSConnection,
    keep: Keep,
    path: str,
    status: int,
) -> None:
    keep(ct())
    assert get(balancer, path)[0] == status
    assert get(balancer, f"{INSTANCE}/frames/1")[0] == 200


def test_a_loop_is_read_and_decoded_once_while_it_is_played(
    balancer: http.client.HTTPSConnection, keep: Keep, retrieval: Retrieval, catalog: Index, root: Path
) -> None:
    keep(content_of("SC_rgb_rle_2frame.dcm"))
    calls: list[str] = []
    decode = retrieval.transcoder.transcode
    assert decode is not None

    def counted(content: bytes, syntax: str) -> bytes:
        calls.append(syntax)
        return decode(content, syntax)

    retrieval.transcoder.transcode = counted
    first = [get(balancer, f"{INSTANCE}/frames/1", accept)[2] for accept in (ANY_SYNTAX, "application/octet-stream")]
    (row,) = catalog.rows.values()
    file_of(root, row.digest).unlink()
    again = [get(balancer, f"{INSTANCE}/frames/1", accept)[2] for accept in (ANY_SYNTAX, "application/octet-stream")]
    assert (len(first[0]) == len(again[0]), first[1] == again[1], calls) == (True, True, [EXPLICIT])
    assert not file_of(root, row.digest).exists()


def test_a_frame_from_the_archive_reads_the_other_images_of_its_series_ahead(
    area: StorageArea, catalog: Index, keep: Keep, root: Path
) -> None:
    for number in range(3):
        keep(ct(PixelData=bytes([number]) * 512))
    rows = list(catalog.rows.values())
    catalog.in_series = [row.uuid for row in rows]
    files = [file_of(root, row.digest) for row in rows]
    for file in files:
        file.unlink()
    (frame,) = Sources(area.reader, Transcoder(None)).stored(rows[1]).take([1])
    assert bytes(frame) == b"\1" * 512
    deadline = time.monotonic() + 10
    while not all(file.exists() for file in files) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert all(file.exists() for file in files)


def test_a_damaged_frame_is_restored_before_it_is_sent(
    balancer: http.client.HTTPSConnection, catalog: Index, keep: Keep, root: Path
) -> None:
    keep(ct(PixelData=b"\1" * 512))
    (row,) = catalog.rows.values()
    for _ in range(3):
        assert instances_of(*get(balancer, f"{INSTANCE}/frames/1")[1:]) == [b"\1" * 512]
        # A byte of the pixels, in a file that keeps its size and its time.
        file = file_of(root, row.digest)
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        times = file.stat()
        file.chmod(0o640)
        with file.open("r+b") as stream:
            stream.write(content)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_frames_that_were_sent_are_counted_and_a_refusal_is_an_event(
    balancer: http.client.HTTPSConnection, keep: Keep, retrieval: Retrieval, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "hapacs.retrieve")
    keep(ct(NumberOfFrames=3, PixelData=bytes(3 * 512)))
    for frame, status in ((1, 200), (2, 200), (4, 404), (3, 200)):
        assert get(balancer, f"{INSTANCE}/frames/{frame}", **{"X-Hapacs-User": "anna"})[0] == status
    retrieval.stop()
    events = [record.msg.fields for record in caplog.records if isinstance(record.msg, Event)]
    assert [(one.get("sop"), one["objects"], one["outcome"]) for one in events if one["user"] == "anna"] == [
        (SOP, "1", "sent"), (SOP, "0", "refused"), (None, "2", "sent"),
    ]  # fmt: skip


def test_no_more_is_kept_than_the_limit(area: StorageArea, catalog: Index, keep: Keep) -> None:
    for number in range(3):
        keep(ct(NumberOfFrames=2, PixelData=bytes([number]) * 1024))
    rows = list(catalog.rows.values())
    # UIDs are random, so sizes differ by some bytes.
    two = rows[1].size + rows[2].size
    sources = Sources(area.reader, Transcoder(None), most_bytes=two)
    kept = [sources.stored(row) for row in rows]
    assert sources._kept_bytes == two
    assert [sources.stored(row) is one for row, one in zip(rows[::-1], kept[::-1], strict=True)] == [True, True, False]


def test_the_frame_is_of_the_image_that_was_stored_last(
    balancer: http.client.HTTPSConnection,
    keep: Keep,
) -> None:
    for number in (1, 2):
        keep(ct(PatientID=f"P{number}", PixelData=bytes([number]) * 512))
    status, headers, body = get(balancer, f"{INSTANCE}/frames/1")
    assert (status, instances_of(headers, body)) == (200, [b"\2" * 512])


def test_an_object_without_pixels_is_406(
    balancer: http.client.HTTPSConnection,
    keep: Keep,
) -> None:
    keep(content_of("reportsi.dcm"))
    status, _, body = get(balancer, f"{INSTANCE}/frames/1")
    assert (status, body) == (406, b"the object has no pixel data\n")


@pytest.mark.parametrize(
    ("accept", "stored", "count", "expected"),
    [
        (ANY_SYNTAX, ImplicitVRLittleEndian, 2, DECODED),
        ("*/*", ImplicitVRLittleEndian, 1, DECODED),
        (f"{OCTETS}; transfer-syntax=1.2.840.10008.1.2", EXPLICIT, 1, DECODED),
        (OCTETS, BIG, 1, DECODED),
        ('multipart/related; type="image/jpeg"', EXPLICIT, 1, None),
        ('multipart/related; type="image/jpeg"', J2K, 1, None),
        ('multipart/related; type="image/jpeg"; transfer-syntax=1.2.840.10008.1.2.4.70', JPEG, 1, None),
        ('multipart/related; type="image/x-jls"', JLS, 1, Form(True, "image/jls", JLS)),
        (f"multipart/related; type=image/jp2;q=0.5, {OCTETS}", J2K, 1, DECODED),
        (f"multipart/related; type=image/jp2, {OCTETS};q=0.9", J2K, 1, Form(True, "image/jp2", J2K)),
        ("multipart/related; type=application/dicom", EXPLICIT, 1, None),
        ("text/html", EXPLICIT, 1, None),
    ],
)  # fmt: skip
def test_the_form_of_frames_is_the_best_that_is_accepted(
    accept: str, stored: str, count: int, expected: Form | None
) -> None:
    assert form(ranges([accept]), stored, count) == expected


def test_frames_of_one_bit_are_shifted_to_the_start_of_a_byte() -> None:
    bits = np.random.default_rng(1).integers(0, 2, (3, 3, 3), dtype=np.uint8)
    packed = np.packbits(bits.ravel(), bitorder="little").tobytes()
    made = ct(NumberOfFrames=3, Rows=3, Columns=3, BitsAllocated=1, BitsStored=1, HighBit=0, PixelData=packed)
    for number in (1, 2, 3):
        (frame,) = Pixels.of(made).take([number])
        found = np.unpackbits(np.frombuffer(frame, np.uint8), bitorder="little")[:9]
        assert found.tolist() == bits[number - 1].ravel().tolist()


def test_a_frame_of_several_fragments_is_joined() -> None:
    made = dcmread(BytesIO(ct(NumberOfFrames=2)))
    frames = [bytes([number]) * 98 + b"\xff\xd9" for number in (1, 2)]
    made.PixelData = encapsulate(frames, fragments_per_frame=3, has_bot=False)
    made["PixelData"].VR = "OB"
    made.file_meta.TransferSyntaxUID = UID(JPEG)
    file = BytesIO()
    made.save_as(file)
    found = Pixels.of(file.getvalue()).take([2, 1])
    assert [frame.rstrip(b"\0") for frame in found if isinstance(frame, bytes)] == frames[::-1]


@pytest.mark.parametrize("cut", [-1, -300, -520, -560])
def test_a_file_that_is_cut_off_gives_no_frame(cut: int) -> None:
    with pytest.raises((NoPixelsError, NoFrameError)):
        Pixels.of(ct()[:cut]).take([1])


@pytest.mark.parametrize("junk", [b"", b"junk", bytes(132) + b"DICM", ct(Rows=0), ct(BitsAllocated=None)])
def test_junk_gives_no_frame(junk: bytes) -> None:
    with pytest.raises(NoPixelsError):
        Pixels.of(junk).take([1])


def test_a_picture_of_an_image_that_is_there_once_is_asked_of_the_plugin(
    balancer: http.client.HTTPSConnection,
    keep: Keep,
    orthanc: type[OrthancHttp],
) -> None:
    keep(ct())
    path = f"{INSTANCE}/rendered?window=40,400,sigmoid&viewport=8,8,1,1,4,4"
    status, headers, body = get(balancer, path, "image/jpeg", **{"X-Hapacs-User": "reader"})
    assert (status, headers["Content-Type"], body) == (200, "image/jpeg", b"a picture")
    assert orthanc.asked == [(path, "image/jpeg", "reader")]
    assert get(balancer, f"{INSTANCE}.9/rendered", "image/jpeg")[0] == 404
    assert len(orthanc.asked) == 1


@pytest.mark.parametrize(
    ("asked", "passed"),
    [
        ("/rendered", "/frames/0/rendered"),
        ("/frames/3/rendered", "/frames/2/rendered"),
        ("/rendered?window=40,400,linear", "/frames/0/rendered?window-center=40&window-width=400"),
        ("/rendered?window=-40.5%2C400", "/frames/0/rendered?window-center=-40.5&window-width=400"),
        ("/rendered?viewport=64,32", "/frames/0/rendered?width=64&height=32&smooth=1"),
        ("/rendered?quality=50&x=1", "/frames/0/rendered?quality=50"),
        ("/thumbnail", "/frames/0/rendered?width=128&height=128&smooth=1"),
    ],
)
def test_of_an_image_under_two_patient_ids_the_last_one_is_made_a_picture(
    balancer: http.client.HTTPSConnection,
    keep: Keep,
    orthanc: type[OrthancHttp],
    asked: str,
    passed: str,
) -> None:
    for number in (1, 2):
        last = keep(ct(PatientID=f"P{number}"))
    assert get(balancer, f"{INSTANCE}{asked}", "image/png")[0] == 200
    assert orthanc.asked == [(f"/instances/{last}{passed}", "image/png", None)]


@pytest.mark.parametrize(
    "asked", ["window=a", "window=1,2,sigmoid", "viewport=0x1", "viewport=1,2,3,4,5,6", "quality=0", "quality=101"]
)
def test_a_parameter_without_meaning_is_400(
    balancer: http.client.HTTPSConnection,
    keep: Keep,
    orthanc: type[OrthancHttp],
    asked: str,
) -> None:
    for number in (1, 2):
        keep(ct(PatientID=f"P{number}"))
    assert get(balancer, f"{INSTANCE}/rendered?{asked}", "image/png")[0] == 400
    assert not orthanc.asked


@pytest.mark.parametrize(("status", "expected"), [(400, 400), (404, 404), (503, 503), (415, 406), (500, 406)])
def test_what_orthanc_can_not_make_is_refused(
    balancer: http.client.HTTPSConnection,
    keep: Keep,
    orthanc: type[OrthancHttp],
    status: int,
    expected: int,
) -> None:
    keep(ct())
    orthanc.status = status
    assert get(balancer, f"{INSTANCE}/rendered", "image/png")[0] == expected


def test_without_orthanc_the_answer_is_503_so_that_another_node_can_answer(
    balancer: http.client.HTTPSConnection,
    keep: Keep,
    retrieval: Retrieval,
) -> None:
    keep(ct())
    retrieval.orthanc = Orthanc(9, 1)
    assert get(balancer, f"{INSTANCE}/rendered", "image/png")[0] == 503
