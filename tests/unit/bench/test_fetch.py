import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from hapacs.bench.fetch import Web
from hapacs.dicom import DicomError, multipart
from hapacs.load.images import Image, Study, made_study

STUDY = made_study(3, 64)


def as_file(image: Image) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, UID(image.sop_instance)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = DicomBytesIO()
    write_file_meta_info(buffer, meta)
    return bytes(128) + b"DICM" + buffer.getvalue() + image.dataset


@pytest.fixture
def serve() -> Iterator[Callable[..., Web]]:
    servers: list[ThreadingHTTPServer] = []

    def start(images: list[Image], status: int = 200) -> Web:
        content_type, body = multipart.encode([as_file(image) for image in images], "application/dicom")

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                assert self.path == f"/dicom-web/studies/{STUDY.uid}"
                assert self.headers["Authorization"] == "Basic dTpw"
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return Web("127.0.0.1", server.server_port, login=("u", "p"))

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def changed(image: Image) -> Image:
    return replace(image, dataset=image.dataset[:-1] + bytes([image.dataset[-1] ^ 1]))


@pytest.mark.parametrize(
    ("images", "wrong"),
    [
        (list(STUDY.images), 0),
        (list(reversed(STUDY.images)), 0),
        (list(STUDY.images[:2]), 1),
        ([*STUDY.images, STUDY.images[0]], 1),
        ([changed(STUDY.images[0]), *STUDY.images[1:]], 1),
    ],
)
def test_incomplete_study_is_reported(serve: Callable[..., Web], images: list[Image], wrong: int) -> None:
    fetched = serve(images).fetch(STUDY)
    assert fetched.wrong == wrong
    assert fetched.seconds > 0


def test_an_error_is_no_result(serve: Callable[..., Web]) -> None:
    with pytest.raises(DicomError, match="is answered 503"):
        serve(list(STUDY.images), 503).fetch(STUDY)
    with pytest.raises(DicomError, match="failed"):
        Web("127.0.0.1", 1).fetch(Study("1", "2", "P", ()))
