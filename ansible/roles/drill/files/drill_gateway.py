"""A gateway of the archive that answers 404 for objects that exist.

The proxy asks the gateway itself, and where that has the object it answers that there is none. All other requests and
answers are passed on. Each connection serves one request.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from drill_proxy import Proxy, Streams, client_context, connect, note, pump, serve, server_context

FOUND = b"20"
DENIAL = (
    b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>"
)


class Denials(Proxy):
    """Denies objects that exist."""

    module = "drill_gateway"

    def said(self, notes: dict[str, Any]) -> str:
        """Return for how many objects that exist the answer was 404."""
        return f"for {notes['denied']} requests for an object that exists the answer was 404" if notes["denied"] else ""


class Gateway:
    """Passes requests on, and denies what exists."""

    def __init__(self, fault: dict[str, Any]) -> None:
        self.fault, self.ours, self.denied = fault, client_context(fault), 0
        self.objects = f"/{fault['bucket']}/".encode()

    async def answer(self, client: Streams) -> None:
        """Answer one request."""
        head = await client[0].readuntil(b"\r\n\r\n")
        method, path = head.split(b" ", 2)[:2]
        server = await connect(self.fault)
        try:
            await server[1].start_tls(self.ours)
            server[1].write(closing(head))
            if method in {b"GET", b"HEAD"} and self._is_object(path):
                await self._deny(client, server, with_body=method == b"GET")
            else:
                body = asyncio.create_task(pump(client[0], server[1]))
                await pump(server[0], client[1])
                body.cancel()
        finally:
            server[1].transport.abort()
        client[1].close()
        await client[1].wait_closed()

    def _is_object(self, path: bytes) -> bool:
        return path.startswith(self.objects) and path[len(self.objects) : len(self.objects) + 1] not in {b"", b"?"}

    async def _deny(self, client: Streams, server: Streams, *, with_body: bool) -> None:
        answer = await server[0].readuntil(b"\r\n\r\n")
        if not answer.partition(b"\r\n")[0].partition(b" ")[2].startswith(FOUND):
            client[1].write(answer)
            await pump(server[0], client[1])
            return
        self.denied += 1
        note(denied=self.denied)
        lines = [
            "HTTP/1.1 404 Not Found",
            "Content-Type: application/xml",
            f"Content-Length: {len(DENIAL)}",
            "Connection: close",
        ]
        client[1].write("\r\n".join([*lines, "", ""]).encode() + (DENIAL if with_body else b""))
        await client[1].drain()


def closing(head: bytes) -> bytes:
    """Return a request's head that asks for the end of the connection after the answer."""
    lines = [line for line in head.split(b"\r\n") if line and not line.lower().startswith(b"connection:")]
    return b"\r\n".join([*lines, b"Connection: close", b"", b""])


async def main(fault: dict[str, Any]) -> None:
    """Serve clients until the process is ended."""
    await serve(fault, Gateway(fault).answer, server_context(fault))


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
