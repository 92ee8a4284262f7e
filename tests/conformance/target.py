"""The site as a client that was not written here sees it, and a study for it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.uid import UID, JPEG2000Lossless, RLELossless, generate_uid

from hapacs.dicom import marks
from hapacs.load.made import encoded, made_ct, made_sr, made_us, part_10

type Word = str | Path | int
"""A word of a command."""
TIMEOUT_S = 120


@dataclass(frozen=True)
class Target:
    """Where clients call.

    Attributes
    ----------
    host, port, tls_port
        The virtual address and its ports.
    store, query, worklist
        AE titles; the last one is empty at a site without a worklist.
    calling, receives_at
        AE title of the caller, and the port at which it takes the images of a C-MOVE.
    web
        URL of the site, without a slash at its end.
    user, password
        Login for it.
    authority, certificate, key
        Files for TLS: of the site's authority, and of the caller.
    """

    host: str
    port: int
    tls_port: int
    store: str
    query: str
    worklist: str
    calling: str
    receives_at: int
    web: str
    user: str
    password: str
    authority: Path
    certificate: Path
    key: Path


@dataclass(frozen=True)
class Made:
    """A study that is stored.

    Attributes
    ----------
    uid, patient
        Study Instance UID and Patient ID.
    files
        Its files by SOP Instance UID.
    """

    uid: str
    patient: str
    files: dict[str, Path]

    def of(self, sop_class: str) -> list[Path]:
        """Return the files of a SOP class."""
        return [file for file in self.files.values() if dcmread(file, stop_before_pixels=True).SOPClassUID == sop_class]

    def classes(self) -> list[str]:
        """Return the SOP classes of its images."""
        return sorted({str(dcmread(file, stop_before_pixels=True).SOPClassUID) for file in self.files.values()})


def write(directory: Path) -> Made:
    """Write a study of images of several classes and transfer syntaxes."""
    study, patient = generate_uid(), f"{marks.BENCH}{generate_uid()[-12:]}"
    images: list[tuple[Dataset, UID | None]] = [
        *((made_ct(study, generate_uid(), number, 128, seed=number), None) for number in (1, 2)),
        (made_ct(study, generate_uid(), 3, 128, seed=3), RLELossless),
        (made_ct(study, generate_uid(), 4, 128, seed=4), JPEG2000Lossless),
        (made_us(study, generate_uid(), 5, seed=5), None),
        (made_sr(study, generate_uid(), 6, seed=6), None),
    ]
    files = {}
    for dataset, syntax in images:
        dataset.PatientID, dataset.PatientName = patient, f"{patient}^Conformance"
        file = directory / f"{dataset.SOPInstanceUID}.dcm"
        if syntax is None:
            about = (UID(dataset.SOPClassUID), str(dataset.SOPInstanceUID), UID(dataset.file_meta.TransferSyntaxUID))
            file.write_bytes(part_10(about, encoded(dataset)))
        else:
            dataset.compress(syntax, generate_instance_uid=False)
            dataset.save_as(file, enforce_file_format=True)
        files[str(dataset.SOPInstanceUID)] = file
    return Made(study, patient, files)


def run(command: Sequence[Word], directory: Path) -> subprocess.CompletedProcess[str]:
    """Run a client in a directory of its own."""
    return subprocess.run(
        list(map(str, command)), cwd=directory, capture_output=True, text=True, errors="replace",
        timeout=TIMEOUT_S, check=False,
    )  # fmt: skip


def differences(made: Made, directory: Path) -> dict[str, str]:
    """Compare the files that a client wrote with the study; return what is wrong by SOP Instance UID."""
    found = {}
    for path in directory.iterdir():
        came = dcmread(path, force=True)
        found[str(came.SOPInstanceUID)] = came
    wrong = {sop: "is missing" for sop in made.files if sop not in found}
    wrong |= {sop: "belongs to no image of the study" for sop in found if sop not in made.files}
    for sop in set(found) & set(made.files):
        sent, came = dcmread(made.files[sop]), found[sop]
        if "PixelData" in sent and not (sent.pixel_array == came.pixel_array).all():
            wrong[sop] = "has other pixels"
        for dataset in (sent, came):
            # They differ with the transfer syntax.
            for keyword in ("PixelData", "PhotometricInterpretation", "PlanarConfiguration"):
                if keyword in dataset:
                    delattr(dataset, keyword)
        before, after = sent.to_json_dict(), came.to_json_dict()
        if changed := sorted(tag for tag in {*before, *after} if before.get(tag) != after.get(tag)):
            wrong[sop] = f"has other attributes: {', '.join(changed)}"
    return wrong
