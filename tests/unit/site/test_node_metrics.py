"""Facts of a node as metrics: their form, what is left out, and that one part does not end the others."""

from __future__ import annotations

import http.server
import json
import os
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hapacs.drills import note_on_node
from hapacs.services import nodes
from hapacs.site import node_facts, node_metrics

MEMBERS = {group: ["n1", "n2"] for group in ("etcd", "postgres", "cas", "pacs", "load_balancer", "monitoring")}


@pytest.fixture
def question() -> dict[str, Any]:
    return nodes.question("n1", "192.0.2.1", MEMBERS, "dedicated") | {"virtual_address": "192.0.2.9"}


def test_samples_of_a_metric_stand_together_behind_their_description() -> None:
    text = node_metrics.rendered(
        [
            ("hapacs_unit_active", {"unit": "a"}, True),
            ("hapacs_unit_restarts_total", {"unit": "a"}, 2),
            ("hapacs_unit_active", {"unit": 'b"\\\n'}, False),
            ("hapacs_units_failed", {}, 0),
        ]
    )
    assert text.splitlines() == [
        "# HELP hapacs_unit_active Whether a unit that has to be active is",
        "# TYPE hapacs_unit_active gauge",
        'hapacs_unit_active{unit="a"} 1.0',
        r'hapacs_unit_active{unit="b\"\\\n"} 0.0',
        "# HELP hapacs_unit_restarts_total How often systemd restarted a unit by itself",
        "# TYPE hapacs_unit_restarts_total counter",
        'hapacs_unit_restarts_total{unit="a"} 2.0',
        "# HELP hapacs_units_failed Failed units, also those that hapacs does not manage",
        "# TYPE hapacs_units_failed gauge",
        "hapacs_units_failed 0.0",
    ]


def test_metrics_of_two_services_become_one_family_with_the_name_of_each() -> None:
    one = '# HELP m_total About m\n# TYPE m_total counter\nm_total{step="a"} 1.0\n'
    one += "# HELP g About g\n# TYPE g gauge\ng 2.0\n"
    two = '# HELP m_total About m\n# TYPE m_total counter\nm_total{step="a"} 3.0\n'
    assert node_metrics.labelled({"store": one, "query": two}).splitlines() == [
        "# HELP m_total About m",
        "# TYPE m_total counter",
        'm_total{step="a",service="store"} 1.0',
        'm_total{step="a",service="query"} 3.0',
        "# HELP g About g",
        "# TYPE g gauge",
        'g{service="store"} 2.0',
    ]


def test_histogram_stays_one_family() -> None:
    text = '# HELP h About h\n# TYPE h histogram\nh_bucket{le="1.0"} 1.0\nh_sum 0.5\nh_count 1.0\n'
    assert node_metrics.labelled({"s": text}).splitlines() == [
        "# HELP h About h",
        "# TYPE h histogram",
        'h_bucket{le="1.0",service="s"} 1.0',
        'h_sum{service="s"} 0.5',
        'h_count{service="s"} 1.0',
    ]


def test_a_part_that_fails_does_not_end_the_others(
    question: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(_question: Any) -> Iterator[node_metrics.Sample]:
        yield "hapacs_das_mounted", {}, 1
        raise OSError("no such disk")

    monkeypatch.setattr(node_metrics, "PARTS", (fails, node_metrics.drained))
    names = [name for name, _, _ in node_metrics.collect(question)]
    assert names[-3:] == ["hapacs_node_drained", "hapacs_facts_duration_seconds", "hapacs_facts_time_seconds"]
    assert "part=fails error=OSError: no such disk" in capsys.readouterr().err


def test_view_of_balancer_and_database_is_that_of_the_status(
    question: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = {"n1": {"status": "UP", "paused": False}, "n2": {"status": "UP", "paused": True}}
    monkeypatch.setattr(node_facts, "balancer", lambda: {"writers": ["n1"], "servers": {"store_dicom": servers}})
    assert list(node_metrics.balancer(question)) == [
        ("hapacs_balancer_server_up", {"backend": "store_dicom", "server": "n1"}, True),
        ("hapacs_balancer_server_up", {"backend": "store_dicom", "server": "n2"}, False),
        ("hapacs_balancer_writer", {"server": "n1"}, 1),
    ]
    cluster = {"members": [{"name": "n1", "role": "leader", "state": "running"}, {"name": "n2", "state": "stopped"}]}
    monkeypatch.setattr(node_facts, "patroni", lambda *_, **__: cluster)
    assert list(node_metrics.database(question)) == [
        ("hapacs_database_member_running", {"member": "n1"}, True),
        ("hapacs_database_leader", {"leader": "n1"}, 1),
        ("hapacs_database_member_running", {"member": "n2"}, False),
    ]


@pytest.mark.parametrize("part", [node_metrics.balancer, node_metrics.database])
def test_what_does_not_answer_has_no_metric(
    question: dict[str, Any], monkeypatch: pytest.MonkeyPatch, part: Any
) -> None:
    monkeypatch.setattr(node_facts, "balancer", lambda: {"error": "no socket"})
    monkeypatch.setattr(node_facts, "patroni", lambda *_, **__: {"error": "refused"})
    assert list(part(question)) == []


def test_errors_of_disks_are_read_as_btrfs_prints_them(
    question: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = "[/dev/loop0].write_io_errs    0\n[/dev/loop1].corruption_errs  7\n"
    monkeypatch.setattr(node_facts, "mounted", lambda _path: "btrfs")
    monkeypatch.setattr(node_facts, "run", lambda *_: (0, printed, ""))
    assert list(node_metrics.das(question)) == [
        ("hapacs_das_mounted", {}, True),
        ("hapacs_das_errors_total", {"device": "/dev/loop0", "kind": "write_io_errs"}, 0),
        ("hapacs_das_errors_total", {"device": "/dev/loop1", "kind": "corruption_errs"}, 7),
    ]


def test_check_that_never_ran_counts_from_when_it_was_set_up(
    question: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {
        "scrub": {"on": True, "since": 100.0, "ended_at": None},
        "reconcile": {"on": False, "since": 100.0, "ended_at": "1970-01-01T00:05:00+00:00"},
    }
    monkeypatch.setattr(node_facts, "checks", lambda: found)
    assert [value for _, _, value in node_metrics.checks(question)] == [True, 100, False, 300]


def test_certificate_that_is_not_readable_ends_at_once(question: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "node.crt").write_text("nothing", encoding="utf-8")
    (sample,) = node_metrics.certificates(question | {"certificates": [str(tmp_path)]})
    assert sample == ("hapacs_certificate_end_time_seconds", {"path": f"{tmp_path}/node.crt"}, 0)


def test_every_sample_has_a_description() -> None:
    source = Path(node_metrics.__file__).read_text(encoding="utf-8")
    yielded = set(re.findall(r'(?:yield|append\(\()\s*"(hapacs_\w+)"', source))
    assert yielded == set(node_metrics.ABOUT)


def test_both_files_are_replaced_as_a_whole(
    question: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"# HELP g About g\n# TYPE g gauge\ng 2.0\n")

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    port = server.server_address[1]
    # The second one does not answer.
    asked = {"orthanc-store": {"port": port, "path": "/"}, "orthanc-query": {"port": 1, "path": "/"}}
    (tmp_path / "question.json").write_text(json.dumps(question | {"metrics": asked}), encoding="utf-8")
    monkeypatch.setattr(node_metrics, "PARTS", (node_metrics.drained,))
    monkeypatch.setattr(sys, "argv", ["", str(tmp_path / "question.json"), str(tmp_path)])
    node_metrics.main()
    server.shutdown()
    thread.join()
    server.server_close()
    assert {path.name for path in tmp_path.iterdir()} == {"question.json", "services.prom", "facts.prom"}
    assert 'g{service="orthanc-store"} 2.0' in (tmp_path / "services.prom").read_text(encoding="utf-8")
    assert "hapacs_node_drained 0.0" in (tmp_path / "facts.prom").read_text(encoding="utf-8")


def test_last_runs_of_drills_are_metrics_of_a_monitoring_node(
    question: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "hapacs-facts.service").write_text("", encoding="utf-8")
    os.utime(tmp_path / "hapacs-facts.service", (50, 50))
    monkeypatch.setattr(node_facts, "UNITS", tmp_path)
    monkeypatch.setattr(node_facts, "DRILLS", tmp_path / "drills.json")
    watched = question | {"groups": ["monitoring"]}
    assert list(node_metrics.drills(watched)) == [("hapacs_drills_since_time_seconds", {}, 50)]
    note_on_node.keep(tmp_path / "drills.json", {"x": {"ended": 7.0, "ok": False, "outage_s": 11.5, "deadline_s": 10}})
    assert list(node_metrics.drills(watched))[1:] == [
        ("hapacs_drill_ended_time_seconds", {"drill": "x"}, 7),
        ("hapacs_drill_ok", {"drill": "x"}, False),
        ("hapacs_drill_outage_seconds", {"drill": "x"}, 11.5),
        ("hapacs_drill_deadline_seconds", {"drill": "x"}, 10),
    ]
    assert list(node_metrics.drills(question | {"groups": ["pacs"]})) == []
