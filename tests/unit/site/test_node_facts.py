"""The script that collects a node's facts, and the class that reads its document."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import sys
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from hapacs.pki import Authority
from hapacs.site import node_facts
from hapacs.site.facts import Etcd, NodeFacts
from tests.unit.node.certificates import certificate
from tests.unit.site.documents import document

QUESTION = {
    "timeout_s": 5, "units": [], "address": "127.0.0.1", "groups": [], "certificates": [], "dicom_ports": {},
    "health": {"orthanc-store": {"command": ["/nonexistent"]}},
}  # fmt: skip


def test_document_of_the_script_is_read_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["-", json.dumps(QUESTION)])
    limits: list[float] = []
    monkeypatch.setattr(socket, "setdefaulttimeout", limits.append)
    monkeypatch.setattr(node_facts, "run", lambda *_, **_limit: (1, "", "there is no such program"))
    node_facts.main()
    printed = json.loads(capsys.readouterr().out)
    assert printed.keys() == document("a").keys(), "the documents of the other tests look like this one"
    assert not NodeFacts.parse(printed).firewall
    assert limits == [5]


def test_units_are_read_from_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    said = (
        "NRestarts=3\nActiveState=active\nSubState=running\n\n"
        "NRestarts=\nActiveState=failed\nSubState=failed\n\nActiveState=inactive\nSubState=dead\n"
    )
    monkeypatch.setattr(node_facts, "run", lambda *_: (0, said, ""))
    assert node_facts.units(["etcd", "patroni", "gone"]) == {
        "etcd": {"active": True, "state": "active (running)", "restarts": 3},
        "patroni": {"active": False, "state": "failed (failed)", "restarts": 0},
        "gone": {"active": False, "state": "inactive (dead)", "restarts": 0},
    }


def test_units_are_unknown_when_systemd_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_facts, "run", lambda *_: (1, "", "systemctl took more than 2 s"))
    unknown = {"active": False, "state": "unknown (-)", "restarts": 0}
    assert node_facts.units(["etcd", "patroni"]) == {"etcd": unknown, "patroni": unknown}


@pytest.mark.parametrize("year", [2027, 2049, 2050, 2140])
def test_first_certificate_to_end_is_found_among_chains_and_files_of_other_kinds(tmp_path: Path, year: int) -> None:
    key = ec.generate_private_key(ec.SECP256R1())

    def pem(ends: datetime, names: int = 1) -> str:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a")])
        builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        # Longer than 127 and 255 bytes, so that each form of a length occurs.
        alternatives = x509.SubjectAlternativeName([x509.DNSName(f"node{number}.example") for number in range(names)])
        builder = builder.not_valid_before(datetime(2026, 1, 1, tzinfo=UTC)).not_valid_after(ends)
        signed = builder.add_extension(alternatives, critical=False).sign(key, hashes.SHA256())
        return signed.public_bytes(Encoding.PEM).decode()

    first = datetime(year, 3, 4, 5, 6, 7, tzinfo=UTC)
    later, soon = pem(first.replace(year=year + 1), names=30), pem(datetime(2026, 2, 1, tzinfo=UTC))
    (tmp_path / "chain.crt").write_text(f"Subject: a text before\n{pem(first)}{soon}")
    (tmp_path / "later.crt").write_text(later)
    (tmp_path / "key.pem").write_text("no certificate by its name")
    found = {"ends": f"{first:%Y-%m-%d %H:%M:%SZ}", "path": str(tmp_path / "chain.crt")}
    assert node_facts.first_to_end([str(tmp_path), "/nonexistent"]) == found


@pytest.mark.parametrize(
    "text", ["", "text", f"{ssl.PEM_HEADER}\nMAA=\n{ssl.PEM_FOOTER}\n", f"{ssl.PEM_HEADER}\n!\n{ssl.PEM_FOOTER}\n"]
)
def test_file_that_holds_no_certificate_is_named_as_unreadable_and_sorts_last(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.crt").write_text(text)
    assert node_facts.first_to_end([str(tmp_path)]) == {"ends": "unreadable", "path": str(tmp_path / "bad.crt")}


def test_command_that_hangs_is_ended_at_the_limit() -> None:
    assert node_facts.run("sleep", "30", limit_s=0.2) == (1, "", "sleep took more than 0.2 s")


def test_database_that_hangs_is_given_up_at_the_limit_of_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = []

    def run(*_command: str, limit_s: float) -> tuple[int, str, str]:
        limits.append(limit_s)
        return 1, "", "psql took more than 3 s"

    monkeypatch.setattr(socket, "getdefaulttimeout", lambda: 3.0)
    monkeypatch.setattr(node_facts, "run", run)
    assert node_facts.leads() is None
    assert limits == [3.0]


def test_psql_is_that_of_the_newest_postgresql_or_the_one_in_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(node_facts, "CLIENTS", tmp_path)
    assert node_facts.client() == "psql"
    for version in ("17", "18"):
        (tmp_path / version / "bin").mkdir(parents=True)
        (tmp_path / version / "bin" / "psql").touch()
    assert node_facts.client() == str(tmp_path / "18" / "bin" / "psql")


MEMBER = {"Endpoint": "https://192.0.2.1:2379", "Status": {"header": {"member_id": 7}, "leader": 9}}


@pytest.mark.parametrize(
    ("status", "health", "found"),
    [
        ([MEMBER], [{"health": True}], {"number": 7, "leader": 9, "commits": True}),
        ([MEMBER], [{"health": False, "error": "no leader"}], {"number": 7, "leader": 9, "commits": False}),
        ([], [{"health": False}], {"error": "context deadline exceeded"}),
        (None, [], {"error": "context deadline exceeded"}),
    ],
)
def test_own_member_of_etcd_is_read(
    monkeypatch: pytest.MonkeyPatch, status: object, health: object, found: object
) -> None:
    monkeypatch.setattr(socket, "getdefaulttimeout", lambda: 3.0)
    said = {"status": json.dumps(status), "health": json.dumps(health)}
    monkeypatch.setattr(node_facts, "run", lambda *command: (0, said[command[-1]], "context deadline exceeded\n"))
    assert node_facts.etcd("192.0.2.1", 2379, "/etc/etcd/tls") == found
    if "number" in str(found):
        Etcd(**cast(dict[str, Any], found))


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (200, b"{}", ""),
        (
            503,
            b'{"checks": {"das": {"ok": true, "detail": "fine"}, "cas": {"ok": false, "detail": "no gateway"}}}',
            "cas: no gateway",
        ),
        (503, b'{"HttpStatus": 503}', "its health is answered 503"),
        (404, b"not JSON", "its health is answered 404"),
    ],
)
def test_health_says_which_checks_fail(status: int, body: bytes, reason: str) -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert node_facts.problem({"port": server.server_port, "path": "/hapacs/health"}) == reason
        thread.join()


def test_health_over_tls_needs_certificates_of_both_sides(tmp_path: Path) -> None:
    authority, other = (Authority(tmp_path / name, "cas", "passphrase") for name in ("ca", "other"))
    authority.ensure()
    other.ensure()
    ours = certificate(authority, tmp_path, "node", "client")
    theirs = certificate(authority, tmp_path, "server", "server")
    shutil.copy(authority.certificate_file, tmp_path / "ca-cas.crt")

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/healthz" else 503)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    def asked(path: str) -> str:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "ca-cas.crt"))
        context.load_cert_chain(*theirs)
        context.verify_mode = ssl.CERT_REQUIRED
        with HTTPServer(("127.0.0.1", 0), Answer) as server:
            server.timeout = 2  # for the case in which nobody comes
            server.socket = context.wrap_socket(server.socket, server_side=True)
            thread = threading.Thread(target=server.handle_request)
            thread.start()
            tls = {"address": "127.0.0.1", "pair": str(tmp_path / "node"), "authority": str(tmp_path / "ca-cas.crt")}
            found = node_facts.problem({"port": server.server_port, "path": path, "tls": tls})
            thread.join()
        return found

    assert asked("/healthz") == ""
    assert asked("/other") == "its health is answered 503"
    # A service whose certificate another authority signed does not pass.
    shutil.copy(other.certificate_file, tmp_path / "ca-cas.crt")
    assert "certificate" in asked("/healthz").lower()
    ours[1].unlink()
    assert "No such file" in asked("/healthz")


def test_loopback_listeners_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "\n".join(
        [
            "LISTEN 0 4096 10.0.0.11:2379 0.0.0.0:*",
            "LISTEN 0 4096 127.0.0.1:9324 0.0.0.0:*",
            "LISTEN 0 4096 127.0.0.53%lo:53 0.0.0.0:*",
            "LISTEN 0 4096 [::1]:18042 [::]:*",
            "LISTEN 0 4096 [::]:22 [::]:*",
        ]
    )
    monkeypatch.setattr(node_facts, "run", lambda *_: (0, said, ""))
    assert node_facts.listeners() == {2379: "10.0.0.11", 22: "::"}


def test_size_of_the_archive_is_summed_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume" / "1.dat").write_bytes(b"x" * 8192)
    monkeypatch.setattr(node_facts, "Path", lambda _path: tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10, 4, 6))
    assert node_facts.room()["das_free_bytes"] == 6
    assert node_facts.room()["cas_used_bytes"] >= 8192


def test_balancers_table_is_read_by_name_or_number(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ["# pxname,svname,scur,status,sid", "store_dicom,n1,3,UP,1", "store_dicom,n2,0,MAINT,2"]
    said = {
        "show stat": "\n".join([*rows, "store_dicom,BACKEND,3,UP,0"]),
        "show servers state": "1\n# be_id be_name srv_id srv_name srv_op_state srv_admin_state\n"
        "3 store_dicom 1 n1 2 0\n3 store_dicom 2 n2 0 4\n4 query_dicom 1 n1 2 0\n",
        "show table store_dicom": "# table\n0x1: key=1 use=0 exp=0 server_id=1 server_key=-\n",
    }
    monkeypatch.setattr(node_facts, "balancer_says", said.__getitem__)
    found = node_facts.balancer()
    assert found["writers"] == ["n1"]
    assert found["servers"]["store_dicom"] == {
        "n1": {"status": "UP", "sessions": 3, "paused": False},
        "n2": {"status": "MAINT", "sessions": 0, "paused": True},
    }
    said["show table store_dicom"] = "# table\n0x1: key=1 use=0 exp=0 server_id=1 server_key=n2\n"
    assert node_facts.balancer()["writers"] == ["n2"]


def test_checks_of_the_integrity_are_read_from_units_and_results(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(node_facts, "UNITS", tmp_path)
    monkeypatch.setattr(node_facts, "RESULTS", tmp_path)
    assert node_facts.checks() == {}
    (tmp_path / "hapacs-scrub.service").write_text("[Unit]\nConditionPathExists=!/\n")
    (tmp_path / "hapacs-reconcile.service").write_text("[Unit]\n")
    result: dict[str, Any] = {"ended_at": "2026-11-29T01:30:00+00:00", "failure": None, "open": 2, "found": {}}
    (tmp_path / "reconcile.json").write_text(json.dumps(result))
    found = node_facts.checks()
    assert found["reconcile"].pop("since") == pytest.approx(time.time(), abs=60)
    assert found["reconcile"] == {"on": True, "ended_at": result["ended_at"], "failure": None, "open": 2}
    assert (found["scrub"]["on"], found["scrub"]["ended_at"]) == (False, None)
    assert "replicas" not in found
    (tmp_path / "seaweedfs-scrub.service").write_text("[Unit]\n")
    (tmp_path / "replicas.json").write_text(json.dumps(result | {"volumes": {}}))
    assert node_facts.checks()["replicas"]["open"] == 2
