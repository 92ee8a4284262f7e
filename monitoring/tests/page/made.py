"""A made site behind a small HTTP server, which answers the page as the balancer, Prometheus and Alertmanager do."""

from __future__ import annotations

import http.server
import json
import math
import mimetypes
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from hapacs import status_page
from hapacs.deployment import PROJECT

QUERIES: dict[str, dict[str, str]] = json.loads((status_page.PAGE / "queries.json").read_text(encoding="utf-8"))
NAMES = {expression: name for group in QUERIES.values() for name, expression in group.items()}
ROLE = yaml.safe_load((PROJECT / "ansible" / "roles" / "haproxy" / "vars" / "main.yml").read_text(encoding="utf-8"))
UNITS = (
    "chrony", "etcd", "patroni", "postgres-fence", "seaweedfs-master", "seaweedfs-volume", "seaweedfs-filer",
    "seaweedfs-s3", "das", "orthanc-tls", "orthanc-store", "orthanc-query", "hapacs-routing", "hapacs-commitment",
    "hapacs-scrub.timer", "hapacs-reconcile.timer", "hapacs-manifest.timer", "hapacs-probe", "viewer", "haproxy",
    "keepalived", "prometheus", "prometheus-alertmanager",
)  # fmt: skip
OBJECTIVES = ("store", "find", "retrieve", "store-time", "find-time", "retrieve-time", "archive", "delivery")
DAY_S = 86_400
GB = 1_000_000_000
Samples = list[tuple[dict[str, str], float]]


@dataclass
class Site:
    """What the made site answers; a test changes it.

    Attributes
    ----------
    off
        Nodes without power.
    stopped
        Services that do not run, as (node, unit).
    age_s
        Age of Prometheus' newest numbers.
    answers
        Whether any Prometheus answers; and whether any Alertmanager does.
    alone
        Whether there is no other site, and no backup.
    fenced, watchdog_age_s, lacking
        Whether the other site leads; the age of its last Watchdog; how many images it lacks.
    backup_age_s
        Age of the newest backup of the other site's database.
    drilled, drills_failed
        Days since the last run of each drill, and drills that broke a promise.
    failing
        Names of expressions that are answered with an error.
    """

    nodes: tuple[str, ...] = ("pacs1", "pacs2", "pacs3")
    off: set[str] = field(default_factory=set)
    stopped: set[tuple[str, str]] = field(default_factory=set)
    drained: set[str] = field(default_factory=set)
    prometheus_off: set[str] = field(default_factory=set)
    age_s: float = 12
    answers: bool = True
    alertmanager_answers: bool = True
    alerts: list[dict[str, Any]] = field(default_factory=list)
    watchdog: bool = True
    failing: set[str] = field(default_factory=set)
    drilled: dict[str, int] = field(default_factory=lambda: {"storing-killed": 3, "database-switchover": 12})
    drills_failed: set[str] = field(default_factory=set)
    alone: bool = False
    fenced: bool = False
    watchdog_age_s: float = 95
    lacking: int = 0
    backup_age_s: float = 9 * 3600
    time_s: float = field(default_factory=time.time)
    asked: list[str] = field(default_factory=list)

    @property
    def up(self) -> list[str]:
        """The nodes with power."""
        return [node for node in self.nodes if node not in self.off]

    def raise_alert(
        self, name: str, severity: str, summary: str, runbook: str, *, silenced: bool = False, **labels: str
    ) -> None:
        """Add an alert, as Alertmanager gives it."""
        state, silences = ("suppressed", ["x"]) if silenced else ("active", [])
        self.alerts.append(
            {
                "labels": {"alertname": name, "severity": severity, "site": "made", **labels},
                "annotations": {"summary": summary, "runbook": f"docs/runbooks/{runbook}.md"},
                "startsAt": "2026-11-29T18:03:00.000Z",
                "status": {"state": state, "silencedBy": silences, "inhibitedBy": []},
            }
        )

    def _is(self, index: int) -> Samples:
        leader = self.up[min(index, len(self.up) - 1)]
        return [({"node": node}, float(node == leader)) for node in self.up]

    def instant(self, name: str) -> Samples:
        """Return the samples of an expression of the page."""
        checks = [(node, check) for node in self.up for check in ("hapacs-scrub", "hapacs-reconcile")]
        answers: dict[str, Samples] = {
            "clock": [({}, self.time_s)],
            "age": [({}, self.age_s)],
            "prometheus": [({"node": one}, float(one not in self.off | self.prometheus_off)) for one in self.nodes[:2]],
            "alertmanager": [({"node": one}, float(one not in self.off)) for one in self.nodes[:2]],
            "node": [({"node": one}, float(one not in self.off)) for one in self.nodes],
            "facts": [({"node": one}, 14) for one in self.up],
            "drained": [({"node": one}, float(one in self.drained)) for one in self.up],
            "unit": [
                ({"node": one, "unit": unit}, float((one, unit) not in self.stopped))
                for one in self.up
                for unit in UNITS
            ],
            "address": self._is(0),
            "database": self._is(0),
            "archive": self._is(1),
            "etcd": self._is(2),
            "stores": [({"server": self.up[0]}, 1)],
            "usable": [
                ({"backend": backend, "server": one}, float(one not in self.off))
                for backend in ("store_dicom", "query_dicom")
                for one in self.nodes
            ],
            "bad": [({"objective": one}, 0.02 if one == "find-time" else 0) for one in OBJECTIVES],
            "left": [({"objective": one}, {"find-time": 0.18, "store": 0.985}.get(one, 1)) for one in OBJECTIVES],
            "oldest": [({"destination": "RADIOLOGY"}, 42), ({"destination": "TEACHING"}, 0)],
            "waiting": [
                ({"destination": "RADIOLOGY", "state": "waiting"}, 7),
                ({"destination": "TEACHING", "state": "waiting"}, 0),
            ],
            "lag": [({"node": one}, 0.4) for one in self.up],
            **self._elsewhere(),
            "free": self._places(0),
            "size": self._places(1),
            "slope": self._places(2),
            "checked": [({"node": node, "check": check}, self.time_s - 5 * 3600) for node, check in checks],
            "on": [({"node": node, "check": check}, 1) for node, check in checks],
            "open": [],
            "failed": [],
            "drilled": [({"drill": drill}, self.time_s - 86_400 * days) for drill, days in self.drilled.items()],
            "passed": [({"drill": drill}, float(drill not in self.drills_failed)) for drill in self.drilled],
            "outage": [({"drill": drill}, 3.5) for drill in self.drilled],
            "deadline": [({"drill": drill}, 10) for drill in self.drilled],
        }
        return answers[name]

    def _elsewhere(self) -> dict[str, Samples]:
        if self.alone:
            names = ("standing", "heard", "watched", "behind", "lacking", "compared", "differing", "saved", "rehearsed")
            return {name: [] for name in (*names, "unsaved")}
        standing = [("leads", not self.fenced), ("follows", False), ("fenced", self.fenced)]
        return {
            "standing": [({"state": state}, float(on)) for state, on in standing],
            "heard": [({}, 4)],
            "watched": [({}, self.watchdog_age_s)],
            "behind": [({}, 1200 if self.lacking else 0)],
            "lacking": [({}, self.lacking)],
            "compared": [({}, 9 * 3600)],
            "differing": [({}, 0)],
            "saved": [({"stanza": "made-dr"}, self.backup_age_s)],
            "rehearsed": [({"stanza": "made-dr"}, 2 * DAY_S)],
            "unsaved": [({"stanza": "made-primary"}, 0)],
        }

    def _places(self, which: int) -> Samples:
        """Return free bytes, size, or bytes a second by which free space grows."""
        places = {
            "archive": (420 * GB, 1000 * GB, -0.2 * GB / DAY_S),
            "/srv/das": (300 * GB, 900 * GB, -9 * GB / DAY_S),
            "/": (60 * GB, 80 * GB, 0.01 * GB / DAY_S),
        }
        return [
            ({"node": node, "place": place}, numbers[which]) for node in self.up for place, numbers in places.items()
        ]

    def series(
        self, name: str, start: int, end: int, step: int
    ) -> list[tuple[dict[str, str], list[tuple[int, float]]]]:
        """Return the series of an expression of the page."""
        label, names, height = {
            "bytes": ("direction", ("read", "stored"), 30_000_000),
            "steps": ("step", ("find", "retrieve", "store"), 0.4),
            "busy": ("node", self.nodes, 0.5),
            "tasks": ("destination", ("RADIOLOGY",), 40),
        }[name]
        times = range(start, end + 1, step)
        return [
            ({label: one}, [(at, height * (1 + math.sin(at / 2000 + number)) / (2 + number)) for at in times])
            for number, one in enumerate(names)
        ]


class _Handler(http.server.BaseHTTPRequestHandler):
    site: Site
    files: dict[str, bytes]

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        given = {name: values[0] for name, values in parse_qs(address.query).items()}
        self.site.asked.append(address.path)
        if address.path.startswith("/api/"):
            return self._answer(address.path, given)
        name = address.path.removeprefix("/") or "index.html"
        if name not in self.files:
            return self._send(404, b"", "text/plain")
        kind = {"js": "text/javascript"}.get(name.rpartition(".")[2]) or mimetypes.guess_type(name)[0] or "text/plain"
        return self._send(200, self.files[name], kind)

    def _answer(self, path: str, given: dict[str, str]) -> None:
        if path == "/api/v2/alerts":
            if not self.site.alertmanager_answers:
                return self._send(503, b"", "text/plain")
            return self._send(200, json.dumps(self._alerts()).encode(), "application/json")
        if not self.site.answers or NAMES.get(given.get("query", "")) in self.site.failing:
            return self._send(503, b"", "text/plain")
        body = {"status": "success", "data": self._data(path, given)}
        return self._send(200, json.dumps(body).encode(), "application/json")

    def _data(self, path: str, given: dict[str, str]) -> Any:
        """Return what Prometheus answers (its HTTP API, "Expression queries" and "Alerts")."""
        if path == "/api/v1/alerts":
            kept = ("labels", "annotations")
            return {
                "alerts": [
                    {name: it[name] for name in kept} | {"activeAt": it["startsAt"], "state": "firing"}
                    for it in self._alerts()
                ]
            }
        name = NAMES[given["query"]]
        if path == "/api/v1/query":
            result = [
                {"metric": labels, "value": [self.site.time_s, str(value)]} for labels, value in self.site.instant(name)
            ]
            return {"resultType": "vector", "result": result}
        series = self.site.series(name, *(int(given[one]) for one in ("start", "end", "step")))
        result = [{"metric": labels, "values": [[at, str(value)] for at, value in points]} for labels, points in series]
        return {"resultType": "matrix", "result": result}

    def _alerts(self) -> list[dict[str, Any]]:
        watchdog = Site()
        if self.site.watchdog:
            watchdog.raise_alert("Watchdog", "watchdog", "Always", "watchdog")
        return [*watchdog.alerts, *self.site.alerts]

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Security-Policy", ROLE["__haproxy_status_policy"])
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served(site: Site, files: dict[str, bytes]) -> Iterator[str]:
    """Serve the page and the answers of a made site; give the address."""
    handler = type("Handler", (_Handler,), {"site": site, "files": files})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
