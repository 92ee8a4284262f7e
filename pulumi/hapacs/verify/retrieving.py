"""Checks of finding and reading: C-FIND, C-GET, C-MOVE and DICOMweb, through the virtual address."""

from __future__ import annotations

import io
import threading
from collections import Counter
from collections.abc import Mapping, Sequence

import httpx
import numpy as np
from PIL import Image, UnidentifiedImageError
from pydicom import Dataset
from pydicom.encaps import get_frame
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from hapacs import dicom
from hapacs.dicom import Receiver, Sample, compare, files, multipart
from hapacs.site.access import Site
from hapacs.verify.report import CheckFailedError, require
from hapacs.verify.round_trip import Kept, RoundTrip, dataset_problem, read

_DICOM = "application/dicom"
_AS_STORED = {"Accept": multipart.AS_STORED}
# All decoders return the same pixels: RLE, JPEG-LS lossless, JPEG lossless.
_EXACT = {RLELossless, JPEGLSLossless, JPEGLosslessSV1}
_RENDERED_BITS = 16
# Sites are verified concurrently; those that share the C-MOVE destination use its port one after the other.
_RECEIVING = threading.Lock()
_SOP_INSTANCE, _REFERENCED, _FAILED = "00080018", "00081199", "00081198"


def varied(round_trip: RoundTrip) -> list[Kept]:
    """Choose one instance for each pair of SOP class and transfer syntax, of the files that are stored now.

    Raises
    ------
    CheckFailedError
        When no file is stored.
    """
    chosen: dict[tuple[UID, UID], Kept] = {}
    for kept in round_trip.present:
        chosen.setdefault((kept.sample.sop_class, kept.sample.transfer_syntax), kept)
    if not chosen:
        raise CheckFailedError("no file was stored, so none can be retrieved")
    return list(chosen.values())


def check_find(site: Site, round_trip: RoundTrip) -> str:
    """C-FIND finds every study by its UID, and every instance of one series."""
    present = round_trip.present
    studies = {kept.sample.study for kept in present}
    if not studies:
        raise CheckFailedError("no file was stored, so none can be found")
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.StudyInstanceUID = sorted(studies)
    query.PatientID = query.StudyDate = query.AccessionNumber = ""
    found = {str(answer.StudyInstanceUID) for answer in dicom.find(site.caller, site.query_peer, query)}
    problems = [f"study {study} is not found" for study in sorted(studies - found)]
    problems += [f"study {study} was not asked for" for study in sorted(found - studies)]
    by_series: dict[tuple[str, str], set[str]] = {}
    for kept in present:
        by_series.setdefault((kept.sample.study, kept.sample.series), set()).add(str(kept.sample.sop_instance))
    (study, series), instances = max(by_series.items(), key=lambda item: len(item[1]))
    query = Dataset()
    query.QueryRetrieveLevel = "IMAGE"
    query.StudyInstanceUID, query.SeriesInstanceUID, query.SOPInstanceUID = study, series, ""
    answers = dicom.find(site.caller, site.query_peer, query)
    missing = instances - {str(answer.SOPInstanceUID) for answer in answers}
    problems += [f"instance {uid} of series {series} is not found" for uid in sorted(missing)]
    require(problems)
    return f"{len(studies)} studies found, and the {len(instances)} instances of one series"


def check_get(site: Site, round_trip: RoundTrip) -> str:
    """C-GET returns instances of each kind on the same association."""
    chosen = varied(round_trip)
    samples = [kept.sample for kept in chosen]
    retrieved = dicom.get(site.caller, site.query_peer, _instances(samples), samples)
    require(_compare(chosen, retrieved.datasets))
    return f"{len(chosen)} instances of as many kinds came with C-GET, equal to what was sent"


def check_move(site: Site, round_trip: RoundTrip) -> str:
    """C-MOVE sends instances of each kind to the controller."""
    chosen = varied(round_trip)
    title, host, port = site.destination
    samples = [kept.sample for kept in chosen]
    with _RECEIVING, Receiver(title, host, port, samples) as receiver:
        problems = []
        # One at a time: Orthanc transcodes rather than open a second association for another transfer syntax.
        for sample in samples:
            counts = dicom.move(site.caller, site.query_peer, _instances([sample]), title)
            if counts["completed"] != 1:
                problems.append(f"{sample.name} was not sent: {counts}")
        problems += _compare(chosen, receiver.datasets)
        senders = {address for _, address in receiver.senders}
    require(problems)
    return f"{len(chosen)} instances of as many kinds came with C-MOVE from {', '.join(sorted(senders))}"


def check_stow(site: Site, round_trip: RoundTrip) -> str:
    """STOW-RS stores instances of each kind; each node returns exactly the bytes of the file."""
    chosen = varied(round_trip)
    content_type, body = multipart.encode([kept.sample.content for kept in chosen], _DICOM)
    headers = {"Content-Type": content_type, "Accept": "application/dicom+json"}
    answer = _ok(site.web.post("studies", content=body, headers=headers))
    document = answer.json()
    stored = len(document.get(_REFERENCED, {}).get("Value", ()))
    failed = len(document.get(_FAILED, {}).get("Value", ()))
    problems = (
        [] if (stored, failed) == (len(chosen), 0) else [f"of {len(chosen)} instances {stored} stored, {failed} failed"]
    )
    for kept in chosen:
        for node in site.members("pacs"):
            content, problem = read(site, node.name, kept.sample)
            if problem or content != kept.sample.content:
                problems.append(problem or f"{kept.sample.name} through {node.name} is not the file that was sent")
    require(problems)
    return f"{len(chosen)} files stored by STOW-RS and the same byte for byte through {len(site.members('pacs'))} nodes"


def check_qido(site: Site, round_trip: RoundTrip) -> str:
    """QIDO-RS finds each study, and the instances of each kind."""
    chosen = varied(round_trip)
    problems = []
    for kept in chosen:
        sample = kept.sample
        answer = _ok(
            site.web.get("instances", params={"StudyInstanceUID": sample.study, "SOPInstanceUID": sample.sop_instance})
        )
        found = [entry[_SOP_INSTANCE]["Value"][0] for entry in answer.json()] if answer.content else []
        if found != [sample.sop_instance]:
            problems.append(f"{sample.name}: found {len(found)} times instead of once")
    studies = {kept.sample.study for kept in round_trip.present}
    for study in sorted(studies):
        answer = _ok(site.web.get("studies", params={"StudyInstanceUID": study}))
        if len(answer.json() if answer.content else []) != 1:
            problems.append(f"study {study} is not found once")
    require(problems)
    return f"{len(studies)} studies and {len(chosen)} instances found"


def check_wado(site: Site, round_trip: RoundTrip) -> str:
    """WADO-RS returns instances as they are stored, in any transfer syntax."""
    chosen = varied(round_trip)
    problems = []
    for kept in chosen:
        answer = _ok(site.web.get(_path(kept.sample), headers=_AS_STORED))
        parts = multipart.decode(answer.headers["Content-Type"], answer.content)
        if len(parts) != 1 or (problem := dataset_problem(kept.sample, files.split(parts[0]), parts[0])):
            problems.append(problem if len(parts) == 1 else f"{kept.sample.name}: {len(parts)} parts instead of one")
    require(problems)
    return f"{len(chosen)} instances of as many kinds, equal to what was sent"


def check_wado_studies(site: Site, round_trip: RoundTrip) -> str:
    """WADO-RS returns whole studies: each file as the nodes have it, none missing, none twice."""
    studies: dict[str, list[Kept]] = {}
    for kept in round_trip.present:
        studies.setdefault(kept.sample.study, []).append(kept)
    problems = []
    for study, members in studies.items():
        answer = _ok(site.web.get(f"studies/{study}", headers=_AS_STORED))
        came = Counter(multipart.decode(answer.headers["Content-Type"], answer.content))
        wanted = Counter(kept.content for kept in members)
        if came != wanted:
            missing, more = (wanted - came).total(), (came - wanted).total()
            problems.append(f"of study {study} {missing} of {len(members)} files are missing, {more} others came")
    require(problems)
    return f"{len(studies)} studies of {len(round_trip.present)} files, byte for byte"


def check_frames(site: Site, round_trip: RoundTrip) -> str:
    """WADO-RS returns the first frame of each kind of image as stored, and decoded where all decoders agree."""
    problems = []
    stored = decoded = 0
    for kept in varied(round_trip):
        dataset = kept.sample.dataset()
        if "PixelData" not in dataset:
            continue
        name = f"frame 1 of {kept.sample.name} ({kept.sample.transfer_syntax.name})"
        if kept.sample.transfer_syntax.is_encapsulated:
            stored += 1
            if _frame(site, kept.sample, "*") != get_frame(dataset.PixelData, 0, number_of_frames=_frames(dataset)):
                problems.append(f"{name} is not the one that was sent")
        pixels = _comparable(kept.sample, dataset)
        if pixels is not None:
            decoded += 1
            if _frame(site, kept.sample, ExplicitVRLittleEndian)[: len(pixels)] != pixels:
                problems.append(f"{name} has other pixels once decoded")
    if not stored or not decoded:
        problems.append("no image was stored whose frames can be compared")
    require(problems)
    return f"the first frames of {stored} kinds of compressed images as stored, of {decoded} kinds of images decoded"


def _frames(dataset: Dataset) -> int:
    return int(dataset.get("NumberOfFrames") or 1)


def _frame(site: Site, sample: Sample, transfer_syntax: str) -> bytes:
    accept = f'multipart/related; type="application/octet-stream"; transfer-syntax={transfer_syntax}'
    answer = _ok(site.web.get(f"{_path(sample)}/frames/1", headers={"Accept": accept}))
    return b"".join(multipart.decode(answer.headers["Content-Type"], answer.content))


def _comparable(sample: Sample, dataset: Dataset) -> bytes | None:
    """Return the pixels of the first frame in little endian, when every decoder has to return the same; else None.

    Decoders differ with lossy compression, with several samples per pixel (their order may change), and with pixels
    of one bit or of four bytes (PS3.5 8.1.1 leaves their big endian encoding open).
    """
    exact = sample.transfer_syntax in _EXACT or not sample.transfer_syntax.is_compressed
    if not exact or dataset.SamplesPerPixel != 1 or dataset.BitsAllocated not in {8, 16}:
        return None
    pixels = compare.pixels(dataset)
    if pixels is None:
        return None
    frame = pixels[0] if _frames(dataset) > 1 else pixels
    return bytes(frame.astype(frame.dtype.newbyteorder("<")).tobytes())


def check_rendered(site: Site, round_trip: RoundTrip) -> str:
    """WADO-RS renders images of each kind for a viewer, in their size, and refuses those that it can't render."""
    problems = []
    rendered = 0
    refused: Counter[str] = Counter()
    for kept in varied(round_trip):
        dataset = kept.sample.dataset()
        if compare.pixels(dataset) is None:
            continue
        answer = site.web.get(f"{_path(kept.sample)}/rendered", headers={"Accept": "image/png"})
        name = f"{kept.sample.name} ({kept.sample.transfer_syntax.name})"
        if reason := _not_rendered(site, kept.sample, dataset):
            # A refusal is expected and a picture is allowed; a broken connection raises an error.
            refused[reason] += answer.status_code != httpx.codes.OK
            continue
        if answer.status_code != httpx.codes.OK:
            problems.append(f"{name}: status {answer.status_code}")
            continue
        rendered += 1
        problems += filter(None, [_picture_problem(name, answer.content, dataset)])
    if not rendered:
        problems.append("no image was rendered")
    require(problems)
    expected = "".join(f"; {count} refused: {reason}" for reason, count in refused.items() if count)
    return f"{rendered} kinds of images rendered in their size{expected}"


def _not_rendered(site: Site, sample: Sample, dataset: Dataset) -> str:
    """Return why the site's Orthanc can't render an image, or an empty string."""
    if sample.transfer_syntax in JPEG2000TransferSyntaxes and site.contract["policy"]["orthanc_source"] != "backport":
        return "JPEG 2000, for which this Orthanc has no safe decoder (policy.orthanc_source)"
    if dataset.PhotometricInterpretation == "YBR_FULL_422" and not sample.transfer_syntax.is_encapsulated:
        return "uncompressed YBR_FULL_422"
    return "pixels of four bytes" if dataset.BitsAllocated > _RENDERED_BITS else ""


def _picture_problem(name: str, content: bytes, dataset: Dataset) -> str:
    try:
        picture = Image.open(io.BytesIO(content))
        array = np.asarray(picture)
    except (UnidentifiedImageError, OSError) as error:
        return f"{name}: the answer is no picture: {error}"
    if picture.size != (dataset.Columns, dataset.Rows):
        return f"{name}: {picture.size} instead of {(dataset.Columns, dataset.Rows)}"
    return f"{name}: the picture is blank" if array.min() == array.max() else ""


def _instances(samples: Sequence[Sample]) -> Dataset:
    """Return the identifier that asks for several instances at a time (lists of UIDs, PS3.4 C.2.2.2.2)."""
    query = Dataset()
    query.QueryRetrieveLevel = "IMAGE"
    query.StudyInstanceUID = sorted({sample.study for sample in samples})
    query.SeriesInstanceUID = sorted({sample.series for sample in samples})
    query.SOPInstanceUID = sorted({sample.sop_instance for sample in samples})
    return query


def _path(sample: Sample) -> str:
    return f"studies/{sample.study}/series/{sample.series}/instances/{sample.sop_instance}"


def _ok(answer: httpx.Response) -> httpx.Response:
    if answer.status_code not in {httpx.codes.OK, httpx.codes.NO_CONTENT}:
        raise CheckFailedError(f"{answer.request.method} {answer.request.url.path} is answered {answer.status_code}")
    return answer


def _compare(chosen: list[Kept], datasets: Mapping[str, tuple[UID, bytes]]) -> list[str]:
    """Return the instances that did not arrive or that differ."""
    problems = []
    for kept in chosen:
        sample = kept.sample
        if (came := datasets.get(str(sample.sop_instance))) is None:
            problems.append(f"{sample.name} did not arrive")
        elif came[0] != sample.transfer_syntax:
            problems.append(f"{sample.name} arrived as {came[0].name} instead of {sample.transfer_syntax.name}")
        else:
            problems += filter(None, [dataset_problem(sample, came[1], files.with_meta(sample, came[1]))])
    return problems
