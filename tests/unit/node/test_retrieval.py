"""WADO-RS over TLS on loopback: real sockets, DAS and certificates; catalog and archive are fakes."""

import http.client
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import RLELossless

from hapacs.pki import Authority
from hapacs_node import https as module
from hapacs_node.catalog.objects import StoredObject
from hapacs_node.catalog.retrieval import Instance, Named
from hapacs_node.correction.patient import Move, of_values
from hapacs_node.errors import CatalogUnavailableError, NodeError
from hapacs_node.https import Listener
from hapacs_node.metrics import Metrics
from hapacs_node.retrieve.budget import Budget
from hapacs_node.retrieve.server import Retrieval
from hapacs_node.storage.area import StorageArea
from tests.support.images import ct
from tests.unit.node.certificates import certificate
from tests.unit.node.fakes import FakeBucket, FakeCatalog, FakeClient
from tests.unit.node.test_das import damage, file_of

AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
SYNTAX = "1.2.840.10008.1.2.1"
STUDY = "1.2.3"
PATH = f"/dicom-web/studies/{STUDY}"
WAIT_S = 10


class Index(FakeCatalog):
    """A catalog with one study."""

    def __init__(self) -> None:
        super().__init__()
        self.study: list[UUID] = []
        self.syntaxes: dict[UUID, str] = {}
        self.moved: Move | None = None

    def retrieve(self, named: Named) -> list[Instance]:
        self._ask()
        found = [Instance(self.rows[uuid], self.syntaxes.get(uuid, SYNTAX), self.moved) for uuid in self.study]
        return found if named == Named(STUDY) else found[:1] if named == Named(STUDY, "1", "1") else []


@pytest.fixture
def catalog() -> Index:
    return Index()


@pytest.fixture
def contents(area: StorageArea, catalog: Index) -> list[bytes]:
    """A study that is stored."""
    made = [bytes([number]) * (1000 + number) for number in range(6)]
    for content in made:
        uuid = uuid4()
        area.create(str(uuid), 1, content)
        catalog.study.append(uuid)
    return made


@pytest.fixture
def lose(root: Path, catalog: Index, bucket: FakeBucket) -> Callable[[int], None]:
    """Remove an image of the study from the DAS, and the whole archive."""

    def take(number: int) -> None:
        file_of(root, catalog.rows[catalog.study[number]].digest).unlink()
        bucket.objects.clear()

    return take


@pytest.fixture
def retrieval(area: StorageArea, catalog: Index, metrics: Metrics) -> Retrieval:
    return Retrieval(catalog, area, Budget(1 << 20, 0.2), metrics)


@pytest.fixture
def port(retrieval: Retrieval, listener: Listener) -> Iterator[int]:
    yield retrieval.start(listener)
    retrieval.running.stop()


@pytest.fixture
def balancer(port: int, tls: ssl.SSLContext) -> Iterator[http.client.HTTPSConnection]:
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=tls, timeout=WAIT_S)
    yield connection
    connection.close()


def get(
    connection: http.client.HTTPSConnection, path: str = PATH, accept: str = AS_STORED
) -> tuple[int, dict[str, str], bytes]:
    connection.request("GET", path, headers={"Accept": accept})
    answer = connection.getresponse()
    return answer.status, dict(answer.headers), answer.read()


def instances_of(headers: dict[str, str], body: bytes) -> list[bytes]:
    boundary = headers["Content-Type"].rpartition("boundary=")[2].encode()
    return [part.split(b"\r\n\r\n", 1)[1][:-2] for part in body.split(b"--" + boundary)[1:-1]]


def test_a_study_is_retrieved_as_stored_and_in_order(
    balancer: http.client.HTTPSConnection, contents: list[bytes]
) -> None:
    status, headers, body = get(balancer)
    assert status == 200
    assert instances_of(headers, body) == contents
    assert int(headers["Content-Length"]) == len(body)


def test_a_moved_study_is_retrieved_with_its_patient(
    balancer: http.client.HTTPSConnection, area: StorageArea, catalog: Index
) -> None:
    catalog.moved = Move(of_values({"PatientID": "R7", "PatientName": "Right^Person"}), "20261129204300+0000")
    for _ in range(2):
        uuid = uuid4()
        area.create(str(uuid), 1, ct(PatientID="W1"))
        catalog.study.append(uuid)
    status, headers, body = get(balancer)
    assert (status, "Content-Length" in headers) == (200, False)
    made = instances_of(headers, body)
    assert [dcmread(BytesIO(one)).PatientID for one in made] == ["R7", "R7"]
    assert b"Content-Length: %d\r\n" % len(made[0]) in body
    one = get(balancer, f"{PATH}/series/1/instances/1", "application/dicom; transfer-syntax=*")
    assert (one[0], one[2]) == (200, made[0])
    balancer.request("HEAD", PATH, headers={"Accept": AS_STORED})
    answer = balancer.getresponse()
    assert (answer.status, answer.read(), answer.getheader("Content-Length")) == (200, b"", None)


def test_a_study_whose_correction_can_not_be_written_is_not_given(
    balancer: http.client.HTTPSConnection, contents: list[bytes], catalog: Index
) -> None:
    assert contents
    catalog.moved = Move(of_values({"PatientID": "R7"}), "20261129204300+0000")
    status, _, body = get(balancer)
    assert status == 500
    assert b"can't be written into the file" in body


def test_a_connection_serves_many_requests(balancer: http.client.HTTPSConnection, contents: list[bytes]) -> None:
    balancer.connect()
    used = balancer.sock
    for path in (PATH, f"{PATH}/series/9.9", PATH):
        get(balancer, path)
    status, headers, body = get(balancer)
    assert (status, instances_of(headers, body)) == (200, contents)
    assert balancer.sock is used


def test_a_uid_that_is_not_in_the_index_is_404(balancer: http.client.HTTPSConnection, contents: list[bytes]) -> None:
    assert contents
    assert get(balancer, f"{PATH}/series/9.9")[0] == 404
    assert get(balancer, f"{PATH}/rendered")[0] == 404
    assert get(balancer, "/hapacs/metrics")[0] == 404


def test_another_media_type_is_406(balancer: http.client.HTTPSConnection, contents: list[bytes]) -> None:
    assert contents
    for accept in (
        "image/jpeg",
        "application/dicom",
        'multipart/related; type="application/pdf"',
        "*/*;q=0",
        "nonsense",
    ):
        status, _, body = get(balancer, accept=accept)
        assert (status, b"multipart/related" in body) == (406, True)


@pytest.mark.parametrize(
    "accept",
    [
        "*/*",
        "",
        "multipart/related",
        f"{AS_STORED}, */*;q=0.1",
        f"image/jpeg, {AS_STORED};q=0.5",
        "text/html, multipart/*",
    ],
)
def test_files_as_stored_are_for_all_who_take_them(
    balancer: http.client.HTTPSConnection, contents: list[bytes], accept: str
) -> None:
    status, headers, body = get(balancer, accept=accept)
    assert (status, instances_of(headers, body)) == (200, contents)
    assert int(headers["Content-Length"]) == len(body)


def test_the_query_can_name_what_is_accepted(balancer: http.client.HTTPSConnection, contents: list[bytes]) -> None:
    status, headers, body = get(balancer, f"{PATH}?accept=multipart/related", accept="image/jpeg")
    assert (status, instances_of(headers, body)) == (200, contents)


def transcode(content: bytes, syntax: str) -> bytes:
    """Decode RLE, and no other transfer syntax."""
    dataset, file = dcmread(BytesIO(content)), BytesIO()
    assert (dataset.file_meta.TransferSyntaxUID, syntax) == (RLELossless, SYNTAX)
    dataset.decompress()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


@pytest.fixture
def mixed(area: StorageArea, catalog: Index, retrieval: Retrieval) -> list[bytes]:
    """A study in which one image of three can be decoded."""
    retrieval.transcoder.transcode = transcode
    made = []
    for name in ("SC_rgb_jpeg_dcmtk.dcm", "MR_small_RLE.dcm", "CT_small.dcm"):
        path, uuid = get_testdata_file(name), uuid4()
        assert isinstance(path, str)
        made.append(Path(path).read_bytes())
        area.create(str(uuid), 1, made[-1])
        catalog.study.append(uuid)
        catalog.syntaxes[uuid] = str(dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID)
    return made


def test_what_can_not_be_converted_is_sent_as_stored_beside_what_can(
    balancer: http.client.HTTPSConnection, mixed: list[bytes]
) -> None:
    status, headers, body = get(balancer, accept='multipart/related; type="application/dicom"')
    jpeg, rle, native = instances_of(headers, body)
    assert (status, jpeg, native) == (200, mixed[0], mixed[2])
    assert "Content-Length" not in headers
    decoded = dcmread(BytesIO(rle))
    assert decoded.file_meta.TransferSyntaxUID == SYNTAX
    assert (decoded.pixel_array == dcmread(BytesIO(mixed[1])).pixel_array).all()
    syntaxes = [str(dcmread(BytesIO(file)).file_meta.TransferSyntaxUID) for file in mixed]
    for syntax, file in zip((syntaxes[0], SYNTAX, SYNTAX), (jpeg, rle, native), strict=True):
        head = f"application/dicom; transfer-syntax={syntax}\r\nContent-Length: {len(file)}\r\n\r\n"
        assert head.encode() + file in body
    # The connection is of use after an answer in chunks.
    assert get(balancer)[0] == 200


def test_nothing_is_converted_that_is_accepted_as_stored(
    balancer: http.client.HTTPSConnection, mixed: list[bytes]
) -> None:
    accept = 'multipart/related; type="application/dicom"'
    status, headers, body = get(balancer, accept=f"{accept}, {accept}; transfer-syntax={RLELossless};q=0.1")
    assert (status, instances_of(headers, body)) == (200, mixed)


def test_a_single_image_that_can_not_be_converted_is_406(
    balancer: http.client.HTTPSConnection, mixed: list[bytes]
) -> None:
    one = f"{PATH}/series/1/instances/1"
    for accept in ("application/dicom", 'multipart/related; type="application/dicom"'):
        assert get(balancer, one, accept)[0] == 406
    status, headers, body = get(balancer, one, "application/dicom; transfer-syntax=*")
    assert (status, body, int(headers["Content-Length"])) == (200, mixed[0], len(mixed[0]))


def test_a_failure_in_the_middle_of_an_answer_in_chunks_is_seen(
    balancer: http.client.HTTPSConnection, mixed: list[bytes], lose: Callable[[int], None]
) -> None:
    assert mixed
    lose(2)
    balancer.request("GET", PATH, headers={"Accept": 'multipart/related; type="application/dicom"'})
    with pytest.raises(http.client.IncompleteRead):
        balancer.getresponse().read()


def test_head_is_answered_as_get_without_a_body(balancer: http.client.HTTPSConnection, contents: list[bytes]) -> None:
    assert contents
    length = get(balancer)[1]["Content-Length"]
    for path, status in ((PATH, 200), (f"{PATH}/series/9.9", 404), (PATH, 200)):
        balancer.request("HEAD", path, headers={"Accept": AS_STORED})
        answer = balancer.getresponse()
        assert (answer.status, answer.read()) == (status, b"")
        assert status != 200 or answer.getheader("Content-Length") == length


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT", "OPTIONS"])
def test_another_method_is_405(balancer: http.client.HTTPSConnection, method: str) -> None:
    balancer.request(method, PATH, body=b"")
    answer = balancer.getresponse()
    assert (answer.status, answer.getheader("Allow")) == (405, "GET, HEAD")


def test_images_missing_on_the_das_are_read_from_the_archive_in_few_requests(
    balancer: http.client.HTTPSConnection,
    contents: list[bytes],
    root: Path,
    clients: list[FakeClient],
    catalog: Index,
) -> None:
    # As for images that arrived together: in one object.
    together = b"".join(contents)
    clients[0].bucket.objects["packs/one"] = (together, None)
    offset = 0
    for uuid, content in zip(catalog.study, contents, strict=True):
        row = catalog.rows[uuid]
        place = (row.store, "packs/one", offset, len(content))
        catalog.rows[uuid] = StoredObject(row.uuid, row.digest, row.size, row.type, *place, row.node)
        offset += len(content)
        file_of(root, row.digest).unlink()
    for client in clients:
        client.requests.clear()
    status, headers, body = get(balancer)
    assert (status, instances_of(headers, body)) == (200, contents)
    assert [request for client in clients for request in client.requests] == [("get", "packs/one")]
    assert all(file_of(root, catalog.rows[uuid].digest).exists() for uuid in catalog.study)


def test_a_damaged_copy_is_restored_before_it_is_sent(
    balancer: http.client.HTTPSConnection, contents: list[bytes], root: Path, catalog: Index
) -> None:
    file = file_of(root, catalog.rows[catalog.study[2]].digest)
    damage(file, b"other bytes")
    status, headers, body = get(balancer)
    assert (status, instances_of(headers, body)) == (200, contents)
    assert file.read_bytes() == contents[2]


def test_a_failure_of_the_first_image_is_503_so_that_another_node_can_answer(
    balancer: http.client.HTTPSConnection, contents: list[bytes], lose: Callable[[int], None]
) -> None:
    assert contents
    lose(0)
    assert get(balancer)[0] == 503


@pytest.mark.usefixtures("contents")
def test_damage_in_both_copies_is_500_which_the_balancer_does_not_repeat(
    balancer: http.client.HTTPSConnection, area: StorageArea, catalog: Index, clients: list[FakeClient]
) -> None:
    area.cas.damaged_after_s = 0
    damage(file_of(area.das.settings.root, catalog.rows[catalog.study[0]].digest), b"other bytes")
    for client in clients:
        client.damaged = True
    assert get(balancer)[0] == 500


def test_without_the_database_the_answer_is_503(
    balancer: http.client.HTTPSConnection, contents: list[bytes], catalog: Index
) -> None:
    catalog.fault = CatalogUnavailableError("no leader")
    assert get(balancer)[0] == 503
    catalog.fault = None
    status, headers, body = get(balancer)
    assert (status, instances_of(headers, body)) == (200, contents)


def test_a_failure_in_the_middle_makes_the_answer_too_short(
    balancer: http.client.HTTPSConnection,
    contents: list[bytes],
    lose: Callable[[int], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    lose(3)
    balancer.request("GET", PATH, headers={"Accept": AS_STORED})
    answer = balancer.getresponse()
    assert answer.status == 200
    with pytest.raises(http.client.IncompleteRead) as broken:
        answer.read()
    assert contents[2] in broken.value.partial
    (line,) = (message for message in caplog.messages if message.startswith("event=retrieved"))
    assert "study=1.2.3 objects=3 " in line
    assert "outcome=aborted error=" in line


def test_answers_hold_no_more_memory_than_the_budget(
    retrieval: Retrieval, balancer: http.client.HTTPSConnection, contents: list[bytes]
) -> None:
    with retrieval.budget.hold(retrieval.budget.bytes):
        status, _, body = get(balancer)
        assert status == 503
        assert b"ask again later" in body
    status, headers, body = get(balancer)
    assert (status, instances_of(headers, body)) == (200, contents)


def test_a_client_that_disconnects_releases_its_memory(
    retrieval: Retrieval, balancer: http.client.HTTPSConnection, area: StorageArea, catalog: Index
) -> None:
    large = bytes(900_000)
    for number in range(20):
        uuid = uuid4()
        area.create(str(uuid), 1, large + bytes([number]))
        catalog.study.append(uuid)
    balancer.request("GET", PATH, headers={"Accept": AS_STORED})
    answer = balancer.getresponse()
    answer.read(100)
    answer.close()
    balancer.close()
    deadline = time.monotonic() + WAIT_S
    while retrieval.budget._held and time.monotonic() < deadline:
        time.sleep(0.01)
    assert retrieval.budget._held == 0


def test_a_client_without_a_certificate_of_the_site_is_refused(
    port: int, authority: Authority, tmp_path: Path, tls: ssl.SSLContext, contents: list[bytes]
) -> None:
    assert contents
    stranger = Authority(tmp_path / "stranger", "pacs", "passphrase")
    stranger.ensure()
    nobody = ssl.create_default_context(cafile=str(authority.certificate_file))
    wrong = ssl.create_default_context(cafile=str(authority.certificate_file))
    wrong.load_cert_chain(*certificate(stranger, tmp_path, "balancer", "client"))
    for context in (nobody, wrong):
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=WAIT_S)
        with pytest.raises(OSError, match=r"(?i)certificate|alert|unknown ca|reset|EOF|without response"):
            get(connection)
        connection.close()
    assert get(http.client.HTTPSConnection("127.0.0.1", port, context=tls, timeout=WAIT_S))[0] == 200


def test_a_slow_handshake_does_not_block_other_clients(
    port: int, balancer: http.client.HTTPSConnection, contents: list[bytes]
) -> None:
    assert contents
    with socket.create_connection(("127.0.0.1", port)) as slow:
        slow.sendall(b"\x16")
        assert get(balancer)[0] == 200


def test_a_silent_client_is_disconnected(
    monkeypatch: pytest.MonkeyPatch, port: int, balancer: http.client.HTTPSConnection, contents: list[bytes]
) -> None:
    assert contents
    with monkeypatch.context() as short:
        short.setattr(module, "_HANDSHAKE_S", 0.1)
        with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as silent:
            assert silent.recv(1) == b""
    # Long enough for the request on a busy machine.
    monkeypatch.setattr(module, "_IDLE_S", 1)
    assert get(balancer)[0] == 200
    assert balancer.sock.recv(1) == b""


def test_the_probe_reports_whether_connections_are_accepted(retrieval: Retrieval, listener: Listener) -> None:
    with pytest.raises(NodeError, match="does not run"):
        retrieval.running.probe()
    retrieval.start(listener)
    assert retrieval.running.probe() == "connections are accepted"
    retrieval.running.stop()
    with pytest.raises(NodeError, match="does not run"):
        retrieval.running.probe()


def test_the_listener_is_read_from_orthancs_configuration() -> None:
    document = {"Address": "192.0.2.1", "Port": 8045, "Certificate": "/c", "Key": "/k", "Authority": "/a"}
    assert Listener.of(document) == Listener("192.0.2.1", 8045, Path("/c"), Path("/k"), Path("/a"))


@pytest.mark.parametrize("more", ["", f"&transferSyntax={SYNTAX}"])
def test_a_file_by_parameters_is_the_one_of_wado_rs(
    balancer: http.client.HTTPSConnection, contents: list[bytes], more: str
) -> None:
    asked = f"/wado?requestType=WADO&studyUID={STUDY}&seriesUID=1&objectUID=1&contentType=application%2Fdicom{more}"
    status, headers, body = get(balancer, asked, "text/html")
    assert (status, headers["Content-Type"]) == (200, f"application/dicom; transfer-syntax={SYNTAX}")
    assert body == contents[0]
    assert get(balancer, asked.replace("objectUID=1", "objectUID=2"))[0] == 404
    assert get(balancer, asked.replace(SYNTAX, "1.2.840.10008.1.2.4.90"))[0] == (406 if more else 200)
