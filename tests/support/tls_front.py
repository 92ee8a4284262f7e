"""TLS in front of a server that does not speak it: Debian's Orthanc ends at the first connection when it has TLS."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread


def _copy(source: socket.socket, target: socket.socket) -> None:
    # Either side may end the connection at any time.
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


@contextmanager
def tls_front(port: int, certificate: Path, key: Path) -> Iterator[int]:
    """Take TLS connections on loopback, and pass them on to a port there; yield the port of TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            # A client that refuses the certificate ends the connection.
            with (
                suppress(OSError),
                context.wrap_socket(self.request, server_side=True) as client,
                socket.create_connection(("127.0.0.1", port)) as server,
            ):
                # With a time limit no side holds OpenSSL's lock while it waits, so both directions work at once.
                client.settimeout(600)
                back = Thread(target=_copy, args=(server, client))
                back.start()
                _copy(client, server)
                back.join()

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as front:
        # A client keeps connections for 90 s, and nobody waits for their end.
        front.daemon_threads = True
        serving = Thread(target=front.serve_forever, kwargs={"poll_interval": 0.1})
        serving.start()
        try:
            yield front.server_address[1]
        finally:
            front.shutdown()
            serving.join()
