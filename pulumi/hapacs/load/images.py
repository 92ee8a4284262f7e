"""Images to store: each instance has its own UID and bytes, so that no two can share a stored object."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid

from hapacs.dicom import marks
from hapacs.load.ledger import Instance
from hapacs.load.made import encoded, made_ct


@dataclass(frozen=True)
class Image:
    """One instance as it is sent.

    Attributes
    ----------
    dataset
        Encoded in its transfer syntax, without preamble and file meta information.
    source
        The file that it was read from; empty for a made one.
    """

    sop_instance: str
    study: str
    series: str
    patient: str
    dataset: bytes
    sop_class: UID = CTImageStorage
    transfer_syntax: UID = ExplicitVRLittleEndian
    source: str = ""

    @property
    def kind(self) -> tuple[UID, UID]:
        """SOP class and transfer syntax: an association negotiates each pair."""
        return self.sop_class, self.transfer_syntax

    @cached_property
    def instance(self) -> Instance:
        """Its line in a ledger."""
        digest = hashlib.sha256(self.dataset).hexdigest()
        return Instance(self.sop_instance, self.study, self.series, self.patient, digest, self.source)


@dataclass(frozen=True)
class Study:
    """A study of one series.

    Attributes
    ----------
    patient
        Patient ID; its prefix marks the patient as made up.
    """

    uid: str
    series: str
    patient: str
    images: tuple[Image, ...]


def made_study(count: int, rows: int) -> Study:
    """Make a study of `count` CT images with `rows` rows and columns of 16 bits, for a benchmark."""
    study, series, patient = generate_uid(), generate_uid(), f"{marks.BENCH}{secrets.token_hex(6).upper()}"
    return Study(study, series, patient, tuple(_images(study, series, patient, count, rows)))


def _images(study: str, series: str, patient: str, count: int, rows: int) -> Iterator[Image]:
    for number in range(1, count + 1):
        dataset = made_ct(study, series, number, rows, seed=secrets.randbits(64))
        dataset.PatientName = dataset.PatientID = patient
        yield Image(str(dataset.SOPInstanceUID), study, series, patient, encoded(dataset))
