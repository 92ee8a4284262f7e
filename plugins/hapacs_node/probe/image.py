"""The marked images: each is the same bytes in every run, so that storing it again adds no object to the archive."""

from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from uuid import NAMESPACE_URL, uuid5

from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from hapacs_node.dimse.accept import IMPLEMENTATION
from hapacs_node.probe.names import PATIENT

_SIDE = 64


@dataclass(frozen=True)
class ProbeImage:
    """A marked image of one probe and one way to store it.

    Two probes, or two ways, that stored one image in turns would replace it by other bytes each time: Orthanc writes
    the file meta information of what comes by C-STORE, and keeps that of what comes by STOW-RS.

    Attributes
    ----------
    site : str
        Deployment and site, for UIDs that no other site has.
    node : str
        The node of the probe.
    way : str
        ``dicom`` or ``dicomweb``.
    """

    site: str
    node: str
    way: str

    def _uid(self, *parts: str) -> str:
        # PS3.5 B.2: a UID of a UUID. One that is made of the name is the same after a restart.
        return f"2.25.{uuid5(NAMESPACE_URL, '/'.join(('hapacs-probe', self.site, self.node, *parts))).int}"

    @property
    def study(self) -> str:
        """Study Instance UID; both images of a probe are in one study."""
        return self._uid("study")

    @property
    def series(self) -> str:
        """Series Instance UID."""
        return self._uid("series", self.way)

    @property
    def sop(self) -> str:
        """SOP Instance UID."""
        return self._uid("image", self.way)

    @cached_property
    def dataset(self) -> Dataset:
        """The image, without a fact about a person."""
        dataset = Dataset()
        dataset.SOPClassUID = SecondaryCaptureImageStorage
        dataset.SOPInstanceUID = self.sop
        dataset.StudyDate = "20000101"
        dataset.StudyTime = "000000"
        dataset.AccessionNumber = ""
        dataset.Modality = "OT"
        dataset.ConversionType = "SYN"
        dataset.ReferringPhysicianName = ""
        dataset.StudyDescription = "Test image of the monitoring"
        dataset.PatientName = PATIENT
        dataset.PatientID = PATIENT
        dataset.PatientBirthDate = ""
        dataset.PatientSex = ""
        dataset.StudyInstanceUID = self.study
        dataset.SeriesInstanceUID = self.series
        dataset.StudyID = ""
        dataset.SeriesNumber = "1"
        dataset.InstanceNumber = "1"
        dataset.SamplesPerPixel = 1
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.Rows = dataset.Columns = _SIDE
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.HighBit = 7
        dataset.PixelRepresentation = 0
        dataset.add_new(0x7FE00010, "OB", bytes((4 * (x ^ y)) % 256 for y in range(_SIDE) for x in range(_SIDE)))
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
        dataset.file_meta.MediaStorageSOPInstanceUID = UID(self.sop)
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        # pydicom's own would change with its version, and with it the bytes.
        dataset.file_meta.ImplementationClassUID = IMPLEMENTATION
        dataset.file_meta.ImplementationVersionName = "HAPACS_PROBE"
        return dataset

    @cached_property
    def encoded(self) -> bytes:
        """The data set as a C-STORE carries it: explicit VR little endian, without file meta information."""
        buffer = DicomBytesIO()
        buffer.is_little_endian, buffer.is_implicit_VR = True, False
        write_dataset(buffer, self.dataset)
        return buffer.getvalue()

    @cached_property
    def file(self) -> bytes:
        """The file (PS3.10 7.1) as STOW-RS carries it."""
        buffer = BytesIO()
        dcmwrite(buffer, self.dataset, enforce_file_format=True)
        return buffer.getvalue()
