"""Made images: small CT slices with any attributes, as DICOM files."""

from io import BytesIO

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


def ct(**attributes: object) -> bytes:
    """Make a CT of 16 by 16 pixels; keywords replace its attributes, None removes one."""
    made = Dataset()
    values: dict[str, object] = {
        "SpecificCharacterSet": "ISO_IR 192",
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": generate_uid(),
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "StudyDate": "20240315",
        "StudyTime": "083015",
        "AccessionNumber": "",
        "Modality": "CT",
        "StationName": "CT99",
        "PatientName": "Field^Test",
        "PatientID": "FT1",
        "PatientBirthDate": "",
        "PatientSex": "O",
        "PatientAge": "054Y",
        "StudyID": "1",
        "SeriesNumber": 1,
        "InstanceNumber": 1,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": 16,
        "Columns": 16,
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "PixelData": bytes(512),
    }
    for keyword, value in {**values, **attributes}.items():
        if value is not None:
            setattr(made, keyword, value)
    made["PixelData"].VR = "OW"
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    file = BytesIO()
    made.save_as(file, enforce_file_format=True)
    return file.getvalue()
