"""Images that leave in another transfer syntax: pixels of real files, and what storescp gets."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from hapacs.load.made import encoded, made_sr, part_10
from hapacs_node.catalog.tasks import Task
from hapacs_node.outbox.answers import Ended
from hapacs_node.routing import send, wire
from hapacs_node.routing.destination import DicomDestination, WantedSyntax
from hapacs_node.routing.image import Message, parse
from hapacs_node.routing.peer import Access
from hapacs_node.routing.transcode import UNCOMPRESSED, TranscodingError, choices, transcoded
from tests.support.storescp import PROGRAM, StoreScp
from tests.unit.routing.test_wire import free_port

COMPRESSED = (
    "JPEG2000.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "MR_small_RLE.dcm",
    "JPGExtended.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "SC_rgb_rle_16bit_2frame.dcm",
    "JPEGLSNearLossless_16.dcm",
)
storescp = pytest.mark.skipif(PROGRAM is None, reason="dcmtk is not installed")


def read(name: str) -> Message:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    return parse(Path(path).read_bytes())


def dataset(message: Message) -> Dataset:
    return dcmread(BytesIO(message.file))


@pytest.mark.parametrize("name", COMPRESSED)
@pytest.mark.parametrize("syntax", UNCOMPRESSED)
def test_decompressed_pixels_are_those_of_the_image(name: str, syntax: str) -> None:
    before = read(name)
    after = transcoded(before, syntax)
    own, made = dataset(before), dataset(after)
    assert (after.transfer_syntax, made.file_meta.TransferSyntaxUID) == (syntax, syntax)
    assert (after.sop, after.sop_class, made.SOPInstanceUID) == (before.sop, before.sop_class, own.SOPInstanceUID)
    assert np.array_equal(made.pixel_array, own.pixel_array)
    # Private elements without a known VR come back as bytes.
    kept = {one.tag for one in own if one.tag.group not in {0x0028, 0x7FE0, 0xFFFC} and not one.tag.is_private}
    assert all(made[tag] == own[tag] for tag in kept)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, RLELossless])
@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm"])
def test_compression_loses_nothing(name: str, syntax: str) -> None:
    before = read(name)
    after = transcoded(before, syntax)
    assert after.transfer_syntax == syntax
    assert dataset(after).SOPInstanceUID == dataset(before).SOPInstanceUID
    assert np.array_equal(dataset(after).pixel_array, dataset(before).pixel_array)


def test_elements_without_pixels_are_encoded_in_the_other_way() -> None:
    report = made_sr("1.2.3", "1.2.4", 1)
    kind = (report.SOPClassUID, str(report.SOPInstanceUID), ExplicitVRLittleEndian)
    before = parse(part_10(kind, encoded(report)))
    after = transcoded(before, ImplicitVRLittleEndian)
    assert dataset(after).ContentSequence == dataset(before).ContentSequence
    with pytest.raises(TranscodingError, match="no pixels, or"):
        transcoded(before, JPEG2000Lossless)


@pytest.mark.parametrize("name", [*COMPRESSED, "CT_small.dcm"])
def test_pixels_that_are_cut_off_are_an_error_and_no_image(name: str) -> None:
    content = read(name).file
    for kept in (len(content) * 3 // 4, len(content) - 100):
        with pytest.raises(TranscodingError):
            transcoded(parse(content[:kept]), ImplicitVRLittleEndian)


def test_a_frame_without_its_last_marker_is_cut_off() -> None:
    content = read("JPEG2000.dcm").file
    with pytest.raises(TranscodingError, match="frame 1 of its pixels is cut off"):
        transcoded(parse(content.replace(b"\xff\xd9", b"\x00\x00")), ExplicitVRLittleEndian)


def test_the_order_of_bytes_is_not_changed() -> None:
    with pytest.raises(TranscodingError, match="big endian"):
        transcoded(read("MR_small_bigendian.dcm"), ExplicitVRLittleEndian)


def test_an_image_that_would_take_too_much_memory_is_left_alone() -> None:
    large = dataset(read("MR_small_RLE.dcm"))
    large.NumberOfFrames = 100_000
    output = BytesIO()
    large.save_as(output)
    with pytest.raises(TranscodingError, match="MB of pixels"):
        transcoded(parse(output.getvalue()), ExplicitVRLittleEndian)


@pytest.mark.parametrize(
    ("stored", "wanted", "expected"),
    [
        (JPEG2000Lossless, None, [JPEG2000Lossless, *UNCOMPRESSED]),
        (ExplicitVRLittleEndian, None, list(UNCOMPRESSED)),
        (ExplicitVRBigEndian, None, [ExplicitVRBigEndian, *UNCOMPRESSED]),
        (JPEGBaseline8Bit, "explicit", [ExplicitVRLittleEndian, JPEGBaseline8Bit, ImplicitVRLittleEndian]),
        (ExplicitVRLittleEndian, "jpeg-2000-lossless", [JPEG2000Lossless, *UNCOMPRESSED]),
        (JPEGBaseline8Bit, "rle-lossless", [JPEGBaseline8Bit, *UNCOMPRESSED]),
    ],
)
def test_the_wanted_transfer_syntax_comes_first_then_the_stored_one(
    stored: str, wanted: WantedSyntax | None, expected: list[str]
) -> None:
    assert list(choices(stored, wanted)) == expected


def task(message: Message, number: int = 1, sop_class: str = "") -> Task:
    names = (sop_class or str(message.sop_class), str(message.transfer_syntax))
    return Task(number, UUID(int=number), "1.2", "1.3", str(message.sop), *names, len(message.file), "all", None, 1)


@pytest.fixture
def scp(tmp_path: Path) -> Iterator[StoreScp]:
    server = StoreScp(free_port(), tmp_path / "received", syntaxes="+x=")
    yield server
    server.stop()


def sent(scp: StoreScp, message: Message, wanted: WantedSyntax | None = None) -> Ended:
    peer = DicomDestination(ae_title="PEER", host="127.0.0.1", port=scp.port, timeout_s=20, transfer_syntax=wanted)
    with send.associate(peer, [task(message)], Access()) as session:
        (ended,) = session.send([(task(message), message)])
    return ended


@storescp
def test_a_peer_without_compression_gets_the_image_decompressed(scp: StoreScp) -> None:
    scp.start()
    message = read("JPEG2000.dcm")
    assert sent(scp, message) == Ended(1, "confirmed")
    (received,) = scp.received().values()
    made = dcmread(received, force=True)
    assert made.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert np.array_equal(made.pixel_array, dataset(message).pixel_array)


@storescp
def test_a_peer_that_takes_it_gets_the_bytes_as_they_are_stored(scp: StoreScp) -> None:
    scp.syntaxes = "+xa"
    scp.start()
    message = read("JPEG2000.dcm")
    assert sent(scp, message).state == "confirmed"
    assert scp.received()[str(message.sop)].read_bytes().endswith(bytes(message.dataset))


@storescp
def test_a_destination_gets_the_transfer_syntax_that_it_wants(scp: StoreScp) -> None:
    scp.syntaxes = "+xa"
    scp.start()
    message = read("CT_small.dcm")
    assert sent(scp, message, "rle-lossless").state == "confirmed"
    made = dcmread(scp.received()[str(message.sop)], force=True)
    assert made.file_meta.TransferSyntaxUID == RLELossless
    assert np.array_equal(made.pixel_array, dataset(message).pixel_array)


@storescp
def test_what_cannot_be_converted_is_dead_with_its_reason(scp: StoreScp) -> None:
    scp.start()
    content = read("JPEG2000.dcm").file
    ended = sent(scp, parse(content[: len(content) // 2]))
    assert ended.state == "dead"
    assert "is not accepted, and it has no pixels, or they can't be read" in ended.reason
    assert scp.received() == {}


class Peer:
    """An association that accepts nothing."""

    accepted: dict[tuple[str, str], int] = {}  # noqa: RUF012 - nothing is added

    def release(self) -> None:
        """Nothing is open."""


def test_more_than_128_contexts_are_split_and_no_task_is_refused_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    proposals: list[int] = []

    def opened(_destination: object, _calling: str, proposed: list[object], _tls: object) -> Peer:
        proposals.append(len(proposed))
        return Peer()

    monkeypatch.setattr(wire.Association, "open", opened)
    message = read("JPEG2000.dcm")
    peer = DicomDestination(ae_title="PEER", host="127.0.0.1", port=104)
    waiting = [task(message, number, f"{CTImageStorage}.{number}") for number in range(1, 101)]
    ends: list[Ended] = []
    while waiting:
        with send.associate(peer, waiting, Access()) as session:
            found = session.send([(one, message) for one in waiting])
        ends += [ended for ended in found if ended.tried]
        untried = {ended.id for ended in found if not ended.tried}
        assert len(untried) < len(waiting)
        waiting = [one for one in waiting if one.id in untried]
    # Three transfer syntaxes for each of 100 classes.
    assert proposals == [126, 126, 48]
    assert sorted(ended.id for ended in ends) == list(range(1, 101))
