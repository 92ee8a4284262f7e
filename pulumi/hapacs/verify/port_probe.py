"""Tries ports as a client without credentials; runs on the controller, and is sent to nodes to run there.

Takes a JSON list of ports, each ``{"address", "port", "kind"}``, and prints a JSON list with a ``problem`` for each,
empty when the port refuses such a client. It imports the standard library only and needs no root.

Kinds
-----
tls
    Requires a client certificate: it serves no client in the clear, and none by TLS without a certificate.
web
    HTTPS that requires a login or a signature: serves no client in the clear, and answers 401 or 403 by TLS.
postgres
    No session in the clear, and a password exchange (SCRAM) by TLS.
closed
    Must not be reachable.
"""

import json
import socket
import ssl
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

Target = dict[str, Any]
TIMEOUT_S = 2
# HTTP/2 without asking: the preface and an empty SETTINGS frame. A gRPC server answers with its own SETTINGS.
HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")
HTTP2_SETTINGS = b"\x04"
PATHS = ("/", "/system", "/cluster", "/dicom-web/studies", "/metrics", "/hapacs/health", "/dir/assign")
OPEN_IF_ANYTHING_IS = ("/archive?list-type=2", "/metrics", "/;csv")
REFUSED = {400, 401, 403, 404, 405, 426, 495, 496}
ASSOCIATE_AC = 2
SSL_REQUEST = struct.pack("!ii", 8, 80877103)
SASL = 10


def associate_rq() -> bytes:
    """Encode an A-ASSOCIATE-RQ (PS3.8 9.3.2) for Verification in Implicit VR Little Endian."""

    def item(kind: int, content: bytes) -> bytes:
        return struct.pack("!BBH", kind, 0, len(content)) + content

    context = item(0x30, b"1.2.840.10008.1.1") + item(0x40, b"1.2.840.10008.1.2")
    information = item(0x51, struct.pack("!I", 16384)) + item(0x52, b"2.25.300200788435654268780283864367573459572")
    fixed = struct.pack("!HH", 1, 0) + b"HAPACS".ljust(16) + b"HAPACS_NOBODY".ljust(16) + bytes(32)
    body = fixed + item(0x10, b"1.2.840.10008.3.1.1.1") + item(0x20, b"\x01\0\0\0" + context) + item(0x50, information)
    return struct.pack("!BBI", 1, 0, len(body)) + body


def connect(target: Target) -> socket.socket:
    """Return a connection; raises OSError when the port can't be reached."""
    connection = socket.create_connection((target["address"], target["port"]), timeout=TIMEOUT_S)
    connection.settimeout(TIMEOUT_S)
    return connection


def secure(connection: socket.socket) -> ssl.SSLSocket:
    """Begin TLS as a client without a certificate, with any server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(connection)


def exchange(target: Target, sent: bytes, *, tls: bool) -> bytes:
    """Send bytes and return the answer; it is empty when the peer ends or refuses the connection."""
    try:
        with connect(target) as plain:
            connection = secure(plain) if tls else plain
            connection.sendall(sent)
            return connection.recv(4096)
    except OSError:
        return b""


def status(answer: bytes) -> int | None:
    """Return the status of an HTTP answer; None when it is not HTTP."""
    words = answer.split(maxsplit=2)
    return int(words[1]) if len(words) > 1 and words[0].startswith(b"HTTP/") and words[1].isdigit() else None


def get(path: str) -> bytes:
    """Encode a request."""
    return f"GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n".encode()


def served(target: Target, *, tls: bool, refusals: set[int]) -> str:
    """Return what a port serves to a client without credentials, or an empty string."""
    how = "by TLS without a certificate" if tls else "in the clear"
    for path in PATHS:
        code = status(exchange(target, get(path), tls=tls))
        if code is None:
            break
        if code not in refusals:
            return f"answers {code} to HTTP {how} ({path})"
    if exchange(target, associate_rq(), tls=tls)[:1] == bytes([ASSOCIATE_AC]):
        return f"accepts a DICOM association {how}"
    if exchange(target, HTTP2, tls=tls)[3:4] == HTTP2_SETTINGS:
        return f"serves HTTP/2 {how}"
    return ""


def tls_only(target: Target) -> str:
    """Try a port that requires a client certificate."""
    # Many servers answer 400 in the clear to require TLS. By TLS there must be no answer at all.
    return served(target, tls=False, refusals=REFUSED) or served(target, tls=True, refusals=set())


def web(target: Target) -> str:
    """Try a port that requires a login or a signature."""
    problem = served(target, tls=False, refusals=REFUSED)
    if problem:
        return problem
    codes = {path: status(exchange(target, get(path), tls=True)) for path in ("/", *OPEN_IF_ANYTHING_IS)}
    # An unknown path may be answered 404; the root has to be refused.
    found = [path for path, code in codes.items() if code not in ({401, 403} if path == "/" else {401, 403, 404})]
    return f"answers {codes[found[0]]} without a login ({found[0]})" if found else ""


def postgres(target: Target) -> str:
    """Try a database: in the clear, and by TLS without a password."""
    for user, database in (("postgres", "postgres"), ("pacs", "pacs"), ("cas", "cas")):
        fields = b"".join(word.encode() + b"\0" for word in ("user", user, "database", database)) + b"\0"
        startup = struct.pack("!ii", len(fields) + 8, 196608) + fields
        answer = exchange(target, startup, tls=False)
        if answer[:1] not in {b"", b"E"}:
            return f"takes a session of {user} in the clear"
        try:
            with connect(target) as plain:
                plain.sendall(SSL_REQUEST)
                if plain.recv(1) != b"S":
                    return "offers no TLS"
                connection = secure(plain)
                connection.sendall(startup)
                answer = connection.recv(4096)
        except OSError:
            continue
        if answer[:1] == b"R" and struct.unpack("!i", answer[5:9])[0] != SASL:
            return f"lets {user} in without SCRAM"
        if answer[:1] not in {b"", b"R", b"E"}:
            return f"takes a session of {user} without a password"
    return ""


def probe(target: Target) -> dict[str, Any]:
    """Try one port; return whether it was reached, and the problem."""
    try:
        connect(target).close()
    except OSError:
        return {"reached": False, "problem": ""}
    if target["kind"] == "closed":
        return {"reached": True, "problem": "can be reached"}
    problem = {"tls": tls_only, "web": web, "postgres": postgres}[target["kind"]](target)
    return {"reached": True, "problem": problem}


def probe_all(targets: list[Target]) -> list[dict[str, Any]]:
    """Try all ports at the same time."""
    with ThreadPoolExecutor(max_workers=32) as pool:
        return [{**target, **result} for target, result in zip(targets, pool.map(probe, targets), strict=True)]


if __name__ == "__main__":
    json.dump(probe_all(json.loads(sys.argv[1])), sys.stdout)
