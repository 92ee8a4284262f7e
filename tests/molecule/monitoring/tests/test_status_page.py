"""The status page as the balancer serves it: with a login, its files, what only reads, and with one Prometheus off."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from hapacs import status_page
from hapacs.load.waiting import eventually

PORT = 8406
LOGIN = "Basic " + base64.b64encode(b"statistics:statistics-password-of-the-test").decode()
READ = [
    "/api/v1/query?query=up",
    "/api/v1/query_range?query=up&start=1&end=2&step=1",
    "/api/v1/alerts",
    "/api/v1/rules",
    "/api/v2/alerts",
]
LIMIT_S = 60


@pytest.fixture
def page(address: str, authorities: Path) -> Any:
    """Return a function that sends a request as it stands; it returns the answer and its body."""
    context = ssl.create_default_context(cafile=str(authorities / "edge" / "ca.crt"))

    def ask(
        path: str, *, method: str = "GET", login: str | None = LOGIN, body: bytes | None = None, **headers: str
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPSConnection(address, PORT, context=context, timeout=30)
        own = ({"Authorization": login} if login else {}) | {name.replace("_", "-"): it for name, it in headers.items()}
        connection.request(method, path, body=body, headers=own)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer, content

    return ask


def test_every_file_of_the_page_is_served(page: Any) -> None:
    for name, content in status_page.served().items():
        answer, body = page(f"/{name}")
        assert (answer.status, answer.getheader("Content-Encoding")) == (200, "gzip"), name
        assert gzip.decompress(body) == content, name
    assert page("/")[1] == page("/index.html")[1]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/page.js", "text/javascript"),
        ("/page.css", "text/css"),
        ("/icon.svg", "image/svg+xml"),
        ("/queries.json", "application/json"),
    ],
)
def test_files_have_their_type_and_the_policy(page: Any, path: str, kind: str) -> None:
    answer, _ = page(path)
    assert answer.getheader("Content-Type") == kind
    policy = {words[0]: words[1:] for words in map(str.split, answer.getheader("Content-Security-Policy").split(";"))}
    assert policy["default-src"] == ["'none'"]
    assert {source for sources in policy.values() for source in sources} == {"'none'", "'self'"}
    assert answer.getheader("X-Content-Type-Options") == "nosniff"


def test_an_unchanged_file_is_not_sent_again(page: Any) -> None:
    answer, _ = page("/uplot.js")
    assert answer.getheader("Cache-Control") == "no-cache"
    again, body = page("/uplot.js", If_None_Match=answer.getheader("ETag"))
    assert (again.status, body) == (304, b"")


@pytest.mark.parametrize("path", ["/", "/page.js", "/runbooks.html", "/nothing", *READ])
@pytest.mark.parametrize("login", [None, "Basic " + base64.b64encode(b"statistics:wrong").decode()])
def test_nothing_is_said_without_the_login(page: Any, path: str, login: str | None) -> None:
    answer, body = page(path, login=login)
    assert answer.status == 401
    assert b"status" not in body.lower() or len(body) < 200


@pytest.mark.parametrize("path", READ)
def test_numbers_and_alerts_are_read_while_the_first_one_is_off(page: Any, path: str) -> None:
    def answered() -> bool:
        return bool(page(path)[0].status == 200)

    eventually(f"{path} is answered", answered, LIMIT_S)
    answer, body = page(path)
    json.loads(body)
    assert answer.getheader("Cache-Control") == "no-store"
    assert answer.getheader("Access-Control-Allow-Origin") is None


def test_each_expression_of_the_page_is_understood(page: Any) -> None:
    for group in json.loads(gzip.decompress(page("/queries.json")[1])).values():
        for name, expression in group.items():
            answer, body = page(f"/api/v1/query?query={quote(expression)}")
            assert (answer.status, json.loads(body)["status"]) == (200, "success"), name


@pytest.mark.parametrize("path", READ)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS"])
def test_only_get_is_taken(page: Any, path: str, method: str) -> None:
    assert page(path, method=method)[0].status == 405


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/admin/tsdb/delete_series",
        "/api/v1/status/config",
        "/api/v1/targets",
        "/api/v1/query/",
        "/api/v1/query/../targets",
        "/api/v1/%71uery",
        "/api/v2/silences",
        "/api/v2/silence/x",
        "/api/v2/status",
        "/-/reload",
        "/-/quit",
        "/metrics",
        "/graph",
        "/federate?match[]=up",
        "/index.html.gz",
        "/../etc/passwd",
        "//",
    ],
)
def test_other_paths_are_not_there(page: Any, path: str) -> None:
    assert page(path)[0].status == 404


def test_a_body_and_a_long_question_are_refused(page: Any) -> None:
    assert page(READ[0], body=b"query=up")[0].status == 400
    assert page(f"/api/v1/query?query={'a' * 5000}")[0].status == 414


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_pages_of_other_origins_get_no_numbers(page: Any, site: str) -> None:
    assert page(READ[0], Sec_Fetch_Site=site)[0].status == 403
    # A link may open the page.
    assert page("/", Sec_Fetch_Site=site)[0].status == 200


def test_nothing_in_the_clear(address: str) -> None:
    connection = http.client.HTTPConnection(address, PORT, timeout=20)
    connection.request("GET", "/")
    with pytest.raises((http.client.BadStatusLine, ConnectionResetError)):
        connection.getresponse()


def test_with_no_prometheus_it_is_said_and_the_page_stays(host: Any, page: Any) -> None:
    host.check_output("systemctl stop prometheus")
    try:
        assert page(READ[0])[0].status == 503
        assert page("/")[0].status == 200
    finally:
        host.check_output("systemctl start prometheus")
    eventually("numbers are back", lambda: page(READ[0])[0].status == 200, LIMIT_S)
