"""The plugin module, loaded as Orthanc loads it, with a fake of Orthanc's module."""

import json
import logging
import runpy
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import hapacs_node
from hapacs.dicom.files import shipped_with_pydicom
from hapacs_node import log
from hapacs_node.correction.gate import Gate
from hapacs_node.errors import CatalogUnavailableError, NodeError, ReplacementRefusedError
from hapacs_node.https import Listener
from hapacs_node.loopback import Orthanc
from hapacs_node.node import Node
from hapacs_node.record.objects import Objects

_SCRIPT = Path(hapacs_node.__file__).parent / "orthanc_plugin.py"


class FakeOrthanc(ModuleType):
    """Records registrations and log lines."""

    class ChangeType:
        ORTHANC_STOPPED = 11

    class OrthancException(Exception):  # noqa: N818 - Orthanc's name
        pass

    class HttpMethod:
        GET = 1
        POST = 2

    def __init__(self) -> None:
        super().__init__("orthanc")
        self.storage: tuple[Callable[..., Any], ...] = ()
        self.routes: dict[str, Callable[..., None]] = {}
        self.on_change: Callable[..., None] | None = None
        self.on_c_store: Callable[[Any], int] = lambda _: -1
        self.on_stored: Callable[[Any, str], None] = lambda *_: None
        self.on_http: Callable[..., bool] = lambda *_, **__: False
        self.configuration: dict[str, Any] = {
            "DicomAet": "HAPACS", "HttpPort": 9, "DatabaseServerIdentifier": "orthanc-store-pacs1",
        }  # fmt: skip

    def GetConfiguration(self) -> str:  # noqa: N802
        return json.dumps(self.configuration)

    def RegisterStorageArea(self, *callbacks: Callable[..., Any]) -> None:  # noqa: N802
        self.storage = callbacks

    def RegisterRestCallback(self, path: str, callback: Callable[..., None]) -> None:  # noqa: N802
        self.routes[path] = callback

    def RegisterOnChangeCallback(self, callback: Callable[..., None]) -> None:  # noqa: N802
        self.on_change = callback

    def RegisterIncomingCStoreInstanceFilter(self, callback: Callable[[Any], int]) -> None:  # noqa: N802
        self.on_c_store = callback

    def RegisterOnStoredInstanceCallback(self, callback: Callable[[Any, str], None]) -> None:  # noqa: N802
        self.on_stored = callback

    def TranscodeDicomInstance(self, content: bytes, syntax: str) -> "Transcoded":  # noqa: N802
        return Transcoded(content + syntax.encode())

    def RegisterIncomingHttpRequestFilter(self, callback: Callable[..., bool]) -> None:  # noqa: N802
        self.on_http = callback


class Transcoded:
    """An image as Orthanc's transcoder returns it."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def SerializeDicomInstance(self) -> bytes:  # noqa: N802
        return self.content


class Instance:
    """An image as Orthanc shows it to a plugin."""

    def GetInstanceRemoteAet(self) -> str:  # noqa: N802
        return "CT1"

    def GetInstanceData(self) -> bytes:  # noqa: N802
        return b"a DICOM file"

    def GetInstanceMetadata(self, name: str) -> str:  # noqa: N802
        return {"RemoteIP": "192.0.2.7"}[name]


class Output:
    def __init__(self) -> None:
        self.status = 200
        self.body: Any = None
        self.type = ""

    def AnswerBuffer(self, body: str | bytes, content_type: str) -> None:  # noqa: N802
        self.body, self.type = body, content_type

    def SendHttpStatus(self, status: int, body: str) -> None:  # noqa: N802
        self.status, self.body = status, body

    def SendMethodNotAllowed(self, allowed: str) -> None:  # noqa: N802
        self.status, self.body = 405, allowed


@pytest.fixture
def orthanc(monkeypatch: pytest.MonkeyPatch) -> FakeOrthanc:
    module = FakeOrthanc()
    monkeypatch.setitem(sys.modules, "orthanc", module)
    # The plugin keeps numpy out of its process; other tests need it.
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    monkeypatch.delitem(sys.modules, "hapacs_node.without_numpy", raising=False)
    # Tests must not write to this machine's journal.
    monkeypatch.setattr("hapacs_node.journal.JournalHandler", logging.NullHandler)
    return module


@pytest.fixture
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Without this, each start of a node makes 65,536 folders, and removing them takes minutes.
    monkeypatch.setattr("hapacs_node.storage.das._SPREAD", ["00"])
    (tmp_path / "das").mkdir()
    (tmp_path / "password").write_text("secret")
    (tmp_path / "cas.json").write_text('{"access_key": "node", "secret_key": "secret"}')
    document = {
        "node": "pacs1",
        "site": "main",
        "database": {"hosts": ["127.0.0.1"], "port": 9, "password_file": str(tmp_path / "password")},
        "das": {"root": str(tmp_path / "das"), "minimum_free_bytes": 0, "must_be_mount": False},
        "cas": {
            "gateways": ["http://127.0.0.1:9"],
            "bucket": "archive",
            "credentials_file": str(tmp_path / "cas.json"),
            "attempt_timeout_s": 0.5,
            "deadline_s": 0.5,
        },
    }
    file = tmp_path / "node.json"
    file.write_text(json.dumps(document))
    monkeypatch.setenv("HAPACS_NODE_FILE", str(file))
    monkeypatch.setenv("HAPACS_SERVICE", "store")
    return file


@pytest.fixture
def capture(loaded: FakeOrthanc) -> Iterator[list[str]]:
    """Log lines after the plugin is loaded."""
    assert loaded.storage
    lines: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    handler = Handler()
    logging.getLogger(log.ROOT).addHandler(handler)
    yield lines
    logging.getLogger(log.ROOT).removeHandler(handler)


@pytest.fixture
def loaded(orthanc: FakeOrthanc, configuration: Path) -> Iterator[FakeOrthanc]:
    assert configuration.exists()
    logger = logging.getLogger(log.ROOT)
    handlers, propagate = list(logger.handlers), logger.propagate
    names = runpy.run_path(str(_SCRIPT))
    orthanc.names = names  # type: ignore[attr-defined]
    yield orthanc
    names["node"].close()
    logger.handlers, logger.propagate = handlers, propagate


def ask(orthanc: FakeOrthanc, path: str, method: str = "GET", *groups: str) -> Output:
    output = Output()
    request = {"method": method, "groups": groups} if groups else {"method": method}
    orthanc.routes[path](output, path, **request)
    return output


def node_of(orthanc: FakeOrthanc) -> Node:
    node = orthanc.names["node"]
    assert isinstance(node, Node)
    return node


def test_health_is_503_while_a_check_fails(loaded: FakeOrthanc) -> None:
    node_of(loaded).health.refresh("cas")
    answer = ask(loaded, "/hapacs/health")
    assert answer.status == 503
    assert not json.loads(answer.body)["checks"]["cas"]["ok"]


def test_health_is_200_when_all_checks_succeed(loaded: FakeOrthanc, monkeypatch: pytest.MonkeyPatch) -> None:
    health = node_of(loaded).health
    monkeypatch.setattr(health, "report", lambda: {"ok": True, "checks": {}})
    answer = ask(loaded, "/hapacs/health")
    assert (answer.status, answer.type) == (200, "application/json")


def test_metrics_are_served_as_text(loaded: FakeOrthanc) -> None:
    answer = ask(loaded, "/hapacs/metrics")
    assert b"hapacs_storage_step_seconds" in answer.body
    assert answer.type.startswith("text/plain; version=0.0.4")


def test_only_get_is_allowed(loaded: FakeOrthanc) -> None:
    assert len(loaded.routes) == 4
    for path in loaded.routes:
        assert ask(loaded, path, "POST", "0" * 64).status == 405


def test_objects_and_instances_are_404_when_unknown(loaded: FakeOrthanc, monkeypatch: pytest.MonkeyPatch) -> None:
    lookup = node_of(loaded).lookup
    monkeypatch.setattr(lookup, "by_digest", lambda digest: {"digest": digest, "catalog": []})
    monkeypatch.setattr(lookup, "by_instance", lambda _: [])
    digests, instances = (path for path in loaded.routes if path.endswith(")"))
    assert ask(loaded, digests, "GET", "0" * 64).status == 404
    assert ask(loaded, instances, "GET", "1.2.3").status == 404
    monkeypatch.setattr(lookup, "by_digest", lambda digest: {"digest": digest, "catalog": [{}]})
    assert json.loads(ask(loaded, digests, "GET", "1" * 64).body)["digest"] == "1" * 64


def test_a_request_without_a_database_leader_is_503(loaded: FakeOrthanc, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> None:
        raise CatalogUnavailableError("no database leader")

    monkeypatch.setattr(node_of(loaded).lookup, "by_digest", fail)
    answer = ask(loaded, "/hapacs/objects/([0-9a-f]{64})", "GET", "0" * 64)
    assert answer.status == 503
    assert json.loads(answer.body) == {"error": "no database leader"}


@pytest.mark.parametrize(
    ("error", "status"),
    [(None, 0), (ReplacementRefusedError("other bytes"), 0x0124), (CatalogUnavailableError("no leader"), 0xA700)],
)
def test_a_c_store_that_may_replace_nothing_has_a_status_of_its_own(
    orthanc: FakeOrthanc, configuration: Path, monkeypatch: pytest.MonkeyPatch, error: NodeError | None, status: int
) -> None:
    configuration.write_text(json.dumps(json.loads(configuration.read_text()) | {"replace": "never"}))
    asked: list[bytes] = []

    def admit(_self: Objects, _thread: int, content: bytes) -> None:
        asked.append(content)
        if error is not None:
            raise error

    monkeypatch.setattr(Objects, "admit", admit)
    node = runpy.run_path(str(_SCRIPT))["node"]
    try:
        assert orthanc.on_c_store(Instance()) == status
    finally:
        node.close()
    assert asked == [b"a DICOM file"]


def test_a_store_that_fails_raises_into_orthanc_and_names_the_caller(loaded: FakeOrthanc, capture: list[str]) -> None:
    create, _, _ = loaded.storage
    assert loaded.on_c_store(Instance()) == 0
    with pytest.raises(NodeError):
        create("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", 1, b"a DICOM file")
    assert any("event=create_failed uuid=a0eebc99" in line for line in capture)
    (refused,) = (line for line in capture if "event=refused" in line)
    assert "caller=CT1 address=unknown" in refused


def test_an_image_is_stored_although_its_record_fails(
    loaded: FakeOrthanc, capture: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("no record")

    for name in ("dicom_arrived", "stored", "http_arrived"):
        monkeypatch.setattr(node_of(loaded).objects, name, fail)
    assert loaded.on_c_store(Instance()) == 0
    loaded.on_stored(Instance(), "")
    assert loaded.on_http("/dicom-web/studies", method=1, ip="127.0.0.1", headers={}, get={})
    assert [line.split()[1] for line in capture if "event=record_failed" in line] == [
        "what=C-STORE",
        "what=stored",
        "what=HTTP",
    ]


def test_a_search_is_recorded_without_its_query(loaded: FakeOrthanc, capture: list[str]) -> None:
    headers = {"x-hapacs-user": "anna", "x-forwarded-for": "192.0.2.9"}
    query = {"PatientName": "Doe"}
    assert loaded.on_http("/dicom-web/studies", method=1, ip="127.0.0.1", headers=headers, get=query)
    assert "event=queried what=studies user=anna address=192.0.2.9" in capture
    assert not [line for line in capture if "Doe" in line]


def test_orthanc_answers_no_get_that_a_correction_forbids(loaded: FakeOrthanc, monkeypatch: pytest.MonkeyPatch) -> None:
    node = node_of(loaded)
    monkeypatch.setattr(Gate, "passes", lambda _, path: path.endswith("/bulk/1"))
    request: dict[str, Any] = {"ip": "127.0.0.1", "headers": {}, "get": {}}
    assert loaded.on_http("/dicom-web/studies", method=1, **request), "the storing service gives nothing to clients"
    monkeypatch.setattr(node.health, "service", "query")
    assert not loaded.on_http("/dicom-web/studies", method=1, **request)
    assert loaded.on_http("/dicom-web/studies", method=2, **request)
    assert loaded.on_http("/dicom-web/studies/1/bulk/1", method=1, **request)


def test_stopping_orthanc_stops_the_probes(loaded: FakeOrthanc) -> None:
    assert loaded.on_change is not None
    loaded.on_change(FakeOrthanc.ChangeType.ORTHANC_STOPPED, 0, "")
    with pytest.raises(RuntimeError):
        node_of(loaded).storage.workers.packers.submit(print)


def test_the_wado_server_starts_when_it_is_configured(
    orthanc: FakeOrthanc, configuration: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert configuration.exists()
    files = {"Certificate": str(listener.certificate), "Key": str(listener.key), "Authority": str(listener.authority)}
    orthanc.configuration["Hapacs"] = {"Retrieve": {"Address": listener.address, "Port": 0, **files}}
    monkeypatch.setenv("HAPACS_SERVICE", "query")
    logger = logging.getLogger(log.ROOT)
    handlers, propagate = list(logger.handlers), logger.propagate
    node = runpy.run_path(str(_SCRIPT))["node"]
    try:
        assert node.retrieval.running.probe() == "connections are accepted"
        assert node.retrieval.orthanc == Orthanc(orthanc.configuration["HttpPort"])
        assert "retrieve" in node.health.probes
    finally:
        node.close()
        logger.handlers, logger.propagate = handlers, propagate


def test_the_query_title_listens_when_it_is_configured(
    orthanc: FakeOrthanc, configuration: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert configuration.exists()
    orthanc.configuration["Hapacs"] = {
        "Dimse": {
            "Certificate": str(listener.certificate), "Key": str(listener.key), "Authority": str(listener.authority),
            "Address": listener.address, "Port": 0, "Title": "HAPACS_QR", "Associations": 4, "FindResults": 9,
            "FindInstances": 99, "Callers": [{"Title": "CT1", "May": ["echo"]}],
        }
    }  # fmt: skip
    monkeypatch.setenv("HAPACS_SERVICE", "query")
    logger = logging.getLogger(log.ROOT)
    handlers, propagate = list(logger.handlers), logger.propagate
    node = runpy.run_path(str(_SCRIPT))["node"]
    try:
        assert node.scp.probe() == "associations are accepted"
        assert "dimse" in node.health.probes
        assert node.scp.entity.callers["CT1"].may == {"echo"}
        assert (node.scp.find.finder.limit, node.scp.find.finder.images) == (9, 99)
        content = shipped_with_pydicom()[0].read_bytes()
        assert node.scp.retrieve.sender.transcoder.to(content, "1.2") == content + b"1.2"
        node.scp.stop()
        node.scp._thread.join(10)
        with pytest.raises(NodeError, match="does not run"):
            node.scp.probe()
    finally:
        node.close()
        logger.handlers, logger.propagate = handlers, propagate


class RestInterface(ThreadingHTTPServer):
    """Orthanc's REST interface: takes files, and refuses what it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None, str | None, bytes]] = []
        super().__init__(("127.0.0.1", 0), _Rest)


class _Rest(BaseHTTPRequestHandler):
    server: RestInterface

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, self.headers["X-Hapacs-User"], self.headers["X-Forwarded-For"], content))
        status, answer = {
            b"bad": (400, b""),
            b"not now": (500, b""),
            b"archive": (200, b"[]"),
            b"no JSON": (200, b"<html>"),
        }.get(content, (200, b'{"Status": "Success"}'))
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def rest_interface() -> Iterator[RestInterface]:
    with RestInterface() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def test_stow_listens_when_it_is_configured_and_says_what_orthanc_says(
    orthanc: FakeOrthanc, configuration: Path, listener: Listener
) -> None:
    assert configuration.exists()
    files = {"Certificate": str(listener.certificate), "Key": str(listener.key), "Authority": str(listener.authority)}
    orthanc.configuration["Hapacs"] = {"Stow": {"Address": listener.address, "Port": 0, **files}}
    logger = logging.getLogger(log.ROOT)
    handlers, propagate = list(logger.handlers), logger.propagate
    with rest_interface() as rest:
        orthanc.configuration["HttpPort"] = rest.server_port
        node = runpy.run_path(str(_SCRIPT))["node"]
        try:
            assert node.stow.running.probe() == "connections are accepted"
            assert "stow" in node.health.probes
            node.objects.stow_arrived("/dicom-web/studies", {"x-hapacs-user": "anna", "x-forwarded-for": "192.0.2.9"})
            reasons = [node.stow.keep(one) for one in (b"good", b"bad", b"not now", b"archive", b"no JSON")]
            assert reasons == [0, 0xC000, 0xA700, 0xA700, 0xA700]
            assert rest.asked[0] == ("/instances", "anna", "192.0.2.9", b"good")
            rest.shutdown()
            rest.server_close()
            # Nobody answers: it may be stored or not, and the sender repeats it.
            assert node.stow.keep(b"good") == 0xA700
        finally:
            node.close()
            logger.handlers, logger.propagate = handlers, propagate


@pytest.mark.usefixtures("orthanc", "configuration")
def test_an_unknown_service_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAPACS_SERVICE", "both")
    with pytest.raises(NodeError, match="HAPACS_SERVICE"):
        runpy.run_path(str(_SCRIPT))


def test_orthanc_stays_without_numpy_and_psycopg_sends_arrays() -> None:
    # In a process of its own, as Orthanc is one: psycopg looks for numpy when it sends the first number.
    program = """
import hapacs_node.without_numpy, sys, pydicom, pydicom.pixels
from psycopg.sql import Literal
assert "{1,2}" in Literal([1, 2]).as_string(None)
assert "numpy" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_only_the_plugin_module_imports_orthanc() -> None:
    sources = [path for path in _SCRIPT.parent.rglob("*.py") if path != _SCRIPT]
    assert len(sources) > 15
    assert [path for path in sources if "import orthanc" in path.read_text()] == []
