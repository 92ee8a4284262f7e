"""HTTPS servers for the balancers, with a thread for each of their few, long-lived connections.

The handshake fails for a client without a certificate of the site's authority.
"""

import json
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from pydantic import ValidationError

from hapacs_node import log
from hapacs_node.endpoint import Endpoint
from hapacs_node.errors import NodeError

_LOG = log.get("https")
_HANDSHAKE_S = 5
# Longest time for one read or write, or between two requests. The balancers close idle connections sooner.
_IDLE_S = 60
# How often a server looks whether it shall stop.
_STOP_PERIOD_S = 0.1


class Listener(Endpoint):
    """Address and certificates of the server, at this node's address."""

    def tls(self) -> ssl.SSLContext:
        """Make a TLS context that requires a client certificate of the authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(self.certificate, self.key)
        context.load_verify_locations(self.authority)
        return context


class Server(ThreadingHTTPServer):
    """A server at the address of a listener.

    Parameters
    ----------
    listener : Listener
        Address and certificates.
    handler : type
        Answers requests.

    Raises
    ------
    OSError
        When the certificates or the address can't be used.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, listener: Listener, handler: type["Handler"]) -> None:
        self.tls = listener.tls()
        self.address_family = socket.AF_INET6 if ":" in listener.address else socket.AF_INET
        super().__init__((listener.address, listener.port), handler)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - of the library
        """Log a broken connection at the level DEBUG. Other connections are not affected."""
        _LOG.debug(log.line("connection_broken", peer=client_address[0]), exc_info=True)


@dataclass
class Running:
    """A server with the thread that accepts its connections.

    Parameters
    ----------
    name : str
        What it serves, for the probe.
    """

    name: str
    _server: Server | None = field(default=None, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)

    def start(self, server: Server) -> int:
        """Accept connections, and return the port."""
        self._server = server
        self._thread = threading.Thread(
            target=server.serve_forever, args=(_STOP_PERIOD_S,), name=self.name, daemon=True
        )
        self._thread.start()
        return int(server.server_address[1])

    def stop(self) -> None:
        """Accept no new connections. Requests in progress continue while the process lives."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()

    def probe(self) -> str:
        """Check that connections are accepted.

        Raises
        ------
        NodeError
            When they are not.
        """
        require_alive(self._thread, self.name)
        return "connections are accepted"


def require_alive(thread: threading.Thread | None, name: str) -> None:
    """Require that the thread of a listener runs.

    Raises
    ------
    NodeError
        When it does not.
    """
    if thread is None or not thread.is_alive():
        raise NodeError(f"the server of {name} does not run: restart the service")


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    allowed: ClassVar[str]
    """Methods that are answered, as the header Allow names them."""
    server: Server
    connection: socket.socket

    def setup(self) -> None:
        """Secure the connection."""
        # Not where connections are accepted, so that a slow handshake blocks only this thread.
        plain = self.request
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.settimeout(_HANDSHAKE_S)
        self.request = self.server.tls.wrap_socket(plain, server_side=True)
        self.request.settimeout(_IDLE_S)
        super().setup()

    def finish(self) -> None:
        """Close the connection."""
        super().finish()
        self.request.close()

    def version_string(self) -> str:
        """Return what the header Server says."""
        return "hapacs"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Log nothing, because the balancers log each request."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what the library refuses; 405 in place of 501 for a method that is not answered (RFC 9110 15.5.6)."""
        if code == HTTPStatus.NOT_IMPLEMENTED:
            # Its body is not read.
            self.close_connection = True
            self.refuse(HTTPStatus.METHOD_NOT_ALLOWED, f"only {self.allowed} is answered here", Allow=self.allowed)
        else:
            super().send_error(code, message, explain)

    def question(self, answer: Callable[[bytes], Mapping[str, object]], most_bytes: int) -> None:
        """Answer a question in JSON by JSON.

        Parameters
        ----------
        answer : callable
            Returns the answer; it raises ValidationError for a question without meaning, and NodeError when there is
            no answer now.
        most_bytes : int
            Longest question.
        """
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit() or int(length) > most_bytes:
            self.close_connection = True
            self.refuse(HTTPStatus.BAD_REQUEST, f"Content-Length must be a number up to {most_bytes}")
            return
        try:
            content = json.dumps(answer(self.rfile.read(int(length)))).encode()
        except ValidationError as error:
            self.refuse(HTTPStatus.BAD_REQUEST, f"the body has {error.error_count()} mistakes")
            return
        except NodeError as error:
            _LOG.warning(log.line("not_answered", path=self.path, error=error))
            self.refuse(HTTPStatus.SERVICE_UNAVAILABLE, "there is no answer now")
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def refuse(self, status: HTTPStatus, why: str, **headers: str) -> None:
        """Answer with a status and one line with the reason."""
        body = f"{why}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
