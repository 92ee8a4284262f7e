"""Synthetic images without a real patient."""

from __future__ import annotations

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import (
    PYDICOM_IMPLEMENTATION_UID,
    UID,
    BasicTextSRStorage,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)
from pynetdicom.dsutils import encode

from hapacs.dicom import marks

_CR_ROWS, _CR_COLUMNS = 3520, 2840
_US_FRAMES, _US_ROWS, _US_COLUMNS = 20, 240, 320
_MR_FRAMES, _MR_ROWS = 24, 256
_PARAGRAPHS = 20


def made_ct(study: str, series: str, number: int, rows: int = 256, seed: int = 0) -> Dataset:
    """Make a CT image of noise, which can't be compressed.

    Parameters
    ----------
    study, series
        Their instance UIDs.
    number
        Instance Number.
    rows
        Rows and columns; the image has ``2 * rows ** 2`` bytes of pixels.
    """
    dataset = _dataset("CT", CTImageStorage, study, series, number)
    _pixels(dataset, rows, rows, seed)
    return dataset


def made_cr(study: str, series: str, number: int, seed: int = 0) -> Dataset:
    """Make a radiograph of 20 MB."""
    dataset = _dataset("CR", ComputedRadiographyImageStorage, study, series, number)
    dataset.BodyPartExamined, dataset.ViewPosition = "CHEST", "PA"
    _pixels(dataset, _CR_ROWS, _CR_COLUMNS, seed)
    return dataset


def made_us(study: str, series: str, number: int, seed: int = 0) -> Dataset:
    """Make a cine loop in colour, of 4.6 MB."""
    dataset = _dataset("US", UltrasoundMultiFrameImageStorage, study, series, number)
    dataset.NumberOfFrames, dataset.FrameTime, dataset.FrameIncrementPointer = _US_FRAMES, "33", 0x00181063
    dataset.Rows, dataset.Columns = _US_ROWS, _US_COLUMNS
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.PixelData = np.random.default_rng(seed).bytes(3 * _US_FRAMES * _US_ROWS * _US_COLUMNS)
    dataset["PixelData"].VR = "OB"
    return dataset


def made_mr(study: str, series: str, number: int, seed: int = 0) -> Dataset:
    """Make an enhanced MR image of several frames with functional groups, of 3 MB."""
    dataset = _dataset("MR", EnhancedMRImageStorage, study, series, number)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "T1", "NONE"]
    dataset.NumberOfFrames = _MR_FRAMES
    measures, orientation, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [1, 1], 2
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = [_frame(place) for place in range(_MR_FRAMES)]
    _pixels(dataset, _MR_ROWS, _MR_ROWS, seed, frames=_MR_FRAMES)
    return dataset


def made_sr(study: str, series: str, number: int, seed: int = 0) -> Dataset:
    """Make a structured report of some paragraphs."""
    dataset = _dataset("SR", BasicTextSRStorage, study, series, number)
    dataset.CompletionFlag, dataset.VerificationFlag = "COMPLETE", "UNVERIFIED"
    dataset.ValueType, dataset.ContinuityOfContent = "CONTAINER", "SEPARATE"
    dataset.ConceptNameCodeSequence = [_code("18748-4", "LN", "Diagnostic Imaging Report")]
    generator = np.random.default_rng(seed)
    dataset.ContentSequence = [_paragraph(generator.bytes(64).hex()) for _ in range(_PARAGRAPHS)]
    return dataset


def encoded(dataset: Dataset) -> bytes:
    """Return the data set as a C-STORE in Explicit VR Little Endian carries it."""
    content = encode(dataset, is_implicit_vr=False, is_little_endian=True)
    if content is None:
        raise ValueError("a made image can't be encoded")
    return content


def part_10(image: tuple[UID, str, UID], dataset: bytes) -> bytes:
    """Return an encoded data set as a file (DICOM PS3.10 7.1).

    Parameters
    ----------
    image
        SOP class, SOP Instance UID and transfer syntax.
    """
    meta, output = FileMetaDataset(), DicomBytesIO()
    meta.FileMetaInformationVersion, meta.ImplementationClassUID = b"\0\1", PYDICOM_IMPLEMENTATION_UID
    meta.MediaStorageSOPClassUID, instance, meta.TransferSyntaxUID = image
    meta.MediaStorageSOPInstanceUID = UID(instance)
    write_file_meta_info(output, meta)
    return b"\0" * 128 + b"DICM" + output.getvalue() + dataset


def _dataset(modality: str, sop_class: UID, study: str, series: str, number: int) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = generate_uid()
    dataset.StudyDate, dataset.StudyTime = "20260101", "000000"
    dataset.AccessionNumber = ""
    dataset.Modality = modality
    dataset.ReferringPhysicianName = ""
    dataset.PatientName, dataset.PatientID = f"{marks.LOAD}MADE^UP", f"{marks.LOAD}{study[-8:]}"
    dataset.PatientBirthDate, dataset.PatientSex = "", "O"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
    dataset.StudyID, dataset.SeriesNumber, dataset.InstanceNumber = "1", 1, number
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def _pixels(dataset: Dataset, rows: int, columns: int, seed: int, frames: int = 1) -> None:
    """Add noise of 12 bits in 16."""
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = rows, columns
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    pixels = np.random.default_rng(seed).integers(0, 4096, frames * rows * columns, dtype=np.uint16)
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"


def _frame(place: int) -> Dataset:
    content, position, groups = Dataset(), Dataset(), Dataset()
    content.StackID, content.InStackPositionNumber, content.DimensionIndexValues = "1", place + 1, [1, place + 1]
    position.ImagePositionPatient = [0, 0, 2 * place]
    groups.FrameContentSequence, groups.PlanePositionSequence = [content], [position]
    return groups


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def _paragraph(text: str) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType, item.TextValue = "CONTAINS", "TEXT", text
    item.ConceptNameCodeSequence = [_code("121071", "DCM", "Finding")]
    return item
