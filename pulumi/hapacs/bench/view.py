"""Asks for a study as the viewer OHIF does: search, metadata of the series, then each frame over a few connections."""

from __future__ import annotations

import http.client
import json
import struct
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Lock

from hapacs.bench.fetch import Web
from hapacs.dicom import DicomError, multipart
from hapacs.load.images import Image, Study

CONNECTIONS = 6
"""As many as a browser opens to one server (HTTP/1.1)."""
_JSON = "application/dicom+json"
_FRAME = "multipart/related; type=application/octet-stream; transfer-syntax=*"
_SOP_INSTANCE = "00080018"


@dataclass(frozen=True)
class Viewed:
    """What a person in front of the viewer waits for.

    Attributes
    ----------
    first_s
        From the first request to the last byte of the first frame.
    all_s
        To the last byte of the last frame.
    cpu_s
        Processor seconds of the client.
    wrong
        Number of images without the frame that was sent.
    """

    first_s: float
    all_s: float
    cpu_s: float
    wrong: int


@dataclass
class _Frames:
    """The frames that came, and when the first one was there."""

    begun: float
    came: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    first_s: float = 0.0
    _lock: Lock = field(default_factory=Lock)

    def add(self, sop_instance: str, content_type: str, body: bytes) -> None:
        with self._lock:
            if not self.came:
                self.first_s = time.perf_counter() - self.begun
            self.came[sop_instance] = content_type, body


def view(web: Web, study: Study, connections: int = CONNECTIONS) -> Viewed:
    """Open a study of one series.

    The connections are opened within the measured time, as by a browser that comes anew. Answers are taken apart and
    compared after it.

    Raises
    ------
    DicomError
        When the server does not answer, or doesn't list the study.
    """
    series = f"/dicom-web/studies/{study.uid}/series/{study.series}"
    frames, cpu = _Frames(time.perf_counter()), time.process_time()
    with _opened(web) as connection:
        found = _json(web, connection, f"/dicom-web/studies?StudyInstanceUID={study.uid}")
        if len(found) != 1:
            raise DicomError(f"{web.host}:{web.port} lists the study {len(found)} times.")
        _json(web, connection, f"/dicom-web/studies/{study.uid}/series")
        listed = [str(one[_SOP_INSTANCE]["Value"][0]) for one in _json(web, connection, f"{series}/metadata")]
    _load(web, [f"{series}/instances/{one}" for one in listed], frames, connections)
    all_s, cpu_s = time.perf_counter() - frames.begun, time.process_time() - cpu
    return Viewed(frames.first_s, all_s, cpu_s, _wrong(study.images, frames))


def _load(web: Web, instances: Sequence[str], frames: _Frames, connections: int) -> None:
    """Ask for the first frame of each instance; each connection takes the next one that is left."""
    left = iter(instances)
    lock, failed = Lock(), Event()

    def work() -> None:
        with _opened(web) as connection:
            while not failed.is_set():
                with lock:
                    path = next(left, None)
                if path is None:
                    return
                try:
                    content_type, body = _get(web, connection, f"{path}/frames/1", _FRAME)
                except DicomError:
                    failed.set()
                    raise
                frames.add(path.rpartition("/")[2], content_type, body)

    with ThreadPoolExecutor(connections) as pool:
        for done in [pool.submit(work) for _ in range(connections)]:
            done.result()


@contextmanager
def _opened(web: Web) -> Iterator[http.client.HTTPConnection]:
    connection = web.connection()
    try:
        yield connection
    finally:
        connection.close()


def _json(web: Web, connection: http.client.HTTPConnection, path: str) -> list[dict[str, dict[str, list[object]]]]:
    _, body = _get(web, connection, path, _JSON)
    answer = json.loads(body or b"[]")
    if not isinstance(answer, list):
        raise DicomError(f"{path.partition('?')[0]} at {web.host}:{web.port} is answered with no list.")
    return answer


def _get(web: Web, connection: http.client.HTTPConnection, path: str, accept: str) -> tuple[str, bytes]:
    try:
        connection.request("GET", path, headers={"Accept": accept, **web.login_headers})
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise DicomError(f"DICOMweb at {web.host}:{web.port} failed: {error!r}.") from error
    if answer.status not in {http.client.OK, http.client.NO_CONTENT}:
        raise DicomError(f"{path.partition('?')[0]} at {web.host}:{web.port} is answered {answer.status}.")
    return answer.getheader("Content-Type", ""), body


def _wrong(images: Sequence[Image], frames: _Frames) -> int:
    """Count images whose frame did not come as it was sent; a data set ends with length and value of its pixels."""
    wrong = len(frames.came.keys() - {image.sop_instance for image in images})
    for image in images:
        content_type, body = frames.came.get(image.sop_instance, ("", b""))
        parts = multipart.decode(content_type, body) if body else []
        wrong += len(parts) != 1 or not image.dataset.endswith(struct.pack("<I", len(parts[0])) + parts[0])
    return wrong
