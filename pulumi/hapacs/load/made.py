"""Synthetic images without a real patient."""

from __future__ import annotations

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom.dsutils import encode

from hapacs.dicom import marks


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
    dataset = Dataset()
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = generate_uid()
    dataset.StudyDate, dataset.StudyTime = "20260101", "000000"
    dataset.AccessionNumber = ""
    dataset.Modality = "CT"
    dataset.ReferringPhysicianName = ""
    dataset.PatientName, dataset.PatientID = f"{marks.LOAD}MADE^UP", f"{marks.LOAD}{study[-8:]}"
    dataset.PatientBirthDate, dataset.PatientSex = "", "O"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
    dataset.StudyID, dataset.SeriesNumber, dataset.InstanceNumber = "1", 1, number
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows = dataset.Columns = rows
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    pixels = np.random.default_rng(seed).integers(0, 4096, rows * rows, dtype=np.uint16)
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def encoded(dataset: Dataset) -> bytes:
    """Return the data set as a C-STORE in Explicit VR Little Endian carries it."""
    content = encode(dataset, is_implicit_vr=False, is_little_endian=True)
    if content is None:
        raise ValueError("a made image can't be encoded")
    return content
