"""A site on loopback that the probe asks: application entities of pynetdicom, and a DICOMweb service."""

from __future__ import annotations

import base64
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import pydicom
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage
from pynetdicom import AE, evt

from hapacs_node import multipart
from hapacs_node.probe.names import TITLE, USER

FIND, GET = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.3"
PASSWORD = "password-of-the-test"


@dataclass
class FakeSite:
    """What it keeps, and how it misbehaves.

    Attributes
    ----------
    images, files
        What came by C-STORE and by STOW-RS, by SOP Instance UID.
    status
        Answer to a C-STORE.
    http_status
        Answer to every web request.
    other_bytes
        Whether it returns other pixels than it got.
    forgets
        Whether searches find nothing.
    refuses
        Whether associations are refused.
    """

    images: dict[str, Dataset] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    status: int = 0
    http_status: int = 200
    other_bytes: bool = False
    forgets: bool = False
    refuses: bool = False
    stored: int = 0
    logins: set[str] = field(default_factory=set)

    def start_dicom(self) -> Any:
        """Serve both titles at one port."""
        entity = AE(ae_title="ANY")
        if self.refuses:
            entity.require_calling_aet = ["SOMEBODY_ELSE"]
        for name in ("1.2.840.10008.1.1", FIND, GET):
            entity.add_supported_context(name, ExplicitVRLittleEndian)
        entity.add_supported_context(SecondaryCaptureImageStorage, ExplicitVRLittleEndian, scu_role=True, scp_role=True)
        handlers: list[Any] = [
            (evt.EVT_C_STORE, self._store), (evt.EVT_C_FIND, self._find), (evt.EVT_C_GET, self._get)
        ]  # fmt: skip
        return entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)

    def _store(self, event: Any) -> int:
        assert event.assoc.requestor.ae_title == TITLE
        if self.status == 0:
            self.stored += 1
            dataset = event.dataset
            dataset.file_meta = event.file_meta
            self.images[str(dataset.SOPInstanceUID)] = dataset
        return self.status

    def _find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        if event.identifier.SOPInstanceUID in self.images and not self.forgets:
            yield 0xFF00, event.identifier

    def _get(self, event: Any) -> Iterator[Any]:
        found = self.images.get(event.identifier.SOPInstanceUID)
        yield 0 if found is None else 1
        if found is not None:
            if self.other_bytes:
                found.PixelData = bytes(len(found.PixelData))
            yield 0xFF00, found

    def start_web(self) -> http.server.ThreadingHTTPServer:
        """Serve DICOMweb."""
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                content = body.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--", 1)[0]
                sop = str(pydicom.dcmread(BytesIO(content)).SOPInstanceUID)
                site.files[sop] = content
                self.reply({"00081199": {"vr": "SQ", "Value": [{}]}})

            def do_GET(self) -> None:
                if "?" in self.path:
                    sop = self.path.rpartition("=")[2]
                    found = [] if site.forgets else [{"00080018": {"vr": "UI", "Value": [sop]}}]
                    self.reply(found if sop in site.files else [])
                    return
                content = site.files[self.path.rpartition("/")[2]]
                if site.other_bytes:
                    content = content[:-1] + b"\1"
                content_type, pieces = multipart.framed([content], "application/dicom")
                self.reply(b"".join(pieces), content_type)

            def reply(self, body: Any, content_type: str = "application/dicom+json") -> None:
                site.logins.add(base64.b64decode(self.headers["Authorization"].split()[1]).decode())
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(site.http_status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server


LOGIN = f"{USER}:{PASSWORD}"
