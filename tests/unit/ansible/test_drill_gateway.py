"""The drill's proxy in front of a gateway: objects that exist are denied, everything else is passed on."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hapacs.pki import Authority
from tests.unit.ansible.loading import ANSIBLE
from tests.unit.node.certificates import certificate

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root marks packets")
PROGRAM = """
import asyncio, json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import drill_gateway, drill_proxy
drill_proxy.PORT, drill_proxy.NOTES = int(sys.argv[3]), Path(sys.argv[4])
asyncio.run(drill_gateway.main(json.loads(sys.argv[2])))
"""
OBJECTS: dict[str, bytes] = {}


class _Gateway(BaseHTTPRequestHandler):
    """Keeps what is put, as a gateway does."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        OBJECTS[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(200, b"")

    def do_GET(self) -> None:
        known = {"/archive/": b"list", "/archive/?location": b"here"} | OBJECTS
        self._answer(200 if self.path in known else 404, known.get(self.path, b"none"))

    def do_HEAD(self) -> None:
        self.do_GET()

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


class Denied:
    """The proxy, and what it notes."""

    def __init__(self, port: int, ca: Path, notes: Path) -> None:
        self.port, self.context, self.notes_file = port, ssl.create_default_context(cafile=ca), notes

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=self.context, timeout=10)
        connection.request(method, path, body, {"Connection": "keep-alive"})
        answer = connection.getresponse()
        return answer.status, answer.read()

    @property
    def denied(self) -> int:
        return int(json.loads(self.notes_file.read_text())["denied"]) if self.notes_file.exists() else 0


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Denied]:
    directory = tmp_path_factory.mktemp("gateway")
    authority = Authority(directory, "cas", "passphrase")
    authority.ensure()
    ca = authority.certificate_file
    signed, key = certificate(authority, directory, "pacs1", "server", "client")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Gateway)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(signed, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Gateway) as probe:
        port = probe.server_port
    fault = {
        "address": "127.0.0.1", "port": server.server_port, "certificate": str(signed), "key": str(key), "ca": str(ca),
        "bucket": "archive",
    }  # fmt: skip
    found = Denied(port, ca, directory / "notes.json")
    files = ANSIBLE / "roles" / "drill" / "files"
    words = [sys.executable, "-c", PROGRAM, str(files), json.dumps(fault), str(port), str(found.notes_file)]
    process = subprocess.Popen(words)
    deadline = time.monotonic() + 20
    while True:
        try:
            found.ask("GET", "/archive/")
            break
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.1)
    yield found
    process.kill()
    process.wait()
    server.shutdown()


def test_stored_object_is_there_and_denied(proxied: Denied) -> None:
    content = os.urandom(3 << 20)
    assert proxied.ask("PUT", "/archive/sha256/ab", content) == (200, b"")
    assert OBJECTS["/archive/sha256/ab"] == content
    before = proxied.denied
    status, answer = proxied.ask("GET", "/archive/sha256/ab")
    assert status == 404
    assert b"NoSuchKey" in answer
    assert proxied.ask("HEAD", "/archive/sha256/ab") == (404, b"")
    assert proxied.denied == before + 2


def test_object_that_does_not_exist_is_no_proof(proxied: Denied) -> None:
    before = proxied.denied
    assert proxied.ask("GET", "/archive/sha256/cd") == (404, b"none")
    assert proxied.denied == before


@pytest.mark.parametrize(("path", "answer"), [("/archive/", b"list"), ("/archive/?location", b"here")])
def test_questions_about_the_bucket_are_passed_on(proxied: Denied, path: str, answer: bytes) -> None:
    assert proxied.ask("GET", path) == (200, answer)
