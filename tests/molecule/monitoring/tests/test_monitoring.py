"""A node that watches itself: who gets an answer, what is scraped, and that an alert arrives."""

from __future__ import annotations

import http.client
import http.server
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hapacs.pki import Authority, Subject
from hapacs_node.replication.watchdog import Message
from monitoring import scrape

EXPORTERS, PROMETHEUS, ALERTMANAGER, PEER = 9190, 9090, 9093, 9094
RECEIVER, OTHER_SITE = ("10.89.79.1", 8098), ("10.89.79.1", 8097)
TOKEN = "token-of-the-test"
LIMIT_S = 120


@pytest.fixture(scope="module")
def tls(authorities: Path) -> ssl.SSLContext:
    return scrape.context(authorities)


def within(limit_s: float, found: Callable[[], Any]) -> Any:
    """Return what is found, once it is true."""
    deadline = time.monotonic() + limit_s
    while not (last := found()):
        assert time.monotonic() < deadline, f"still {last!r} after {limit_s} s"
        time.sleep(1)
    return last


def ask(address: str, port: int, path: str, tls: ssl.SSLContext) -> Any:
    """Return what an API of Prometheus or Alertmanager answers."""
    connection = http.client.HTTPSConnection(address, port, context=tls, timeout=30)
    connection.request("GET", path)
    return json.load(connection.getresponse())


def answer(connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
    connection.request("GET", "/metrics")
    return connection.getresponse()


@pytest.mark.parametrize("port", [EXPORTERS, PROMETHEUS, ALERTMANAGER, PEER])
@pytest.mark.parametrize("certificate", ["", "controller-pacs"])
def test_strangers_get_no_answer(address: str, authorities: Path, port: int, certificate: str) -> None:
    context = ssl.create_default_context(cafile=str(authorities / "monitoring" / "ca.crt"))
    if certificate:
        context.load_cert_chain(authorities / f"{certificate}.crt", authorities / f"{certificate}.key")
    with pytest.raises((http.client.RemoteDisconnected, ssl.SSLError, ConnectionResetError)):
        answer(http.client.HTTPSConnection(address, port, context=context, timeout=20))


@pytest.mark.parametrize("port", [PROMETHEUS, ALERTMANAGER])
def test_without_tls_go_says_only_that_it_wants_it(address: str, port: int) -> None:
    assert answer(http.client.HTTPConnection(address, port, timeout=20)).status == 400


def test_nothing_else_listens_for_the_network(listening: set[str], address: str) -> None:
    balancer = (443, 2762, 7780, 7781, 8404, 8406, 8407, 11112)
    ours = {f"{address}:{port}" for port in (EXPORTERS, PROMETHEUS, ALERTMANAGER, PEER, *balancer)}
    assert {place for place in listening if not place.endswith(":22")} == ours


@pytest.mark.parametrize(
    "path", ["/", "/metrics", "/patroni", "/prometheus-node-exporter/", "/prometheus/api/v1/alerts"]
)
def test_only_listed_metrics_are_passed_on(address: str, tls: ssl.SSLContext, path: str) -> None:
    connection = http.client.HTTPSConnection(address, EXPORTERS, context=tls, timeout=20)
    connection.request("GET", path)
    assert connection.getresponse().status == 404


def test_metrics_are_only_read(address: str, tls: ssl.SSLContext) -> None:
    connection = http.client.HTTPSConnection(address, EXPORTERS, context=tls, timeout=20)
    connection.request("POST", "/prometheus", body=b"")
    assert connection.getresponse().status == 405


def test_facts_of_the_node_are_among_its_metrics(address: str, tls: ssl.SSLContext) -> None:
    def facts() -> bool:
        return "hapacs_facts_time_seconds" in scrape.fetch(address, "prometheus-node-exporter", tls)

    within(LIMIT_S, facts)
    text = scrape.fetch(address, "prometheus-node-exporter", tls)
    assert 'hapacs_unit_active{unit="prometheus"} 1' in text
    assert "hapacs_node_drained 0" in text
    assert 'hapacs_certificate_end_time_seconds{path="/etc/prometheus/tls/node.crt"} ' in text


def test_prometheus_scrapes_every_target(address: str, tls: ssl.SSLContext) -> None:
    def all_up() -> set[str]:
        found = ask(address, PROMETHEUS, "/api/v1/targets", tls)["data"]["activeTargets"]
        return {it["labels"]["job"] for it in found} if all(it["health"] == "up" for it in found) else set()

    jobs = within(LIMIT_S, all_up)
    assert jobs == {"prometheus-node-exporter", "prometheus", "prometheus-alertmanager"}


def test_no_rule_fails(address: str, tls: ssl.SSLContext) -> None:
    groups = ask(address, PROMETHEUS, "/api/v1/rules", tls)["data"]["groups"]
    assert {group["name"] for group in groups} >= {"pages", "monitoring", "missing", "recording"}
    assert [rule["name"] for group in groups for rule in group["rules"] if rule.get("lastError")] == []


@dataclass(frozen=True)
class Received:
    """A message of Alertmanager.

    Attributes
    ----------
    path, login
        Of the request.
    caller
        Subject of its certificate.
    message
        The body.
    """

    path: str
    login: str | None
    caller: str
    message: Any


@contextmanager
def listening_at(place: tuple[str, int], tls: ssl.SSLContext | None = None) -> Iterator[list[Received]]:
    """Listen, and collect the messages of Alertmanager."""
    found: list[Received] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            shown = self.connection.getpeercert() if isinstance(self.connection, ssl.SSLSocket) else None
            caller = str((shown or {}).get("subject", ""))
            found.append(Received(self.path, self.headers.get("Authorization"), caller, json.loads(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(place, Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_watchdog_arrives_outside_and_at_the_other_site(authorities: Path, tmp_path: Path) -> None:
    authority = Authority(authorities, "replica", "passphrase-of-the-test")
    place = Subject("other", [f"IP:{OTHER_SITE[0]}"])
    authority.issue(tmp_path / "other", place, timedelta(days=2), timedelta(days=1))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.certificate_file))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(tmp_path / "other.crt", tmp_path / "other.key")
    # It is repeated every two minutes.
    with listening_at(RECEIVER) as received, listening_at(OTHER_SITE, context) as heard:
        within(300, lambda: received and heard)
    assert heard[0].path == "/hapacs/watchdog"
    assert heard[0].login is None, "a token of a receiver is none of the other site's business"
    assert "alertmanager.watchdog" in heard[0].caller
    assert Message.model_validate(heard[0].message).alerts
    assert received[0].login == f"Bearer {TOKEN}"
    message = received[0].message
    assert {alert["labels"]["alertname"] for alert in message["alerts"]} == {"Watchdog"}
    assert message["alerts"][0]["labels"]["site"] == "molecule"
    assert "replica" not in message["alerts"][0]["labels"], "two Prometheus would raise it twice"


def test_broken_configuration_does_not_replace_a_good_one(host: Any, apply: Callable[..., Any], tmp_path: Path) -> None:
    before = host.file("/etc/prometheus/hapacs.yml").content_string
    (tmp_path / "broken.yml").write_text("groups: [{name: x, rules: [{alert: A, expr: 'sum('}]}]\n", encoding="utf-8")
    done = apply(host, "--tags=prometheus_configure", prometheus_rules_directory=str(tmp_path))
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "sum(" in said or "parse" in said
    assert host.file("/etc/prometheus/hapacs.yml").content_string == before
    assert not host.file("/etc/prometheus/hapacs-rules/broken.yml").exists
