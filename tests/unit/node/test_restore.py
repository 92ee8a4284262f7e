"""The restoration of removed images."""

import http.server
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from pydicom.uid import ExplicitVRLittleEndian

from hapacs.pki import Authority
from hapacs_node.catalog.index import Present
from hapacs_node.catalog.removals import Removal
from hapacs_node.errors import ConfigurationError, NodeError
from hapacs_node.restore import Orthanc, Restoration, identify
from hapacs_node.storage import names
from hapacs_node.storage.area import StorageArea
from tests.unit.node.certificates import certificate
from tests.unit.node.fakes import FakeBucket, FakeCatalog
from tests.unit.node.test_das import file_of
from tests.unit.node.test_identity import image

CONTENT = image(ExplicitVRLittleEndian, undefined=False)
DIGEST = names.digest_of(CONTENT)


@pytest.fixture
def removed(area: StorageArea) -> UUID:
    """An image that CT1 stored and an unknown caller removed, before the catalog noted studies."""
    uuid = uuid4()
    area.create(str(uuid), 1, CONTENT, "title:CT1")
    area.remove(str(uuid), 1, Removal("unknown"))
    return uuid


@pytest.fixture
def sent() -> list[bytes]:
    return []


@pytest.fixture
def restoration(area: StorageArea, catalog: FakeCatalog, sent: list[bytes]) -> Restoration:
    return Restoration(catalog, area.reader, sent.append)


@pytest.mark.usefixtures("removed")
def test_a_removed_image_is_stored_again_for_its_first_caller(
    restoration: Restoration, catalog: FakeCatalog, sent: list[bytes]
) -> None:
    (image,) = restoration.study("1", "anna")
    assert (image.series, image.sop, image.digest, image.state) == ("1.2", "1.2.3", DIGEST, "restored")
    assert sent == [CONTENT]
    assert catalog.inherited == {DIGEST: "title:CT1"}


@pytest.mark.usefixtures("removed")
@pytest.mark.parametrize(("digest", "state"), [(DIGEST, "present"), ("ab" * 32, "superseded")])
def test_an_image_that_the_index_has_is_not_touched(
    restoration: Restoration, catalog: FakeCatalog, sent: list[bytes], digest: str, state: str
) -> None:
    catalog.present_as["1", "1.2", "1.2.3"] = Present(digest, None)
    assert [image.state for image in restoration.study("1", "anna")] == [state]
    assert not sent


@pytest.mark.usefixtures("removed")
def test_an_image_without_a_whole_copy_is_reported(
    restoration: Restoration, area: StorageArea, bucket: FakeBucket, sent: list[bytes]
) -> None:
    identify(restoration.catalog, area.reader)
    file_of(area.das.settings.root, DIGEST).unlink()
    bucket.objects.clear()
    (image,) = restoration.study("1", "anna")
    assert image.state == "unreadable"
    assert "no gateway finds" in image.detail
    assert not sent


@pytest.mark.usefixtures("removed")
def test_an_image_that_orthanc_refuses_is_reported(area: StorageArea, catalog: FakeCatalog) -> None:
    def refuse(_: bytes) -> None:
        raise NodeError("HTTP status 507")

    (image,) = Restoration(catalog, area.reader, refuse).study("1", "anna")
    assert (image.state, image.detail) == ("refused", "HTTP status 507")
    assert not catalog.inherited


def test_an_unknown_study_has_no_image(restoration: Restoration, removed: UUID, catalog: FakeCatalog) -> None:
    assert restoration.study("2", "anna") == []
    assert catalog.removals[removed].study == "1", "the study of an older removal is read from the bytes"


def test_removed_images_that_can_not_be_read_are_counted(
    area: StorageArea, catalog: FakeCatalog, bucket: FakeBucket, removed: UUID
) -> None:
    file_of(area.das.settings.root, DIGEST).unlink()
    bucket.objects.clear()
    assert identify(catalog, area.reader) == 1
    assert catalog.removals[removed].study is None


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.server.received.append((self.path, self.rfile.read(length)))  # type: ignore[attr-defined]
        body = json.dumps({"ID": "abc", "Status": self.server.state}).encode()  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_DELETE(self) -> None:
        self.server.received.append((self.path, self.headers["X-Hapacs-User"]))  # type: ignore[attr-defined]
        self.send_response({"/series/gone": 404, "/series/locked": 500}.get(self.path, 200))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        pass


@pytest.fixture
def certificates(authority: Authority, tmp_path: Path) -> Path:
    made, key = certificate(authority, tmp_path, "node", "server", "client")
    assert (made.name, key.name) == ("node.crt", "node.key")
    (tmp_path / "ca-pacs.crt").write_bytes(authority.certificate_file.read_bytes())
    return tmp_path


@pytest.fixture
def server(certificates: Path) -> Iterator[http.server.HTTPServer]:
    """An Orthanc that requires a certificate of the authority."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificates / "node.crt", certificates / "node.key")
    tls.load_verify_locations(certificates / "ca-pacs.crt")
    tls.verify_mode = ssl.CERT_REQUIRED
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as made:
        made.socket = tls.wrap_socket(made.socket, server_side=True)
        made.received = []  # type: ignore[attr-defined]
        made.state = "Success"  # type: ignore[attr-defined]
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


@pytest.fixture
def orthanc(server: http.server.HTTPServer, certificates: Path) -> Callable[[], Orthanc]:
    return lambda: Orthanc.of(f"https://127.0.0.1:{server.server_address[1]}", certificates)


def test_orthanc_gets_the_bytes_as_they_are(orthanc: Callable[[], Orthanc], server: http.server.HTTPServer) -> None:
    orthanc().store(CONTENT)
    assert server.received == [("/instances", CONTENT)]  # type: ignore[attr-defined]


def test_anything_but_success_is_an_error(orthanc: Callable[[], Orthanc], server: http.server.HTTPServer) -> None:
    server.state = "FilteredOut"  # type: ignore[attr-defined]
    with pytest.raises(NodeError, match="FilteredOut"):
        orthanc().store(CONTENT)
    server.shutdown()
    server.server_close()
    with pytest.raises(NodeError, match="does not answer POST /instances"):
        orthanc().store(CONTENT)


def test_orthanc_removes_a_series_for_the_operator(
    orthanc: Callable[[], Orthanc], server: http.server.HTTPServer
) -> None:
    orthanc().remove("/series/there", "anna\r\nX-Other: 1")
    orthanc().remove("/series/gone", "anna")
    assert server.received == [("/series/there", "anna??X-Other: 1"), ("/series/gone", "anna")]  # type: ignore[attr-defined]
    with pytest.raises(NodeError, match="did not remove /series/locked: HTTP status 500"):
        orthanc().remove("/series/locked", "anna")


def test_a_missing_certificate_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="certificate can't be read"):
        Orthanc.of("https://127.0.0.1:1", tmp_path)
