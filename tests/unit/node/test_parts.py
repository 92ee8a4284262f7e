"""Single frames of large files over TLS on loopback, with a real DAS; catalog and archive are fakes."""

import http.client
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import UID

from hapacs_node.errors import DasError
from hapacs_node.retrieve.parts import Known, Parts
from hapacs_node.retrieve.pixels import Pixels
from hapacs_node.retrieve.server import Retrieval
from hapacs_node.storage.das import Das
from tests.support.images import ct
from tests.unit.node.test_das import file_of
from tests.unit.node.test_frames import INSTANCE, JPEG, Index, Keep, catalog, content_of, get, keep, orthanc
from tests.unit.node.test_frames import retrieval as retrieval_of_frames
from tests.unit.node.test_retrieval import balancer, instances_of, port

__all__ = ["balancer", "catalog", "keep", "orthanc", "port", "retrieval_of_frames"]

FRAMES, FRAME_BYTES = 5, 512


def loop(**attributes: object) -> bytes:
    """Make an image with frames of different bytes."""
    pixels = b"".join(bytes([number]) * FRAME_BYTES for number in range(1, FRAMES + 1))
    return ct(NumberOfFrames=FRAMES, PixelData=pixels, **attributes)


@pytest.fixture
def retrieval(retrieval_of_frames: Retrieval) -> Retrieval:
    """A service for which each file with several frames is a large one."""
    retrieval_of_frames._sources.most_bytes = 100
    return retrieval_of_frames


@pytest.fixture
def no_whole_file(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let the DAS return no whole file."""

    def forbid() -> None:
        def read(*_: object, **__: object) -> bytes:
            raise DasError("the whole file is read")

        monkeypatch.setattr(Das, "read", read)

    return forbid


def frame(connection: http.client.HTTPSConnection, number: int) -> bytes:
    status, headers, body = get(connection, f"{INSTANCE}/frames/{number}")
    assert status == 200, body
    (found,) = instances_of(headers, body)
    return found


def flip(file: Path, at: int) -> None:
    """Change a byte, and neither size nor inode."""
    file.chmod(0o640)
    with file.open("r+b") as stream:
        stream.seek(at)
        (byte,) = stream.read(1)
        stream.seek(at)
        stream.write(bytes([byte ^ 1]))


@pytest.mark.usefixtures("retrieval")
def test_frames_after_the_first_one_are_read_without_the_whole_file(
    balancer: http.client.HTTPSConnection, keep: Keep, no_whole_file: Callable[[], None]
) -> None:
    keep(loop())
    assert frame(balancer, 1) == b"\1" * FRAME_BYTES
    no_whole_file()
    for number in range(1, FRAMES + 1):
        assert frame(balancer, number) == bytes([number]) * FRAME_BYTES
    status, headers, body = get(balancer, f"{INSTANCE}/frames/4,2")
    assert (status, instances_of(headers, body)) == (200, [b"\4" * FRAME_BYTES, b"\2" * FRAME_BYTES])
    assert get(balancer, f"{INSTANCE}/frames/6")[0] == 404
    assert get(balancer, f"{INSTANCE}/frames/1", "image/png")[0] == 406


@pytest.mark.usefixtures("retrieval")
def test_a_frame_that_changed_on_the_disk_is_not_sent_and_its_file_is_restored(
    balancer: http.client.HTTPSConnection, keep: Keep, catalog: Index, root: Path
) -> None:
    content = loop()
    keep(content)
    assert frame(balancer, 1) == b"\1" * FRAME_BYTES
    (row,) = catalog.rows.values()
    file = file_of(root, row.digest)
    flip(file, content.index(b"\3" * FRAME_BYTES) + 100)
    assert frame(balancer, 2) == b"\2" * FRAME_BYTES
    assert file.read_bytes() != content
    assert frame(balancer, 3) == b"\3" * FRAME_BYTES
    assert file.read_bytes() == content


@pytest.mark.usefixtures("retrieval")
def test_a_file_that_left_the_das_is_read_from_the_archive(
    balancer: http.client.HTTPSConnection, keep: Keep, catalog: Index, root: Path
) -> None:
    keep(loop())
    assert frame(balancer, 1) == b"\1" * FRAME_BYTES
    (row,) = catalog.rows.values()
    file = file_of(root, row.digest)
    file.unlink()
    assert frame(balancer, 5) == b"\5" * FRAME_BYTES
    assert file.exists()


def test_a_frame_takes_its_own_bytes_of_the_budget(
    balancer: http.client.HTTPSConnection, keep: Keep, retrieval: Retrieval
) -> None:
    keep(loop())
    with retrieval.budget.hold(retrieval.budget.bytes - FRAME_BYTES):
        assert get(balancer, f"{INSTANCE}/frames/1")[0] == 503
    assert frame(balancer, 1) == b"\1" * FRAME_BYTES
    with retrieval.budget.hold(retrieval.budget.bytes - FRAME_BYTES):
        assert frame(balancer, 2) == b"\2" * FRAME_BYTES


@pytest.mark.usefixtures("retrieval")
def test_what_has_to_be_decoded_is_read_whole(
    balancer: http.client.HTTPSConnection, keep: Keep, no_whole_file: Callable[[], None]
) -> None:
    content = content_of("SC_rgb_rle_2frame.dcm")
    keep(content)
    stored = dcmread(BytesIO(content))
    for number in (1, 2):
        assert frame(balancer, number) == get_frame(stored.PixelData, number - 1, number_of_frames=2)
    decoded = dcmread(BytesIO(content)).pixel_array
    status, _, body = get(balancer, f"{INSTANCE}/frames/2", "application/octet-stream")
    assert (status, len(body)) == (200, decoded[1].size)
    no_whole_file()
    assert frame(balancer, 2) == get_frame(stored.PixelData, 1, number_of_frames=2)


def compressed(frames: list[bytes], *, fragments: int) -> Pixels:
    made = dcmread(BytesIO(ct(NumberOfFrames=len(frames))))
    made.PixelData = encapsulate(frames, fragments_per_frame=fragments)
    made["PixelData"].VR, made["PixelData"].is_undefined_length = "OB", True
    made.file_meta.TransferSyntaxUID = UID(JPEG)
    file = BytesIO()
    made.save_as(file, enforce_file_format=True)
    return Pixels.of(file.getvalue())


def test_compressed_frames_of_several_fragments_are_no_parts() -> None:
    frames = [bytes([number]) * 100 for number in (1, 2, 3)]
    one = Parts.of("digest", compressed(frames, fragments=1))
    assert one is not None
    assert one.size_of([1, 3]) == 200
    assert Parts.of("digest", compressed(frames, fragments=2)) is None


def test_a_table_of_offsets_in_another_order_than_the_fragments_gives_no_parts() -> None:
    pixels = compressed([bytes([number]) * 100 for number in (1, 2)], fragments=1)
    first, second = (0).to_bytes(4, "little"), (108).to_bytes(4, "little")
    assert first + second in pixels.content
    turned = Pixels.of(pixels.content.replace(first + second, second + first, 1))
    assert Parts.of("digest", turned) is None


def test_frames_that_begin_inside_of_a_byte_and_files_that_are_cut_off_are_no_parts() -> None:
    packed = np.packbits(np.ones(27, dtype=np.uint8)).tobytes()
    bits = ct(NumberOfFrames=3, Rows=3, Columns=3, BitsAllocated=1, BitsStored=1, HighBit=0, PixelData=packed)
    assert Parts.of("digest", Pixels.of(bits)) is None
    assert Parts.of("digest", Pixels.of(loop()[:-1])) is None


def test_no_more_frames_are_known_than_the_limit() -> None:
    known = Known(most_frames=2 * FRAMES)
    pixels = Pixels.of(loop())
    for name in "abc":
        known.keep(name, pixels)
        known.get("b")
    assert [name for name in "abc" if known.get(name) is not None] == ["b", "c"]
