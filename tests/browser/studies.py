"""Synthetic studies of each kind for the viewer."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    BasicTextSRStorage,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    EncapsulatedPDFStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    MRImageStorage,
    RLELossless,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)

SLICES = 40
FRAMES = 12
# Text of the SR and description in the study list.
FINDING = "A disc that wanders"


@dataclass
class Study:
    """One study of the synthetic patient.

    Attributes
    ----------
    patient
        Name and ID; each run of the tests has another one, so that it finds only its studies.
    """

    patient: str
    description: str
    uid: str = field(default_factory=lambda: str(generate_uid()))
    files: list[bytes] = field(default_factory=list)

    def add(self, datasets: Iterable[Dataset], modality: str, number: int) -> None:
        """Add a series."""
        series = generate_uid()
        for instance, dataset in enumerate(datasets, start=1):
            dataset.PatientName, dataset.PatientID = f"{self.patient}^Up", self.patient
            dataset.PatientBirthDate, dataset.PatientSex = "", "O"
            dataset.StudyInstanceUID, dataset.SeriesInstanceUID = self.uid, series
            dataset.SOPInstanceUID = generate_uid()
            dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20260102", "080000", "1"
            dataset.StudyDescription, dataset.AccessionNumber, dataset.ReferringPhysicianName = self.description, "", ""
            dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = modality, number, instance
            dataset.SeriesDescription = f"{modality} {number}"
            self.files.append(_file(dataset))


def _file(dataset: Dataset) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    meta.TransferSyntaxUID = getattr(dataset, "file_meta", Dataset()).get("TransferSyntaxUID", ExplicitVRLittleEndian)
    stream = io.BytesIO()
    whole = FileDataset(stream, dataset, preamble=bytes(128), file_meta=meta)
    whole.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def picture(rows: int, position: float, scale: int) -> NDArray[np.uint16]:
    """Draw a body with a disc that moves from left to right as `position` goes from 0 to 1."""
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : rows * 1j]
    body = (x / 0.9) ** 2 + (y / 0.7) ** 2 < 1
    disc = (x + 0.6 - 1.2 * position) ** 2 + y**2 < 0.2**2
    shading = 0.35 + 0.15 * np.cos(9 * x) * np.cos(7 * y)
    return np.asarray(np.where(disc, 1.0, np.where(body, shading, 0.02)) * scale, dtype=np.uint16)


def _image(sop_class: UID, pixels: NDArray[np.uint16], bits: int) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = sop_class
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, bits, bits - 1, 0
    dataset.WindowCenter, dataset.WindowWidth = (1 << bits) // 2, 1 << bits
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def slices(sop_class: UID, count: int = SLICES, rows: int = 256) -> list[Dataset]:
    """Make the slices of a volume."""
    frame = generate_uid()
    made = []
    for number in range(count):
        dataset = _image(sop_class, picture(rows, number / max(count - 1, 1), 4000), 12)
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator = frame, ""
        dataset.ImagePositionPatient = [-128, -128, 2.5 * number]
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing, dataset.SliceThickness = [1, 1], 2.5
        if sop_class == CTImageStorage:
            dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = -1024, 1, "HU"
            dataset.WindowCenter, dataset.WindowWidth, dataset.KVP = 900, 4000, 120
        made.append(dataset)
    return made


def compressed(dataset: Dataset, transfer_syntax: UID) -> Dataset:
    """Compress the pixels of a synthetic image without loss."""
    dataset.compress(transfer_syntax, generate_instance_uid=False)
    return dataset


def radiograph(rows: int = 1024) -> Dataset:
    """Make a projection image."""
    dataset = _image(ComputedRadiographyImageStorage, picture(rows, 0.5, 16000), 14)
    dataset.ImagerPixelSpacing, dataset.BodyPartExamined, dataset.ViewPosition = [0.2, 0.2], "CHEST", "PA"
    return dataset


def ultrasound(rows: int = 240) -> Dataset:
    """Make a loop in colours."""
    frames = np.stack([picture(rows, number / (FRAMES - 1), 250) for number in range(FRAMES)]).astype(np.uint8)
    coloured = np.stack([frames, frames // 2, 250 - frames], axis=-1)
    dataset = Dataset()
    dataset.SOPClassUID = UltrasoundMultiFrameImageStorage
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = FRAMES, rows, rows
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.FrameTime, dataset.FrameIncrementPointer = 40, 0x00181063
    dataset.PixelData = coloured.tobytes()
    dataset["PixelData"].VR = "OB"
    return dataset


def report() -> Dataset:
    """Make a structured report of one sentence (PS3.3 A.35.1)."""
    text = Dataset()
    text.RelationshipType, text.ValueType, text.TextValue = "CONTAINS", "TEXT", FINDING
    text.ConceptNameCodeSequence = Sequence([_code("121071", "DCM", "Finding")])
    dataset = Dataset()
    dataset.SOPClassUID = BasicTextSRStorage
    dataset.ContentDate, dataset.ContentTime = "20260102", "081500"
    dataset.ValueType, dataset.ContinuityOfContent = "CONTAINER", "SEPARATE"
    dataset.ConceptNameCodeSequence = Sequence([_code("18748-4", "LN", "Diagnostic imaging report")])
    dataset.CompletionFlag, dataset.VerificationFlag = "COMPLETE", "UNVERIFIED"
    dataset.ContentSequence = Sequence([text])
    return dataset


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def document() -> Dataset:
    """Make an encapsulated PDF: one page, a red square on white."""
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]/Contents 4 0 R/Resources<<>>>>",
        b"<</Length 28>>stream\n1 0 0 rg 40 40 120 120 re f \nendstream",
    ]
    body, offsets = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(body))
        body += b"%d 0 obj%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    trailer = b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(body))
    body += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + table + trailer
    dataset = Dataset()
    dataset.SOPClassUID = EncapsulatedPDFStorage
    dataset.ConversionType, dataset.DocumentTitle = "WSD", "Made document"
    dataset.MIMETypeOfEncapsulatedDocument, dataset.BurnedInAnnotation = "application/pdf", "NO"
    dataset.EncapsulatedDocument = body + b"\n" * (len(body) % 2)
    return dataset


def all_kinds(patient: str) -> dict[str, Study]:
    """Make one study of each kind."""
    contents: dict[str, tuple[str, list[Dataset]]] = {
        "CT": ("CT", slices(CTImageStorage)),
        "MR": ("MR", slices(MRImageStorage, 12)),
        "CR": ("CR", [radiograph()]),
        "US": ("US", [ultrasound()]),
        "SR": ("SR", [report()]),
        "PDF": ("DOC", [document()]),
        "JPEG 2000": ("CT", [compressed(it, JPEG2000Lossless) for it in slices(CTImageStorage, 4, 128)]),
        "RLE": ("CT", [compressed(it, RLELossless) for it in slices(CTImageStorage, 4, 128)]),
    }
    studies = {}
    for kind, (modality, datasets) in contents.items():
        studies[kind] = Study(patient, f"Made {kind}")
        studies[kind].add(datasets, modality, 1)
    return studies
