"""The balancer alone, as callers and nodes see it: refusals, answers, and its log."""

from __future__ import annotations

import base64
import http.client
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from hapacs import pki
from hapacs.load.waiting import eventually
from tests.molecule.tls import certified
from tests.support.refusal import refusal

testinfra_hosts = ["ansible://hapacs-molecule-haproxy"]
AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
LOGIN = base64.b64encode(b"reader:reader-password-of-the-test").decode()
STATISTICS = base64.b64encode(b"statistics:statistics-password-of-the-test").decode()
AUTHORITY = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "pki" / "edge" / "ca.crt"


def ask(
    address: str, path: str, *, method: str = "GET", port: int = 443, headers: dict[str, str] | None = None
) -> http.client.HTTPResponse:
    """Send a request as it stands; nothing tidies the path."""
    context = ssl.create_default_context(cafile=str(AUTHORITY))
    connection = http.client.HTTPSConnection(address, port, context=context, timeout=30)
    connection.request(method, path, headers=headers or {})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


def test_haproxy_runs_and_starts_at_boot(host: Any) -> None:
    assert host.service("haproxy").is_running
    assert host.service("haproxy").is_enabled


def test_configuration_and_socket_are_readable_by_root_only(host: Any) -> None:
    assert host.file("/etc/haproxy/haproxy.cfg").mode == 0o600
    assert "reader-password-of-the-test" not in host.file("/etc/haproxy/haproxy.cfg").content_string
    assert host.file("/run/haproxy/admin.sock").mode == 0o600


def test_only_the_configured_ports_listen(listening: set[str], address: str) -> None:
    ports = {2762, 443, 7780, 7781, 8404, 8407, 11112}
    assert listening == {"0.0.0.0:22", "[::]:22", *(f"{address}:{port}" for port in ports)}


def test_a_configuration_that_haproxy_refuses_never_takes_the_place_of_a_good_one(
    host: Any, apply: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    before = host.file("/etc/haproxy/haproxy.cfg").content_string
    done = apply(host, "--tags=haproxy_configure", haproxy_statistics_port=70000)
    assert done.returncode != 0
    assert "is refused by haproxy and was not changed" in " ".join((done.stdout + done.stderr).split())
    assert host.file("/etc/haproxy/haproxy.cfg").content_string == before


@pytest.mark.parametrize(
    ("titles", "answer", "reason"),
    [
        (("NOBODY", "HAPACS"), (1, 1, 3), "caller-unknown"),
        (("ELSEWHERE", "HAPACS"), (1, 1, 3), "caller-outside-its-networks"),
        (("-f #1/A'B\"$x }", "HAPACS"), (1, 1, 3), "caller-outside-its-networks"),
        (("MODALITY", "WRONG"), (1, 1, 7), "called-title-unknown"),
        (("HAPROXY", "HAPACS"), (1, 1, 3), "caller-unknown"),
        (("NOBODY", "WORKLIST #1"), (1, 1, 3), "caller-unknown"),
        (("VIEWER", "WORKLIST"), (1, 1, 7), "called-title-unknown"),
    ],
)
def test_a_refused_caller_gets_the_reason_and_the_log_names_it(
    host: Any, address: str, titles: tuple[str, str], answer: tuple[int, int, int], reason: str
) -> None:
    calling, called = titles
    assert refusal(address, calling, called) == answer
    client = f"association from {address.rpartition('.')[0]}.1:"
    titles_and_reason = f' to port 11112 calling="{calling}" called="{called}" refused={reason} '
    log = host.check_output("journalctl --unit haproxy --no-pager --output cat --lines 20")
    assert any(line.startswith(client) and titles_and_reason in line for line in log.splitlines()), log


def association(address: str, calling: str, *, open_s: float = 1) -> None:
    """Ask for an association that is admitted, and give up: nobody is behind the balancer."""
    entity = AE(ae_title=calling)
    entity.acse_timeout = entity.connection_timeout = open_s
    entity.add_requested_context(Verification)
    entity.associate(address, 11112, ae_title="HAPACS")


def look_up(address: str, path: str, context: ssl.SSLContext) -> tuple[int, str]:
    """Send a request to the port at which nodes look up callers; return status and body."""
    connection = http.client.HTTPSConnection(address, 7781, context=context, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


@pytest.fixture(scope="module")
def node(authorities: Path) -> ssl.SSLContext:
    """Return the TLS of a node."""
    return client_of(authorities, "pacs")


def client_of(authorities: Path, authority: str) -> ssl.SSLContext:
    """Return the TLS of a client with a certificate of an authority; servers must have one of `pacs`."""
    signer = pki.Authority(authorities, authority, "passphrase-of-the-test")
    subject = pki.Subject("controller", usages=("client",))
    signer.issue(authorities / f"controller-{authority}", subject, timedelta(days=1), timedelta(hours=1))
    return certified(authorities, authority)


def caller(address: str, node: ssl.SSLContext, title: str) -> str:
    """Ask as a node does which address calls with a title."""
    status, found = look_up(address, f"/caller?title={quote(title)}", node)
    assert status == 200
    return found


def test_a_title_of_one_address_is_answered_with_that_address(address: str, node: ssl.SSLContext) -> None:
    assert caller(address, node, "CT 1") == "unknown"
    association(address, "CT 1")
    own = f"{address.rpartition('.')[0]}.1"
    assert caller(address, node, "CT 1") == own
    assert caller(address, node, "CT") == "unknown"


def test_a_title_of_two_addresses_is_answered_with_several(host: Any, address: str, node: ssl.SSLContext) -> None:
    association(address, "MR1")
    assert caller(address, node, "MR1") != "several"
    titles = b"HAPACS".ljust(16) + b"MR1".ljust(16)
    request = (b"\x01\x00" + (68).to_bytes(4, "big") + b"\x00\x01\x00\x00" + titles + bytes(32)).hex()
    script = "import socket,sys; s=socket.create_connection((sys.argv[1],11112),source_address=(sys.argv[1],0)); "
    script += "s.sendall(bytes.fromhex(sys.argv[2])); s.settimeout(1); s.recv(1)"
    host.run("python3 -c %s %s %s", script, address, request)
    assert caller(address, node, "MR1") == "several"


def test_a_refused_caller_is_not_recorded(address: str, node: ssl.SSLContext) -> None:
    for calling in ("NOBODY", "ELSEWHERE"):
        refusal(address, calling, "HAPACS")
        assert caller(address, node, calling) == "unknown"


def test_a_recorded_caller_survives_a_reload(host: Any, address: str, node: ssl.SSLContext) -> None:
    association(address, "US1")
    before = caller(address, node, "US1")
    assert before == f"{address.rpartition('.')[0]}.1"
    host.check_output("systemctl reload haproxy")
    eventually("it is recorded again", lambda: caller(address, node, "US1") == before, 10, 0.2)


@pytest.mark.parametrize("path", ["/", "/callers", "/caller", "/caller?name=CT1", "/metrics"])
def test_nodes_can_ask_for_nothing_else(address: str, node: ssl.SSLContext, path: str) -> None:
    assert look_up(address, path, node)[0] in {400, 404}


@pytest.mark.parametrize("authority", [None, "edge"])
def test_callers_are_answered_to_nodes_only(address: str, authorities: Path, authority: str | None) -> None:
    anonymous = ssl.create_default_context(cafile=str(authorities / "pacs" / "ca.crt"))
    context = client_of(authorities, authority) if authority else anonymous
    with pytest.raises((ssl.SSLError, ConnectionError)):
        look_up(address, "/caller?title=MODALITY", context)


def copies(address: str, path: str, context: ssl.SSLContext, method: str = "POST") -> int:
    """Send a request to the port for copies of another site's images; return the status."""
    connection = http.client.HTTPSConnection(address, 8407, context=context, timeout=30)
    connection.request(method, path, b"{}", {"Content-Type": "application/json"})
    return connection.getresponse().status


def replicator(authorities: Path, authority: str) -> ssl.SSLContext:
    """Return the TLS of a client with a certificate of an authority; the balancer must have one of `replica`."""
    context = client_of(authorities, authority)
    context.load_verify_locations(authorities / "replica" / "ca.crt")
    return context


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        # No node answers.
        ("POST", "/hapacs/replicas", 503),
        ("POST", "/hapacs/ranges", 503),
        ("POST", "/hapacs/site", 503),
        ("POST", "/hapacs/tombstones", 503),
        ("POST", "/hapacs/watchdog", 403),
        ("POST", "/dicom-web/studies", 503),
        ("GET", "/dicom-web/studies", 405),
        ("POST", "/dicom-web/studies/1.2", 404),
        ("POST", "/dicom-web/studies/../../instances", 404),
        ("POST", "/instances", 404),
        ("GET", "/hapacs/health", 404),
    ],
)
def test_another_site_can_store_copies_and_ask_for_them_and_nothing_else(
    address: str, authorities: Path, method: str, path: str, status: int
) -> None:
    assert copies(address, path, replicator(authorities, "replica"), method) == status


@pytest.mark.parametrize(
    ("path", "status"), [("/hapacs/watchdog", 503), ("/hapacs/site", 403), ("/dicom-web/studies", 403), ("/", 404)]
)
def test_an_alertmanager_of_another_site_can_say_that_it_works_and_nothing_else(
    address: str, authorities: Path, tmp_path: Path, path: str, status: int
) -> None:
    name = "alertmanager.watchdog"
    authority = pki.Authority(authorities, "replica", "passphrase-of-the-test")
    authority.issue(tmp_path / "watchdog", pki.Subject(name, [f"DNS:{name}"]), timedelta(days=2), timedelta(days=1))
    context = ssl.create_default_context(cafile=str(authority.certificate_file))
    context.load_cert_chain(tmp_path / "watchdog.crt", tmp_path / "watchdog.key")
    assert copies(address, path, context) == status


@pytest.mark.parametrize("authority", ["pacs", "edge"])
def test_other_certificates_can_store_no_copies(address: str, authorities: Path, authority: str) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        copies(address, "/hapacs/replicas", replicator(authorities, authority))


def test_bytes_that_are_no_dicom_are_dropped(address: str) -> None:
    with socket.create_connection((address, 11112), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert connection.recv(100) == b""


def test_a_slow_client_is_disconnected(address: str) -> None:
    began = time.monotonic()
    with socket.create_connection((address, 11112), timeout=20) as connection:
        connection.sendall(b"\x01\x00")
        assert connection.recv(100) == b""
    assert 3 < time.monotonic() - began < 15


def test_dicom_tls_requires_a_client_certificate(address: str) -> None:
    context = ssl.create_default_context(cafile=str(AUTHORITY))
    with socket.create_connection((address, 2762), timeout=10) as plain:
        connection = context.wrap_socket(plain, server_hostname=address)
        # With TLS 1.3 the caller learns of it when it reads.
        with pytest.raises(ssl.SSLError, match="certificate"):
            connection.recv(1)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/system", 404),
        ("GET", "/patients", 404),
        ("GET", "/hapacs/health", 404),
        ("GET", "/dicom-web/servers", 404),
        ("GET", "/dicom-web/studies/../../system", 404),
        ("GET", "/dicom-web/studies/%2e%2e/%2e%2e/system", 404),
        ("GET", "/dicom-web/studies//1", 404),
        ("GET", "/dicom-web/studies/1\\2", 404),
        ("DELETE", "/dicom-web/studies/1", 405),
        ("POST", "/dicom-web/instances", 405),
        ("GET", f"/dicom-web/studies?StudyInstanceUID={'1' * 61440}", 414),
    ],
)
def test_paths_outside_dicomweb_are_refused(address: str, method: str, path: str, status: int) -> None:
    assert ask(address, path, method=method, headers={"Authorization": f"Basic {LOGIN}"}).status == status


def test_dicomweb_requires_a_login(address: str) -> None:
    assert ask(address, "/dicom-web/studies").status == 401
    assert ask(address, "/dicom-web/studies", headers={"Authorization": "Basic cmVhZGVyOng="}).status == 401
    # Nobody behind it: that it says so shows that the login was taken.
    assert ask(address, "/dicom-web/studies", headers={"Authorization": f"Basic {LOGIN}"}).status == 503


def test_a_known_login_opens_nothing_for_another_one(host: Any, address: str) -> None:
    right, wrong = (f"Basic {one}" for one in (LOGIN, base64.b64encode(b"reader:x").decode()))
    for _ in range(2):
        assert ask(address, "/dicom-web/studies", headers={"Authorization": right}).status == 503
        assert ask(address, "/dicom-web/studies", headers={"Authorization": wrong}).status == 401
    ask_it = "import socket; s = socket.socket(1); s.connect('/run/haproxy/admin.sock'); "
    ask_it += "s.sendall(b'show table known_logins;'); s.shutdown(1); print(s.makefile().read())"
    known = host.check_output("python3 -c %s", ask_it)
    assert known.count("gpt0=1") == 1
    assert "gpt0=0" in known, "the wrong one was not looked at"
    # One of two logins could be the known one, and the other one be used.
    for pair in ((right, wrong), (wrong, right)):
        connection = http.client.HTTPSConnection(
            address, 443, context=ssl.create_default_context(cafile=str(AUTHORITY)), timeout=20
        )
        connection.putrequest("GET", "/dicom-web/studies")
        for one in pair:
            connection.putheader("Authorization", one)
        connection.endheaders()
        assert connection.getresponse().status == 400


def test_a_body_of_unknown_or_excessive_length_is_refused(address: str) -> None:
    login = {"Authorization": f"Basic {LOGIN}"}
    too_much = login | {"Content-Length": str(3 << 30)}
    assert ask(address, "/dicom-web/studies", method="POST", headers=too_much).status == 413
    chunked = login | {"Transfer-Encoding": "chunked", "Accept": "application/dicom+xml"}
    assert ask(address, "/dicom-web/studies", method="POST", headers=chunked).status == 411


def test_other_methods_are_answered_with_those_that_there_are(address: str) -> None:
    login = {"Authorization": f"Basic {LOGIN}", "Content-Length": "0"}
    answer = ask(address, "/dicom-web/studies", method="DELETE", headers=login)
    assert (answer.status, answer.getheader("Allow")) == (405, "GET, HEAD, POST")
    answer = ask(address, "/dicom-web/series", method="POST", headers=login)
    assert (answer.status, answer.getheader("Allow")) == (405, "GET, HEAD")


def test_a_body_that_is_compressed_or_not_multipart_is_refused(address: str) -> None:
    login = {"Authorization": f"Basic {LOGIN}", "Content-Length": "0"}
    parts = login | {"Content-Type": "multipart/related; boundary=x"}
    assert ask(address, "/dicom-web/studies", method="POST", headers=login).status == 415
    packed = parts | {"Content-Encoding": "gzip"}
    assert ask(address, "/dicom-web/studies", method="POST", headers=packed).status == 415
    # Nobody behind it: that it says so shows that the body was taken.
    assert ask(address, "/dicom-web/studies", method="POST", headers=parts).status == 503


def test_every_answer_has_the_security_headers(address: str) -> None:
    answer = ask(address, "/dicom-web/studies")
    assert answer.getheader("Strict-Transport-Security") == "max-age=31536000"
    assert answer.getheader("X-Content-Type-Options") == "nosniff"
    assert answer.getheader("Cache-Control") == "no-store"
    assert answer.getheader("Server") is None


def test_no_query_string_is_logged(host: Any, address: str) -> None:
    ask(address, "/dicom-web/studies?PatientName=Nobody^Knows", headers={"Authorization": f"Basic {LOGIN}"})
    log = host.check_output("journalctl --unit haproxy --no-pager --output cat")
    assert "user=reader GET /dicom-web/studies status=503" in log
    assert "Nobody^Knows" not in log


@pytest.mark.parametrize(
    ("path", "accept", "backend"),
    [
        ("/dicom-web/studies/1.2", AS_STORED, "retrieve_web"),
        ("/dicom-web/studies/1.2/", 'multipart/related;transfer-syntax="*";type=application/dicom', "retrieve_web"),
        ("/dicom-web/studies/1.2/series/3.4", AS_STORED, "retrieve_web"),
        ("/dicom-web/studies/1.2/series/3.4/instances/5.6", AS_STORED, "retrieve_web"),
        ("/dicom-web/studies/1.2/series/3.4/instances/5.6/frames/1", AS_STORED, "retrieve_web"),
        ("/dicom-web/studies/1.2/series/3.4/instances/5.6/frames/1%2C2,3", "*/*", "retrieve_web"),
        ("/dicom-web/studies/1.2/series/3.4/instances/5.6/frames/1/rendered", "image/png", "retrieve_web"),
        ("/dicom-web/studies/1.2/series/3.4/instances/5.6/thumbnail?viewport=9,9", "image/png", "retrieve_web"),
        ("/dicom-web/studies/1.2/series/3.4/rendered", "image/png", "query_web"),
        ("/dicom-web/studies/1.2/series/3.4/instances/5.6/bulk/7fe00010", "*/*", "retrieve_web"),
        ("/dicom-web/studies/1.2/series/3.4/instances/5.6/bulkdata/54000100/1/54001010", "*/*", "retrieve_web"),
        ("/dicom-web/studies/1.2/series/3.4/instances/5.6/bulk/PixelData", "*/*", "query_web"),
        (f"/dicom-web/studies/{'1' * 65}", AS_STORED, "query_web"),
        ("/dicom-web/studies/1.2/metadata", "application/dicom+json", "retrieve_web"),
        ("/dicom-web/studies/1.2/metadata", 'multipart/related; type="application/dicom+xml"', "query_web"),
        ("/dicom-web/studies?PatientName=M%C3%BCller", "*/*", "search_web"),
        ("/dicom-web/studies/1.2/series", "application/dicom+json", "search_web"),
        ("/dicom-web/studies", 'multipart/related; type="application/dicom+xml"', "query_web"),
        ("/dicom-web/studies/1.2", f"image/jpeg, {AS_STORED}", "retrieve_web"),
        ("/dicom-web/studies/1.2?accept=multipart/related", "*/*", "retrieve_web"),
        ("/dicom-web/studies/1.2", 'multipart/related; type="application/dicom"', "retrieve_web"),
        ("/wado?requestType=WADO&studyUID=1.2&seriesUID=1.3&objectUID=1.4", "*/*", "retrieve_web"),
    ],
)
def test_whole_studies_metadata_and_searches_go_to_the_plugin_and_other_requests_to_orthanc(
    host: Any, address: str, path: str, accept: str, backend: str
) -> None:
    begun = host.check_output("date +%s.%N")
    answer = ask(address, path, headers={"Authorization": f"Basic {LOGIN}", "Accept": accept})
    assert answer.status == 503
    log = host.check_output(f"journalctl --unit haproxy --no-pager --output cat --since @{begun}")
    assert f"GET {path.partition('?')[0]} status=503 server={backend}/" in log


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/worklist", 503),
        ("POST", "/worklist", 503),
        ("PUT", f"/worklist/{UUID(int=1)}", 503),
        ("DELETE", f"/worklist/{UUID(int=1)}", 503),
        ("PATCH", "/worklist", 405),
        ("GET", "/worklist/", 404),
        ("GET", "/worklist/1", 404),
        ("PUT", f"/worklist/{UUID(int=1)}/..", 404),
        # The rules of STOW-RS are what they were.
        ("POST", "/dicom-web/studies", 415),
        ("POST", "/dicom-web/studies/1.2/series", 405),
        ("PUT", "/dicom-web/studies", 405),
        ("POST", "/wado", 405),
        ("GET", "/wado/", 404),
    ],
)
def test_entries_of_the_worklist_go_to_the_plugin(host: Any, address: str, method: str, path: str, status: int) -> None:
    begun = host.check_output("date +%s.%N")
    assert ask(address, path, method=method, headers={"Authorization": f"Basic {LOGIN}"}).status == status
    if status == 503:
        log = host.check_output(f"journalctl --unit haproxy --no-pager --output cat --since @{begun}")
        assert f"user=reader {method} {path} status=503 server=search_web/" in log
    assert ask(address, path, method=method).status in {401, 404, 405}


def test_pages_of_others_send_no_entries(address: str) -> None:
    headers = {"Authorization": f"Basic {LOGIN}", "Sec-Fetch-Site": "cross-site"}
    assert ask(address, "/worklist", method="POST", headers=headers).status == 403


def test_statistics_require_a_login(address: str) -> None:
    assert ask(address, "/metrics", port=8404).status == 401
    assert ask(address, "/metrics", port=8404, headers={"Authorization": f"Basic {STATISTICS}"}).status == 200
