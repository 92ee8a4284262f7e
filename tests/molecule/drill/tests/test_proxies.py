"""The proxy in front of a TCP service of a host: what it does to answers, and that nothing of it stays."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator

import pytest
from testinfra.host import Host  # type: ignore[import-untyped]

testinfra_hosts = ["ansible://hapacs-molecule-drill"]
PROGRAM = "/usr/local/lib/hapacs/hapacs-drill"
DIRECTORY, UNIT = "/run/behind", "behind.service"
TLS = {"certificate": f"{DIRECTORY}/node.crt", "key": f"{DIRECTORY}/node.key", "ca": f"{DIRECTORY}/node.crt"}

# An archive with one object.
GATEWAY = """
import http.server, ssl

class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        content = b"bytes" if self.path == "/archive/there" else b""
        self.send_response(200 if content else 404)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 8333), Answers)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/run/behind/node.crt", "/run/behind/node.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""
READ = """
import ssl, sys, urllib.error, urllib.request
context = ssl.create_default_context(cafile="/run/behind/node.crt")
try:
    print(urllib.request.urlopen("https://127.0.0.1:8333" + sys.argv[1], context=context, timeout=10).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""

# PostgreSQL's protocol as far as a COMMIT needs it, and a database that has committed everything.
DATABASE = """
import socketserver, ssl, struct

def message(kind, content):
    return kind + struct.pack("!I", len(content) + 4) + content

def row(*values):
    columns = b"".join(struct.pack("!i", len(one)) + one for one in values)
    return message(b"D", struct.pack("!h", len(values)) + columns) + message(b"C", b"SELECT 1\\0")

class Session(socketserver.BaseRequestHandler):
    def read(self, count):
        content = b""
        while len(content) < count:
            if not (part := self.request.recv(count - len(content))):
                raise EOFError
            content += part
        return content

    def handle(self):
        try:
            self.read(8)
            self.request.sendall(b"S")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain("/run/behind/node.crt", "/run/behind/node.key")
            self.request = context.wrap_socket(self.request, server_side=True)
            length, _ = struct.unpack("!II", self.read(8))
            self.read(length - 8)
            self.request.sendall(message(b"R", struct.pack("!I", 0)) + message(b"Z", b"I"))
            while True:
                self.read(1)
                (length,) = struct.unpack("!I", self.read(4))
                sql = self.read(length - 4)
                if b"pg_current_xact_id" in sql:
                    answer = row(b"42")
                elif b"pg_xact_status" in sql:
                    answer = row(b"committed", b"3")
                else:
                    answer = message(b"C", b"COMMIT\\0")
                self.request.sendall(answer + message(b"Z", b"I"))
        except (EOFError, OSError):
            pass

socketserver.ThreadingTCPServer(("127.0.0.1", 5432), Session).serve_forever()
"""
COMMIT = """
import socket, ssl, struct, sys
plain = socket.create_connection(("127.0.0.1", 5432), 10)
plain.sendall(struct.pack("!II", 8, 80877103))
assert plain.recv(1) == b"S"
session = ssl.create_default_context(cafile="/run/behind/node.crt").wrap_socket(plain, server_hostname="127.0.0.1")
first = b"user\\0pacs\\0application_name\\0" + sys.argv[1].encode() + b"\\0\\0"
session.sendall(struct.pack("!II", len(first) + 8, 196608) + first)
ready = b""
while not ready.endswith(b"Z\\0\\0\\0\\x05I"):
    part = session.recv(4096)
    assert part, "the session ended before it was ready"
    ready += part
session.sendall(b"Q" + struct.pack("!I", 11) + b"COMMIT\\0")
try:
    print("answered" if session.recv(4096) else "lost")
except OSError:
    print("lost")
"""

Client = Callable[[str], str]


def drill(host: Host, *words: str) -> tuple[int, str]:
    """Run the program; return its exit code and what it printed."""
    done = host.run(" ".join([PROGRAM, *(f"'{word}'" for word in words)]))
    return done.rc, done.stdout + done.stderr


def put(host: Host, path: str, text: str) -> None:
    host.check_output(f"echo {base64.b64encode(text.encode()).decode()} | base64 --decode > {path}")


@pytest.fixture
def service(host: Host) -> Iterator[Callable[[str, int, str], Client]]:
    """Return a function that runs a service on the host, and returns how to ask it."""

    def start(text: str, port: int, client: str) -> Client:
        put(host, f"{DIRECTORY}/service.py", text)
        put(host, f"{DIRECTORY}/client.py", client)
        host.check_output(f"systemd-run --quiet --unit={UNIT} python3 {DIRECTORY}/service.py")
        listens = f"ss --no-header --listening --tcp src 127.0.0.1:{port} | grep -q ."
        host.check_output(f"timeout 30 sh -c 'until {listens}; do sleep 0.2; done'")
        return lambda word: str(host.check_output(f"timeout 30 python3 {DIRECTORY}/client.py {word}")).strip()

    host.check_output(f"mkdir -p {DIRECTORY}")
    host.check_output(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=drill -days 2 "
        f"-addext subjectAltName=IP:127.0.0.1 -keyout {TLS['key']} -out {TLS['certificate']}"
    )
    yield start
    drill(host, "heal")
    host.run(f"systemctl stop {UNIT}; rm -r {DIRECTORY}")


def assert_nothing_stays(host: Host) -> None:
    assert "hapacs_drill" not in host.check_output("nft list tables")
    assert host.run("systemctl is-active hapacs-drill-proxy.service").stdout.strip() != "active"
    assert not host.file("/run/hapacs-drill-proxy.json").exists


def test_object_that_exists_is_denied_until_the_fault_is_undone(
    host: Host, service: Callable[[str, int, str], Client]
) -> None:
    status = service(GATEWAY, 8333, READ)
    assert (status("/archive/there"), status("/archive/absent")) == ("200", "404")
    fault = {"kind": "deny", "address": "127.0.0.1", "port": 8333, "bucket": "archive", **TLS}
    assert drill(host, "inject", "60", json.dumps(fault))[0] == 0
    assert status("/archive/absent") == "404"
    assert drill(host, "prove")[0] == 1, "nothing that exists was asked for"
    assert status("/archive/there") == "404"
    assert "for 1 requests for an object that exists the answer was 404" in drill(host, "prove", "5")[1]
    assert drill(host, "heal")[0] == 0
    assert status("/archive/there") == "200"
    assert_nothing_stays(host)


def test_answer_to_commit_is_lost_for_the_named_sessions_only(
    host: Host, service: Callable[[str, int, str], Client]
) -> None:
    commit = service(DATABASE, 5432, COMMIT)
    assert commit("orthanc-store-a") == "answered"
    fault = {"kind": "answers", "address": "127.0.0.1", "port": 5432, "clients": ["127.0.0.1"], **TLS}
    fault |= {"application": "orthanc-store-", "table": "attachedfiles"}
    assert drill(host, "inject", "60", json.dumps(fault))[0] == 0
    assert commit("hapacs-a") == "answered"
    assert drill(host, "prove")[0] == 1, "no answer was lost yet"
    assert commit("orthanc-store-a") == "lost"
    said = drill(host, "prove", "5")[1]
    assert "not passed on: 1; rows of those transactions that PostgreSQL has: 3" in said
    assert drill(host, "heal")[0] == 0
    assert commit("orthanc-store-a") == "answered"
    assert_nothing_stays(host)


def test_service_that_is_not_there_is_no_fault(host: Host) -> None:
    fault = {"kind": "deny", "address": "127.0.0.1", "port": 8333, "bucket": "archive", **TLS}
    code, said = drill(host, "inject", "60", json.dumps(fault))
    assert (code, "nothing listens at 127.0.0.1:8333" in said) == (3, True)
