"""DICOM files as they are sent: their bytes, their identifiers, and why a PACS has to refuse some of them."""

from __future__ import annotations

import hashlib
import re
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import data_element_generator, read_partial
from pydicom.filewriter import write_file_meta_info
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID
from pynetdicom.dsutils import split_dataset
from pynetdicom.presentation import AllStoragePresentationContexts

from hapacs.dicom import marks

_STORAGE_CLASSES = {context.abstract_syntax for context in AllStoragePresentationContexts}
_UNDEFINED_LENGTH = 0xFFFFFFFF
_EXPLICIT_VR = re.compile(rb"[A-Z]{2}")
_INDEX_KEYWORDS = {
    "SOPClassUID": "SOP Class UID",
    "SOPInstanceUID": "SOP Instance UID",
    "StudyInstanceUID": "Study Instance UID",
    "SeriesInstanceUID": "Series Instance UID",
}


@dataclass(frozen=True)
class NotSendable:
    """A file that can't be sent by C-STORE, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Sample:
    """A DICOM file (PS3.10) that can be sent by C-STORE.

    Attributes
    ----------
    sop_class, sop_instance
        From its data set, or from its file meta information when the data set has none.
    transfer_syntax
        From its file meta information.
    patient_id, study, series
        From its data set; empty when it has none.
    named_alike
        Whether data set and file meta information agree. Some real files were edited in one of them only.
    offset
        Position of the data set in the file, in bytes.
    refusal
        Why a PACS has to refuse it, or empty.
    """

    path: Path
    sop_class: UID
    sop_instance: UID
    transfer_syntax: UID
    patient_id: str
    study: str
    series: str
    named_alike: bool
    offset: int
    refusal: str = ""

    @property
    def name(self) -> str:
        """Name of the file without its directory."""
        return self.path.name

    @cached_property
    def content(self) -> bytes:
        """The whole file."""
        return self.path.read_bytes()

    @property
    def dataset_bytes(self) -> bytes:
        """The encoded data set without preamble and file meta information."""
        return self.content[self.offset :]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the whole file."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Identity of the instance in an index: of two files with the same key only one can be stored at a time."""
        return (self.patient_id, self.study, self.series, str(self.sop_instance))

    def dataset(self) -> FileDataset:
        """Decode the data set."""
        return decode(self.content)

    def write_as_named(self, path: Path) -> Path:
        """Write the same data set with a file meta information that agrees with it, and return the file."""
        path.write_bytes(with_meta(self, self.dataset_bytes))
        return path


def decode(content: bytes) -> FileDataset:
    """Decode a DICOM file that is in memory."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(BytesIO(content))


def with_meta(sample: Sample, encoded: bytes) -> bytes:
    """Return a whole file of an encoded data set that has the names and the transfer syntax of a sample."""
    return whole(sample.sop_class, sample.sop_instance, sample.transfer_syntax, encoded)


def whole(sop_class: UID, sop_instance: str, transfer_syntax: UID, encoded: bytes) -> bytes:
    """Return a DICOM file (PS3.10) of an encoded data set."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, UID(sop_instance)
    meta.TransferSyntaxUID = transfer_syntax
    stream = DicomBytesIO()
    write_file_meta_info(stream, meta)
    return bytes(128) + b"DICM" + stream.getvalue() + encoded


def split(content: bytes) -> bytes:
    """Return the encoded data set of a DICOM file that is in memory."""
    stream = BytesIO(content)
    read_partial(stream, stop_when=lambda tag, vr, length: True)  # noqa: ARG005 - its signature is pydicom's
    return content[stream.tell() :]


def write_marked(sample: Sample, prefix: str, path: Path) -> Path:
    """Write a copy whose patient carries a mark (`marks`), and return the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = sample.content[: sample.offset]
    path.write_bytes(head + marks.mark(sample.dataset_bytes, sample.transfer_syntax, prefix))
    return path


def read_sample(path: Path) -> Sample | NotSendable:
    """Read a file; return how it can be sent, or why it can't."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(path, stop_before_pixels=True)
            # The VR in the file: reading an element replaces it with the VR of the dictionary.
            raw = {tag: dataset.get_item(tag).VR for tag in dataset.keys()}  # noqa: SIM118 - items() would convert
        except InvalidDicomError:
            return NotSendable(path, "no DICOM file (PS3.10): no preamble or no file meta information")
        except (EOFError, ValueError, NotImplementedError, KeyError) as error:
            return NotSendable(path, f"can't be read: {error}")
        meta, offset = split_dataset(path)
        wanted = ("MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID")
        missing = [keyword for keyword in wanted if not meta.get(keyword)]
        if missing:
            return NotSendable(path, f"file meta information without {', '.join(missing)}")
        if malformed := _malformed(path.read_bytes()[offset:], UID(meta.TransferSyntaxUID)):
            return NotSendable(path, malformed)
        named = (UID(meta.MediaStorageSOPClassUID), UID(meta.MediaStorageSOPInstanceUID))
        sop_class = UID(dataset.get("SOPClassUID") or named[0])
        sop_instance = UID(dataset.get("SOPInstanceUID") or named[1])
        return Sample(
            path=path,
            sop_class=sop_class,
            sop_instance=sop_instance,
            transfer_syntax=UID(meta.TransferSyntaxUID),
            patient_id=str(dataset.get("PatientID") or "").strip(),
            study=str(dataset.get("StudyInstanceUID") or "").strip(),
            series=str(dataset.get("SeriesInstanceUID") or "").strip(),
            named_alike=named == (sop_class, sop_instance),
            offset=offset,
            refusal=_refusal(sop_class, UID(meta.TransferSyntaxUID), dataset, raw),
        )


def _malformed(encoded: bytes, transfer_syntax: UID) -> str:
    """Return why a data set can't be sent: a receiver fails on it, or waits for the rest until its time-out."""
    if transfer_syntax.is_deflated:
        # The content is known only after unpacking, which the receiver refuses to do.
        return ""
    if not transfer_syntax.is_implicit_VR and not _EXPLICIT_VR.fullmatch(encoded[4:6]):
        return f"not encoded as its transfer syntax {transfer_syntax.name} says: no explicit VR"
    elements = data_element_generator(
        BytesIO(encoded), transfer_syntax.is_implicit_VR, transfer_syntax.is_little_endian
    )
    try:
        for element in elements:
            # A sequence of undefined length is returned decoded: its end was found, so it is complete.
            if not isinstance(element, RawDataElement) or element.value is None:
                continue
            if (there := len(element.value)) < element.length != _UNDEFINED_LENGTH:
                return f"cut short: {element.tag} says {element.length} bytes, {there} are there"
    except (EOFError, struct.error) as error:
        return f"cut short: {error}"
    return ""


def _refusal(sop_class: UID, transfer_syntax: UID, dataset: FileDataset, raw: Mapping[BaseTag, str | None]) -> str:
    """Return why a PACS has to refuse a complete data set."""
    if sop_class not in _STORAGE_CLASSES:
        return f"{sop_class.name} is no storage SOP class (PS3.4 B.5)"
    if transfer_syntax.is_deflated:
        return "deflated as a whole (PS3.5 A.5): small on the wire, and of any size in memory"
    missing = [name for keyword, name in _INDEX_KEYWORDS.items() if not dataset.get(keyword)]
    if missing:
        return f"no {', no '.join(missing)}: nothing to index it by"
    unknown = [name for keyword, name in _INDEX_KEYWORDS.items() if raw.get(Tag(keyword)) == "UN"]
    if unknown:
        return f"{', '.join(unknown)} with VR UN: the receiver can't tell what the data set is"
    return ""


def shipped_with_pydicom() -> list[Path]:
    """Return the real DICOM files that the installed pydicom contains; nothing is downloaded."""
    data = Path(pydicom.__file__).parent / "data"
    other = {".py", ".pyc", ".txt", ".json", ".dump", ".icc", ".gz"}
    found = [path for folder in ("test_files", "charset_files") for path in sorted((data / folder).rglob("*"))]
    return [path for path in found if path.is_file() and path.suffix not in other and path.name != "README"]
