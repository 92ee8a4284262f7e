"""The viewer as a browser gets it, through the balancer, and as it is not to be had."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import os
import re
import ssl
from pathlib import Path
from typing import Any

import pytest

LOGIN = base64.b64encode(b"reader:reader-password-of-the-test").decode()
AUTHORITIES = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "pki"
PORT = 8044


def ask(
    address: str, path: str, *, method: str = "GET", login: bool = True, headers: dict[str, str] | None = None
) -> tuple[http.client.HTTPResponse, bytes]:
    """Send a request as it stands; nothing tidies the path."""
    context = ssl.create_default_context(cafile=str(AUTHORITIES / "edge" / "ca.crt"))
    connection = http.client.HTTPSConnection(address, 443, context=context, timeout=30)
    own = {"Authorization": f"Basic {LOGIN}"} if login else {}
    connection.request(method, path, headers=own | (headers or {}))
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def script(address: str) -> str:
    """Return the path of the viewer's main script."""
    found = re.search(rb'src="(/app\.bundle\.[0-9a-f]{16}\.js)"', ask(address, "/")[1])
    assert found is not None
    return found[1].decode()


def test_service_runs_as_its_own_user(host: Any) -> None:
    assert host.service("viewer").is_running
    assert host.service("viewer").is_enabled
    assert {process.user for process in host.process.filter(comm="nginx")} == {"viewer"}
    assert not host.service("nginx").is_running


def test_only_root_can_change_served_files(host: Any) -> None:
    found = host.check_output("find /opt/hapacs/viewer /etc/viewer -not -user root -not -path '/etc/viewer/tls/*'")
    assert found == ""
    assert host.check_output("find /opt/hapacs/viewer /etc/viewer -perm /022 -not -type l") == ""


@pytest.mark.parametrize("path", ["/", "/viewer", "/viewer/dicomweb", "/segmentation", "/notfoundstudy"])
def test_every_path_returns_the_same_page(address: str, path: str) -> None:
    answer, body = ask(address, path)
    assert answer.status == 200
    assert answer.getheader("Content-Type") == "text/html"
    assert b'<div id="root"></div>' in body
    assert re.search(rb"<script(?! src=| defer src=)", body) is None, "an inline script, which no browser would run"


def test_every_request_requires_a_login(address: str) -> None:
    for path in ("/", "/viewer", "/app-config.js", "/boot.js", script(address), "/assets/favicon.ico"):
        answer, body = ask(address, path, login=False)
        assert answer.status == 401, path
        assert b"root" not in body


def test_configuration_uses_its_own_address_only(address: str) -> None:
    body = ask(address, "/app-config.js")[1].decode()
    config = json.loads(re.search(r"window\.config = (\{.*?^\});$", body, re.DOTALL | re.MULTILINE)[1])  # type: ignore[index]
    (source,) = config["dataSources"]
    roots = {source["configuration"][key] for key in ("qidoRoot", "wadoRoot", "wadoUriRoot")}
    assert roots == {"/dicom-web"}
    assert config["defaultDataSourceName"] == source["sourceName"]
    assert "://" not in json.dumps(config)


def test_hashed_files_are_cached_and_others_revalidated(address: str) -> None:
    for path, caching in (
        (script(address), "private, max-age=31536000, immutable"),
        ("/viewer", "no-cache"),
        ("/app-config.js", "no-cache"),
    ):
        answer, _ = ask(address, path)
        assert answer.getheader("Cache-Control") == caching, path
        tag = answer.getheader("ETag")
        assert tag is not None
        assert ask(address, path, headers={"If-None-Match": tag})[0].status == 304, path
    missing, _ = ask(address, "/app.bundle.0000000000000000.js")
    assert (missing.status, missing.getheader("Cache-Control")) == (404, "no-store")


def test_files_are_compressed_as_the_browser_accepts(address: str) -> None:
    path = script(address)
    packed, small = ask(address, path, headers={"Accept-Encoding": "gzip"})
    assert packed.getheader("Content-Encoding") == "gzip"
    plain, large = ask(address, path)
    assert plain.getheader("Content-Encoding") is None
    assert gzip.decompress(small) == large
    assert len(small) < len(large) / 3


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/app.bundle.css", "text/css"),
        ("/ohif-logo.svg", "image/svg+xml"),
        ("/assets/favicon.ico", "image/x-icon"),
        ("/dicom-microscopy-viewer/dicomiccwasm.wasm", "application/wasm"),
    ],
)
def test_files_have_their_content_type(address: str, path: str, kind: str) -> None:
    answer, _ = ask(address, path)
    assert (answer.status, answer.getheader("Content-Type")) == (200, kind)


def test_policy_limits_the_page_to_its_own_address(address: str) -> None:
    answer, _ = ask(address, "/viewer")
    policy = answer.getheader("Content-Security-Policy") or ""
    directives = {words[0]: words[1:] for words in (part.split() for part in policy.split(";"))}
    assert directives["default-src"] == ["'none'"]
    assert directives["script-src"] == ["'self'", "'wasm-unsafe-eval'"]
    assert directives["frame-ancestors"] == ["'none'"]
    allowed = {source for sources in directives.values() for source in sources}
    assert allowed <= {"'none'", "'self'", "'wasm-unsafe-eval'", "'unsafe-inline'", "blob:", "data:"}
    assert answer.getheader("X-Content-Type-Options") == "nosniff"
    assert answer.getheader("Server") is None


def test_only_the_decoding_worker_may_compile_code(host: Any, address: str) -> None:
    workers = host.check_output("cat /opt/hapacs/viewer/viewer-*/workers.conf").removesuffix(" 1;").split(" 1;\n")
    assert all(path.endswith(".js") for path in workers)
    for path in workers:
        assert "'unsafe-eval'" in (ask(address, path)[0].getheader("Content-Security-Policy") or "")
    for path in ("/", "/boot.js", script(address)):
        assert "'unsafe-eval'" not in (ask(address, path)[0].getheader("Content-Security-Policy") or "")


def test_dicomweb_has_its_own_policy(address: str) -> None:
    answer, _ = ask(address, "/dicom-web/studies")
    assert answer.status == 503  # nobody is behind it here
    assert answer.getheader("Content-Security-Policy") == "default-src 'none'; frame-ancestors 'none'"
    assert answer.getheader("Cache-Control") == "no-store"


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_cross_site_requests_are_refused(address: str, site: str) -> None:
    assert ask(address, "/dicom-web/studies", headers={"Sec-Fetch-Site": site})[0].status == 403
    # A link from the hospital's information system opens the viewer.
    assert ask(address, "/viewer?StudyInstanceUIDs=1.2.3", headers={"Sec-Fetch-Site": site})[0].status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/system",
        "/hapacs/health",
        "/LICENSE",
        "/workers.conf",
        "/index.html",
        "/index.html.gz",
        "/app.bundle.css.gz",
        "/nginx.conf",
        "/tls/node.key",
        "/../../../etc/passwd",
        "/assets/../../etc/viewer/tls/node.key",
        "/assets/%2e%2e/app-config.js",
        "/assets//favicon.ico",
        "/viewer/other",
        "/viewer/dicomweb/",
        "/sw.js",
        "/ort/ort.js",
        "/oidc-client.min.js",
    ],
)
def test_other_paths_return_404(address: str, path: str) -> None:
    assert ask(address, path)[0].status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_viewer_accepts_reading_methods_only(address: str, method: str) -> None:
    assert ask(address, "/viewer", method=method, headers={"Content-Length": "0"})[0].status == 405


def answered(connection: http.client.HTTPConnection) -> int:
    """Ask for the page on a connection, and return the status."""
    connection.request("GET", "/")
    return connection.getresponse().status


def test_clients_that_bypass_the_balancer_are_refused(address: str) -> None:
    context = ssl.create_default_context(cafile=str(AUTHORITIES / "pacs" / "ca.crt"))
    with pytest.raises((http.client.RemoteDisconnected, ssl.SSLError, ConnectionResetError)):
        answered(http.client.HTTPSConnection(address, PORT, context=context, timeout=10))
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        answered(http.client.HTTPConnection(address, PORT, timeout=10))


def test_page_requests_are_logged_and_file_requests_are_not(host: Any, address: str) -> None:
    path = script(address)
    ask(address, "/viewer?StudyInstanceUIDs=1.2.3")
    log = host.check_output("journalctl --unit haproxy --no-pager --output cat --since '-20 s'")
    assert "user=reader GET /viewer status=200" in log
    assert "1.2.3" not in log
    assert f"GET {path} status=200" not in log
