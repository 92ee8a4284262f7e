"""Answers to COMMIT that never come, although PostgreSQL has applied it.

The proxy stands on the leader's node (see `drill_proxy`). In the sessions whose application name begins with the given
one it asks for the transaction's number before it passes a COMMIT on, takes the answer, asks whether the transaction is
committed and its rows are there, and ends the client's connection without an answer. It does so for one COMMIT at a
time, with seconds in between, so that clients get on.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import struct
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

from drill_proxy import Proxy, Streams, client_context, connect, note, pump, serve, server_context

# https://www.postgresql.org/docs/17/protocol-message-formats.html
SSL_REQUEST = 80877103
STARTUP = 196608
EVERY_S = 3

Message = tuple[bytes, bytes]


class Answers(Proxy):
    """Loses answers to COMMIT of some sessions."""

    module = "drill_answers"

    def said(self, notes: dict[str, Any]) -> str:
        """Return that a transaction was committed and its rows are there, while its answer was not passed on."""
        if not notes["rows"]:
            return ""
        lost, rows = notes["lost"], notes["rows"]
        return (
            f"answers to COMMIT that were not passed on: {lost}; rows of those transactions that PostgreSQL has: {rows}"
        )


class Losses:
    """What was lost so far."""

    def __init__(self, fault: dict[str, Any]) -> None:
        self.table, self.lost, self.rows, self.due = str(fault["table"]), 0, 0, 0.0

    def are_due(self) -> bool:
        """Return whether the next answer is to be lost."""
        return time.monotonic() >= self.due

    def add(self, rows: int) -> None:
        """Note a committed transaction whose answer is lost."""
        self.due = time.monotonic() + EVERY_S
        self.lost, self.rows = self.lost + 1, self.rows + rows
        note(lost=self.lost, rows=self.rows)


class Session:
    """A session whose messages are read one by one."""

    def __init__(self, client: Streams, server: Streams, losses: Losses) -> None:
        self.client, self.server, self.losses = client, server, losses
        # What the server says goes to the client, or here while the proxy asks by itself.
        self.answers: asyncio.Queue[Message] | None = None

    async def run(self) -> None:
        """Pass messages on until one side ends, or an answer is lost."""
        sides = {asyncio.create_task(self._from_server()), asyncio.create_task(self._from_client())}
        done, others = await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
        for task in others:
            task.cancel()
        for task in done:
            task.result()

    async def _from_server(self) -> None:
        async for message in messages(self.server[0]):
            if self.answers is not None:
                self.answers.put_nowait(message)
            else:
                await send(self.client[1], message)

    async def _from_client(self) -> None:
        async for message in messages(self.client[0]):
            if not (is_commit(message) and self.losses.are_due()):
                await send(self.server[1], message)
            elif await self._commit():
                return

    async def _commit(self) -> bool:
        """Commit, and return whether the answer is lost: it is passed on when nothing was written."""
        number = value(await self._ask("select pg_current_xact_id_if_assigned()"), 0)
        answer = await self._ask("COMMIT")
        if number and (b"C", b"COMMIT\0") in answer:
            rows = f"select count(*) from {self.losses.table} where xmin = '{number}'::xid8::xid"  # noqa: S608 - the fault's
            found = await self._ask(f"select pg_xact_status('{number}'), ({rows})")
            if value(found, 0) == "committed":
                self.losses.add(int(value(found, 1) or 0))
                return True
        for message in answer:
            await send(self.client[1], message)
        return False

    async def _ask(self, sql: str) -> list[Message]:
        """Ask the server in this session, and return its answer."""
        self.answers = asyncio.Queue()
        await send(self.server[1], (b"Q", sql.encode() + b"\0"))
        found: list[Message] = []
        while not found or found[-1][0] != b"Z":
            found.append(await self.answers.get())
        self.answers = None
        return found


async def messages(reader: asyncio.StreamReader) -> AsyncIterator[Message]:
    """Read message after message, to the end."""
    while kind := await reader.read(1):
        (length,) = struct.unpack("!I", await reader.readexactly(4))
        yield kind, await reader.readexactly(length - 4)


async def send(writer: asyncio.StreamWriter, message: Message) -> None:
    """Send one message."""
    kind, content = message
    writer.write(kind + struct.pack("!I", len(content) + 4) + content)
    await writer.drain()


def is_commit(message: Message) -> bool:
    """Return whether a message is a simple query that commits."""
    kind, content = message
    return kind == b"Q" and content.rstrip(b"\0").strip(b" ;\n").upper() in {b"COMMIT", b"COMMIT TRANSACTION", b"END"}


def value(answer: list[Message], column: int) -> str | None:
    """Return a column of the only row of an answer; None when it is null or there is no row."""
    row = next((content for kind, content in answer if kind == b"D"), None)
    if row is None:
        return None
    place = 2
    for number in range(column + 1):
        (length,) = struct.unpack_from("!i", row, place)
        place += 4
        if number == column:
            return None if length < 0 else row[place : place + length].decode()
        place += max(length, 0)
    return None


async def main(fault: dict[str, Any]) -> None:
    """Serve clients until the process is ended."""
    theirs, ours, losses = server_context(fault), client_context(fault), Losses(fault)

    async def session(client: Streams) -> None:
        server = await connect(fault)
        try:
            first = await start(client, server, theirs, ours)
            if b"\0application_name\0" + fault["application"].encode() in first:
                await Session(client, server, losses).run()
            else:
                await asyncio.wait(
                    {asyncio.create_task(pump(client[0], server[1])), asyncio.create_task(pump(server[0], client[1]))},
                    return_when=asyncio.FIRST_COMPLETED,
                )
        finally:
            server[1].transport.abort()

    await serve(fault, session)


async def start(client: Streams, server: Streams, theirs: ssl.SSLContext, ours: ssl.SSLContext) -> bytes:
    """Begin TLS on both sides when the client wants it, and return its first message, which is passed on."""
    head = await client[0].readexactly(8)
    length, code = struct.unpack("!II", head)
    if code == SSL_REQUEST:
        client[1].write(b"S")
        await client[1].start_tls(theirs)
        server[1].write(head)
        if await server[0].readexactly(1) != b"S":
            raise ConnectionError("the server has no TLS")
        await server[1].start_tls(ours)
        head = await client[0].readexactly(8)
        length, code = struct.unpack("!II", head)
    rest = await client[0].readexactly(length - 8)
    server[1].write(head + rest)
    return b"\0" + rest if code == STARTUP else b""


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
