"""The Orthanc that a node runs by default: hostile objects end no service, and compressed images are decoded."""

from __future__ import annotations

import io
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, FileDataset, dcmread
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from hapacs.dicom import Caller, Peer, Sample, compare, files, find, get, multipart, read_sample, store
from tests.molecule.tls import certified
from tests.support import hostile, htj2k

UNITS = ("orthanc-store", "orthanc-query")
STORE, QUERY, RETRIEVE = 8042, 8043, 8045
# Its pixel data hold the bytes that end a sequence, and GDCM stops there.
NOT_READABLE = "JPEG2000-embedded-sequence-delimiter.dcm"
# Colours of more than eight bits.
NOT_RENDERED = ["SC_rgb_rle_16bit", "SC_rgb_rle_16bit_2frame", "SC_rgb_rle_32bit", "SC_rgb_rle_32bit_2frame"]
# The standard leaves decoders of lossy JPEG some freedom (ISO/IEC 10918-2): cosine transform, and colours from YBR.
JPEG_ROUNDING = 3
SAMPLES = [
    sample
    for sample in map(read_sample, files.shipped_with_pydicom())
    if isinstance(sample, Sample) and not sample.refusal and sample.transfer_syntax.is_encapsulated
]
# What is taken (docs/operations/input.md): Orthanc describes no more. 60 ended a thread with a stack of 100 KB.
LEVELS = 63
# What DCMTK reads with our limit.
READ = 128
NESTED: dict[str, Callable[[bytes, int], bytes]] = {
    "SQ": partial(hostile.nested, vr=b"SQ"),
    "UN": partial(hostile.nested, vr=b"UN"),
    "lengths": hostile.nested_measured,
    "private": hostile.nested_private,
}


@dataclass(frozen=True)
class Node:
    """The host's Orthancs, and clients of them."""

    address: str
    web: httpx.Client
    tls: ssl.SSLContext

    def url(self, port: int, path: str) -> str:
        return f"https://{self.address}:{port}{path}"

    def stores(self, sample: Sample, timeout_s: float = 20) -> bool:
        """Send an image by C-STORE."""
        peer = Peer(self.address, 4242, "HAPACS", timeout_s=timeout_s)
        return store(Caller("MODALITY", self.tls), peer, [sample])[0].stored

    def stow(self, *contents: bytes) -> httpx.Response:
        """Send images by STOW-RS."""
        header, body = multipart.encode(contents, "application/dicom")
        headers = {"Content-Type": header, "Accept": "application/dicom+json"}
        return self.web.post(self.url(STORE, "/dicom-web/studies"), content=body, headers=headers)

    def holds(self, instance: str) -> bool:
        """Return whether the index has an image."""
        return bool(self.web.post(self.url(QUERY, "/tools/lookup"), content=instance).json())


@pytest.fixture(scope="module")
def node(address: str, authorities: Path) -> Iterator[Node]:
    with httpx.Client(verify=certified(authorities, "pacs"), timeout=60) as client:
        yield Node(address, client, certified(authorities, "pacs"))


@pytest.fixture
def unharmed(host: Any) -> Iterator[None]:
    """Check that no process ended."""
    before = processes(host)
    yield
    assert processes(host) == before, "a service ended and was started again"


def processes(host: Any) -> dict[str, str]:
    return {unit: host.check_output(f"systemctl show --property=MainPID --value {unit}") for unit in UNITS}


def test_server_and_its_web_server_are_built_from_debians_sources(host: Any, node: Node) -> None:
    for package in ("orthanc", "libcivetweb1"):
        version = host.package(package).version
        assert "+hapacs." in version
        # An upgrade of Debian's packages would keep it.
        assert f"Candidate: {version}" in host.check_output(f"apt-cache policy {package}")
    for port in (STORE, QUERY):
        assert node.web.get(node.url(port, "/system")).json()["Version"] == "1.13.0"
    for unit in UNITS:
        maps = host.file(f"/proc/{processes(host)[unit]}/maps").content_string
        assert "/usr/lib/hapacs/libnesting.so\n" in maps
        assert "/libcivetweb.so" in maps
        assert "/libcivetweb.so.1.15.0 (deleted)" not in maps


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("kind", NESTED)
@pytest.mark.parametrize("way", ["C-STORE", "STOW-RS"])
def test_nested_sequences_are_stored_and_read_back(node: Node, tmp_path: Path, way: str, kind: str) -> None:
    made = nested(tmp_path, kind, LEVELS)
    instance = str(made.sop_instance)
    if way == "C-STORE":
        assert node.stores(made)
    else:
        answer = node.stow(made.content)
        assert answer.status_code == httpx.codes.OK
        assert listed(answer) == {instance}
    (found,) = node.web.post(node.url(QUERY, "/tools/lookup"), content=instance).json()
    for service in (STORE, QUERY):
        tags = node.web.get(node.url(service, f"/instances/{found['ID']}/tags"))
        assert tags.status_code == httpx.codes.OK
        assert tags.json()["0008,0018"]["Value"] == instance


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("levels", [LEVELS + 1, READ + 1, 600, 20_000])
@pytest.mark.parametrize("kind", NESTED)
@pytest.mark.parametrize("way", ["C-STORE", "STOW-RS", "STOW-RS, deflated"])
def test_sequences_nested_too_deeply_are_refused(node: Node, tmp_path: Path, way: str, kind: str, levels: int) -> None:
    made = nested(tmp_path, kind, levels, deflated="deflated" in way)
    if way == "C-STORE":
        # What DCMTK does not read is not answered: the receiver waits for the rest.
        assert not node.stores(made, timeout_s=1)
    else:
        answer = node.stow(made.content)
        assert answer.status_code == httpx.codes.BAD_REQUEST
        assert listed(answer) == set()
    assert not node.holds(str(made.sop_instance))


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("way", ["C-STORE", "STOW-RS"])
def test_nested_sequences_with_false_lengths_are_refused(node: Node, tmp_path: Path, way: str) -> None:
    content = hostile.nested_false(hostile.identified(*(generate_uid() for _ in range(3))), 20_000)
    made = hostile.sample(tmp_path / "file", content)
    if way == "C-STORE":
        assert not node.stores(made, timeout_s=1)
    else:
        assert node.stow(made.content).status_code == httpx.codes.BAD_REQUEST


@pytest.mark.usefixtures("unharmed")
def test_image_that_is_nested_too_deeply_takes_no_other_one_of_its_request_along(node: Node, tmp_path: Path) -> None:
    before, deep, after = (nested(tmp_path, "SQ", levels) for levels in (1, 600, 2))
    answer = node.stow(before.content, deep.content, after.content)
    assert answer.status_code == httpx.codes.BAD_REQUEST
    good = {str(before.sop_instance), str(after.sop_instance)}
    assert listed(answer) == good
    assert {uid for uid in (*good, str(deep.sop_instance)) if node.holds(uid)} == good


@pytest.mark.usefixtures("unharmed")
def test_query_with_sequences_nested_deeply_ends_no_service(node: Node) -> None:
    def query(levels: int) -> Dataset:
        identifier = Dataset()
        for _ in range(levels):
            inner, identifier = identifier, Dataset()
            identifier.ContentSequence = [inner]
        identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", generate_uid()
        return identifier

    caller, peer = Caller("WORKSTATION", node.tls), Peer(node.address, 4243, "HAPACS_QR", timeout_s=5)
    for levels in (100, READ + 1):
        assert find(caller, peer, query(levels)) == []


def nested(directory: Path, kind: str, levels: int, *, deflated: bool = False) -> Sample:
    instance, study, series = generate_uid(), generate_uid(), generate_uid()
    encoded = NESTED[kind](hostile.identified(instance, study, series), levels)
    if not deflated:
        return hostile.sample(directory / instance, encoded, sop_instance=instance)
    syntax = hostile.DEFLATED
    return hostile.sample(
        directory / instance, hostile.deflated(encoded), sop_instance=instance, transfer_syntax=syntax
    )


def listed(answer: httpx.Response) -> set[str]:
    """Return the images that an answer to STOW-RS names as stored (PS3.18 10.5.3)."""
    found = answer.json().get("00081199", {}).get("Value", ())
    return {item["00081155"]["Value"][0] for item in found}


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_compressed_image_is_decoded_pixel_by_pixel(node: Node, sample: Sample) -> None:
    assert node.stores(sample)
    path = f"studies/{sample.study}/series/{sample.series}/instances/{sample.sop_instance}"
    url, wanted = node.url(QUERY, f"/dicom-web/{path}"), sample.dataset()
    # No transfer syntax is asked for, so it is Explicit VR Little Endian (PS3.18 8.7.3.5.2).
    answer = node.web.get(url, headers={"Accept": 'multipart/related; type="application/dicom"'})
    if sample.name == NOT_READABLE:
        assert answer.status_code != httpx.codes.OK
        return
    assert answer.status_code == httpx.codes.OK
    (part,) = multipart.decode(answer.headers["Content-Type"], answer.content)
    lossy = sample.transfer_syntax in {JPEGBaseline8Bit, JPEGExtended12Bit}
    assert equal(wanted, files.decode(part), JPEG_ROUNDING if lossy else 0)
    picture = node.web.get(f"{url}/rendered", headers={"Accept": "image/png"})
    if sample.name.removesuffix(".dcm") in NOT_RENDERED:
        assert picture.status_code != httpx.codes.OK
    else:
        assert Image.open(io.BytesIO(picture.content)).size == (wanted.Columns, wanted.Rows)


@pytest.mark.usefixtures("unharmed")
def test_caller_that_takes_no_jpeg_2000_gets_its_pixels(node: Node) -> None:
    (sample,) = (sample for sample in SAMPLES if sample.name == "MR_small_jp2klossless.dcm")
    assert node.stores(sample)
    query = Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID = "IMAGE", sample.study
    query.SeriesInstanceUID, query.SOPInstanceUID = sample.series, sample.sop_instance
    plain = replace(sample, transfer_syntax=ExplicitVRLittleEndian)
    got = get(Caller("WORKSTATION", node.tls), Peer(node.address, 4243, "HAPACS_QR", timeout_s=20), query, [plain])
    syntax, encoded = got.datasets[str(sample.sop_instance)]
    assert syntax == ExplicitVRLittleEndian
    assert equal(sample.dataset(), files.decode(files.with_meta(plain, encoded)))


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("syntax", htj2k.SYNTAXES, ids=lambda uid: uid.name)
@pytest.mark.parametrize("way", ["C-STORE", "STOW-RS"])
def test_high_throughput_jpeg_2000_is_kept_as_it_is_and_decoded(
    node: Node, tmp_path: Path, way: str, syntax: UID
) -> None:
    content = htj2k.ct(syntax)
    (tmp_path / "ct.dcm").write_bytes(content)
    sample = read_sample(tmp_path / "ct.dcm")
    assert isinstance(sample, Sample)
    assert node.stores(sample) if way == "C-STORE" else node.stow(content).status_code == httpx.codes.OK
    path = f"studies/{sample.study}/series/{sample.series}/instances/{sample.sop_instance}"
    accept = 'multipart/related; type="application/dicom"'
    answers = []
    for wanted in ("; transfer-syntax=*", ""):
        answer = node.web.get(node.url(RETRIEVE, f"/dicom-web/{path}"), headers={"Accept": accept + wanted})
        assert answer.status_code == httpx.codes.OK
        answers += [
            dcmread(io.BytesIO(one)) for one in multipart.decode(answer.headers["Content-Type"], answer.content)
        ]
    kept, decoded = answers
    assert kept.file_meta.TransferSyntaxUID == syntax
    assert kept.PixelData == sample.dataset().PixelData
    assert decoded.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    lost = decoded.pixel_array.astype(int) - np.frombuffer(htj2k.plain(), "<u2").reshape(16, 16)
    assert np.abs(lost).max() <= (htj2k.LOSS if syntax == HTJ2K else 0)
    accept = 'multipart/related; type="application/octet-stream"'
    frame = node.web.get(node.url(RETRIEVE, f"/dicom-web/{path}/frames/1"), headers={"Accept": accept})
    (pixels,) = multipart.decode(frame.headers["Content-Type"], frame.content)
    assert pixels == decoded.PixelData


def equal(wanted: Dataset, got: FileDataset, rounding: int = 0) -> bool:
    """Return whether a data set is uncompressed and has the pixels of another one, if pydicom can decode that."""
    sent, came = compare.pixels(wanted), compare.pixels(got)
    assert came is not None
    if sent is None:
        assert wanted.file_meta.TransferSyntaxUID == JPEGExtended12Bit
        return got.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    near = sent.shape == came.shape and bool(np.all(np.abs(sent.astype(np.int64) - came.astype(np.int64)) <= rounding))
    return got.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian and near


def test_there_are_files_of_each_kind() -> None:
    kinds = {
        JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLosslessSV1, JPEGLSLossless, JPEG2000, JPEG2000Lossless, RLELossless,
    }  # fmt: skip
    assert kinds <= {sample.transfer_syntax for sample in SAMPLES}
