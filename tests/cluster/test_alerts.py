"""A fault on a lab comes as a message to a real receiver on this machine: the expected one, no other, and its end."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import yaml

from hapacs.load.waiting import eventually
from hapacs.site.access import Node, NodeError, Site
from tests.cluster.conftest import Lab

pytestmark = [pytest.mark.long, pytest.mark.timeout(20 * 60)]
CONFIGURATION, ALERTMANAGER = "/etc/alertmanager/hapacs.yml", "prometheus-alertmanager"
# The aim is two minutes. How long it took is printed; a busy machine does not fail the test.
MESSAGE_S, END_S = 300, 600
type Named = tuple[str, str]
"""An alert and its node."""


@dataclass
class Receiver:
    """Takes what Alertmanager sends: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config."""

    messages: list[tuple[float, dict[str, Any]]] = field(default_factory=list)

    def named(self, status: str, since: float) -> dict[Named, float]:
        """Return the alerts that came with a status, and when each came first."""
        found: dict[Named, float] = {}
        for at, message in self.messages:
            for alert in message["alerts"]:
                if at >= since and alert["status"] == status:
                    labels = alert["labels"]
                    found.setdefault((labels["alertname"], labels.get("node", "")), at)
        return found


@contextmanager
def listening(receiver: Receiver) -> Generator[int]:
    """Serve the receiver, and return its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.messages.append((time.time(), json.loads(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_words: object) -> None:
            pass

    with ThreadingHTTPServer(("0.0.0.0", 0), Handler) as server:  # noqa: S104 - the nodes have another address
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def configure(site: Site, node: Node, text: str) -> None:
    """Replace the configuration of an Alertmanager, and let it read it."""
    site.run(node, ("sudo", "tee", CONFIGURATION), text, 30)
    site.run(node, ("sudo", "systemctl", "reload", ALERTMANAGER), "", 30)


@pytest.fixture(scope="module")
def receiver(lab: Lab) -> Generator[Receiver]:
    """Send what is a page or a ticket here too, for the time of the tests."""
    site, found = lab.site, Receiver()
    pair = site.members("monitoring")[:2]
    before = {node.name: site.run(node, ("sudo", "cat", CONFIGURATION), "", 30) for node in pair}
    with listening(found) as port:
        try:
            for node in pair:
                configuration = yaml.safe_load(before[node.name])
                for one in configuration["receivers"]:
                    if one["name"] in {"page", "ticket"}:
                        url = f"http://{site.destination[1]}:{port}/"
                        one.setdefault("webhook_configs", []).append({"url": url, "send_resolved": True})
                configure(site, node, yaml.safe_dump(configuration))
            yield found
        finally:
            for node in pair:
                configure(site, node, before[node.name])


@dataclass(frozen=True)
class Fault:
    """One fault, and the alerts that have to come.

    Attributes
    ----------
    unit
        What is stopped; empty: the node loses its power.
    where
        Finds the node.
    """

    name: str
    unit: str
    where: Callable[[Lab], str]
    alerts: frozenset[str]


def _spare(lab: Lab) -> str:
    running = lab.running()
    busy = {*running.writers, *running.database_leaders, *running.holders}
    return next(node.name for node in reversed(lab.site.members("pacs")) if node.name not in busy)


INACTIVE = frozenset({"UnitInactive"})
FAULTS = (
    Fault("storing Orthanc", "orthanc-store", lambda lab: lab.running().writers[0], INACTIVE),
    Fault("database leader", "patroni", lambda lab: lab.running().database_leaders[0], INACTIVE),
    Fault("S3 gateway", "seaweedfs-s3", lambda lab: lab.running().writers[0], INACTIVE),
    Fault("a Prometheus", "prometheus", lambda lab: lab.site.members("monitoring")[0].name, INACTIVE),
    Fault("an Alertmanager", ALERTMANAGER, lambda lab: lab.site.members("monitoring")[0].name, INACTIVE),
    Fault("a node", "", _spare, frozenset({"NodeDown"})),
)


@contextmanager
def broken(lab: Lab, fault: Fault, node: str) -> Generator[float]:
    """Do it, and undo it."""
    systemctl = ("sudo", "systemctl")
    at = time.time()
    try:
        if fault.unit:
            lab.site.run(lab.site.nodes[node], (*systemctl, "stop", fault.unit), "", 60)
        else:
            lab.switch_off(node)
        yield at
    finally:
        if fault.unit:
            lab.site.run(lab.site.nodes[node], (*systemctl, "start", fault.unit), "", 60)
        else:
            lab.switch_on(node)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "-"))
def test_a_fault_is_the_expected_message_and_no_other(lab: Lab, receiver: Receiver, fault: Fault) -> None:
    node = fault.where(lab)
    wanted = {(alert, node) for alert in fault.alerts}
    with broken(lab, fault, node) as at:
        eventually("the message", lambda: wanted <= set(receiver.named("firing", at)), MESSAGE_S)
        said = receiver.named("firing", at)
        waited = max(said[alert] for alert in wanted) - at
    healed = time.time()
    eventually("the message that it is over", lambda: wanted <= set(receiver.named("resolved", healed)), END_S)
    ended = receiver.named("resolved", healed)
    over = max(ended[alert] for alert in wanted) - healed
    print(f"{fault.name}: message after {waited:.0f} s, its end {over:.0f} s after the healing")  # noqa: T201
    assert set(receiver.named("firing", at)) == wanted


def test_nothing_is_left(lab: Lab) -> None:
    """The site is whole after the faults."""

    def whole() -> bool:
        with suppress(NodeError):
            return lab.hapacs("status", lab.deployment.name).returncode == 0
        return False

    eventually("the site is whole", whole, 300, 5)
