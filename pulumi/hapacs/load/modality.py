"""Stores images continuously, as modalities do, and repeats each one until its C-STORE succeeds: load for drills.

A ledger records the acknowledged images. For a fixed number of images and their times see `hapacs.load.burst`.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from typing import Self

from pydicom import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import build_context
from pynetdicom.association import Association

from hapacs.dicom import Caller, DicomError, Peer
from hapacs.dicom.client import SUCCESS, associate
from hapacs.load.ledger import Entry, Ledger
from hapacs.load.made import encoded, made_ct


class Sender:
    """Stores synthetic CT images while the `with` block runs, and repeats each one until it is acknowledged.

    Parameters
    ----------
    caller, peer
        Sender and receiver; the peer's time-out applies to every step.
    ledger
        Records the acknowledged images.
    threads
        Concurrent associations, each with its own study.
    rows
        Rows and columns of each image.
    images_per_association
        Number of images after which an association is released, as a modality does after a series.
    pause_s
        Pause between a failure and the next attempt.
    """

    def __init__(
        self,
        caller: Caller,
        peer: Peer,
        ledger: Ledger,
        *,
        threads: int = 2,
        rows: int = 256,
        images_per_association: int = 20,
        pause_s: float = 0.5,
    ) -> None:
        self.failures: list[tuple[float, str]] = []
        self._caller, self._peer, self._ledger = caller, peer, ledger
        self._rows, self._images, self._pause_s = rows, images_per_association, pause_s
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._send, args=(number,), name=f"sender-{number}", daemon=True)
            for number in range(threads)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=4 * self._peer.timeout_s)
        if any(thread.is_alive() for thread in self._threads):
            raise TimeoutError("a sender does not come back from its request")

    def _send(self, number: int) -> None:
        images = self._made(number)
        pending: tuple[Dataset, str, int] | None = None
        while not self._stop.is_set():
            try:
                with associate(
                    self._caller, self._peer, [build_context(CTImageStorage, ExplicitVRLittleEndian)]
                ) as association:
                    for _ in range(self._images):
                        if self._stop.is_set():
                            break
                        dataset, digest, attempts = pending or (*next(images), 0)
                        pending = (dataset, digest, attempts + 1)
                        begun = time.time()
                        _store(association, dataset)
                        self._ledger.record(_entry(dataset, digest, begun, attempts + 1))
                        pending = None
            # pynetdicom raises both when the association is lost between two requests.
            except (DicomError, RuntimeError, ValueError) as error:
                self.failures.append((time.time(), str(error)))
                self._stop.wait(self._pause_s)

    def _made(self, thread: int) -> Iterator[tuple[Dataset, str]]:
        study, series = generate_uid(), generate_uid()
        number = 0
        while True:
            number += 1
            dataset = made_ct(study, series, number, self._rows, seed=thread * 1_000_000 + number)
            yield dataset, hashlib.sha256(encoded(dataset)).hexdigest()


def _store(association: Association, dataset: Dataset) -> None:
    status = association.send_c_store(dataset).get("Status")
    if status != SUCCESS:
        raise DicomError(f"C-STORE was answered {status}")


def _entry(dataset: Dataset, digest: str, begun: float, attempts: int) -> Entry:
    return Entry(
        sop_instance=str(dataset.SOPInstanceUID),
        study=str(dataset.StudyInstanceUID),
        series=str(dataset.SeriesInstanceUID),
        patient_id=str(dataset.PatientID),
        digest=digest,
        sent_at=begun,
        acknowledged_at=time.time(),
        attempts=attempts,
    )
