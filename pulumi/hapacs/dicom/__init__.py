"""A small DICOM client: verification, tests and load senders talk to a PACS through it.

`client` opens associations and sends requests; `receiver` is the application entity that C-MOVE sends to; `files` reads
DICOM files and says which ones a PACS has to refuse; `compare` says whether two data sets have equal values.
"""

from hapacs.dicom.client import (
    AssociationRefusedError,
    Caller,
    DicomError,
    Peer,
    StoreOutcome,
    echo,
    find,
    get,
    move,
    store,
)
from hapacs.dicom.files import NotSendable, Sample, read_sample
from hapacs.dicom.receiver import Receiver

__all__ = [
    "AssociationRefusedError",
    "Caller",
    "DicomError",
    "NotSendable",
    "Peer",
    "Receiver",
    "Sample",
    "StoreOutcome",
    "echo",
    "find",
    "get",
    "move",
    "read_sample",
    "store",
]
