"""Passes associations on to the storing service, and answers what they ask about storage commitment itself.

Modalities ask in the association that brings the images. Orthanc would keep such a request in its memory, and answer it
before it is kept anywhere. Associations with reports of destinations are not passed on at all.
"""

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pynetdicom.dimse_primitives import N_ACTION, N_EVENT_REPORT

from hapacs_node import log
from hapacs_node.catalog.outbound_commitment import Report
from hapacs_node.commitment import action, pdu, receive
from hapacs_node.commitment.action import Refusal, Wanted
from hapacs_node.commitment.pdu import Messages, Pdu, Requested
from hapacs_node.commitment.settings import Address
from hapacs_node.errors import NodeError, RefusedError
from hapacs_node.metrics import Metrics

_LOG = log.get("commitment")
_CONNECT_S = 5
# The balancer sends a request for an association at once, and whole.
_REQUEST_S = 10
_CLOSE_S = 5
# As long as the storing service waits for the next message.
_SILENT_S = 60

type _Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Relay:
    """Takes the associations that propose storage commitment.

    Parameters
    ----------
    listen, store : Address
        Its own address, and the storing service's.
    keep : callable
        Keeps a request, with calling and called title; raises Refusal, or NodeError when that fails now.
    take : callable
        Takes a report of a destination, with its calling title; returns the status of the answer.
    metrics : Metrics
        Counts requests and reports.
    inward, onward : ssl.SSLContext or None
        TLS towards the balancer and towards the storing service.
    """

    listen: Address
    store: Address
    keep: Callable[[Requested, Wanted], None]
    take: Callable[[str, Report], int]
    metrics: Metrics
    inward: ssl.SSLContext | None = None
    onward: ssl.SSLContext | None = None
    port: int = field(default=0, init=False)
    _ready: threading.Event = field(default_factory=threading.Event, init=False)

    def __post_init__(self) -> None:
        self._asked = self.metrics.counter("hapacs_commitment_asked", "Requests, by the answer", ["answer"])
        self._taken = self.metrics.counter(
            "hapacs_routing_commitment_reports", "Reports of destinations, by the status of the answer", ["status"]
        )
        self._open = self.metrics.gauge("hapacs_commitment_associations", "Associations that are passed on now")

    def run(self, stop: threading.Event, grace_s: float = 30) -> None:
        """Serve until `stop` is set; then open associations have so many seconds to end.

        Raises
        ------
        OSError
            When the address can't be used.
        """
        asyncio.run(self._run(stop, grace_s))

    def wait(self, timeout_s: float) -> bool:
        """Wait until it listens at `port`."""
        return self._ready.wait(timeout_s)

    async def _run(self, stop: threading.Event, grace_s: float) -> None:
        running: set[asyncio.Task[None]] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._serve((reader, writer)))
            running.add(task)
            self._open.inc()
            try:
                await task
            finally:
                self._open.dec()
                running.discard(task)

        server = await asyncio.start_server(serve, self.listen.host, self.listen.port, ssl=self.inward, backlog=128)
        self.port = int(server.sockets[0].getsockname()[1])
        self._ready.set()
        await asyncio.to_thread(stop.wait)
        server.close()
        if running:
            await asyncio.wait(running, timeout=grace_s)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _serve(self, caller: _Streams) -> None:
        store: _Streams | None = None
        try:
            first = await asyncio.wait_for(pdu.read(caller[0]), _REQUEST_S)
            if first is None:
                return
            requested = Requested.of(first)
            if requested.reports:
                await _Reports(self, requested, caller).run(first)
                return
            opened = asyncio.open_connection(self.store.host, self.store.port, ssl=self.onward)
            store = await asyncio.wait_for(opened, _CONNECT_S)
            store[1].write(first.content)
            await _Association(self, requested, caller, store).run()
        except RefusedError as error:
            _LOG.warning(log.line("association_aborted", error=error))
            caller[1].write(pdu.ABORT)
        except (OSError, TimeoutError) as error:
            # The caller sees an association that ends, as from a storing service that dies.
            _LOG.warning(log.line("association_lost", error=type(error).__name__))
        except Exception as error:  # noqa: BLE001 - a defect ends one association, and is seen
            _LOG.exception(log.line("association_failed", error=type(error).__name__))
        finally:
            for streams in (caller, store):
                if streams is not None:
                    await _close(streams[1])

    async def replies(
        self, requested: Requested, message: N_ACTION | N_EVENT_REPORT, context: int, syntax: str
    ) -> Iterator[bytes]:
        """Act on a message, and return the PDUs of its answer."""
        if isinstance(message, N_ACTION):
            status, comment = await self.answer(requested, message, syntax)
            return action.answer(message, context, requested.maximum, status, comment)
        told = receive.report(message, syntax)
        status = told if isinstance(told, int) else await asyncio.to_thread(self.take, requested.calling, told)
        self._taken.labels(f"0x{status:04X}").inc()
        return receive.answer(message, context, requested.maximum, status)

    async def answer(self, requested: Requested, asked: N_ACTION, syntax: str) -> tuple[int, str]:
        """Keep a request, and return status and comment of its answer."""
        transaction = None
        try:
            wanted = action.wanted(asked, syntax)
            transaction = wanted.transaction
            await asyncio.to_thread(self.keep, requested, wanted)
        except Refusal as refusal:
            self._asked.labels("refused").inc()
            _LOG.warning(
                log.line("commitment_refused", caller=requested.calling, transaction=transaction, error=refusal.comment)
            )
            return refusal.status, refusal.comment
        except NodeError as error:
            self._asked.labels("failed").inc()
            _LOG.error(log.line("commitment_failed", caller=requested.calling, transaction=transaction, error=error))
            return action.PROCESSING_FAILURE, "the request can't be kept now"
        self._asked.labels("kept").inc()
        _LOG.info(
            log.line(
                "commitment_requested", caller=requested.calling, transaction=transaction, images=len(wanted.images)
            )
        )
        return action.SUCCESS, ""


@dataclass
class _Association:
    """One association between a caller and the storing service."""

    relay: Relay
    requested: Requested
    caller: _Streams
    store: _Streams
    _accepted: dict[int, str] = field(default_factory=dict)
    _messages: Messages = field(default_factory=Messages)

    async def run(self) -> None:
        """Pass PDUs on until a side ends the connection."""
        ways = [asyncio.create_task(self._to_store()), asyncio.create_task(self._to_caller())]
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        for way in done:
            way.result()

    async def _to_caller(self) -> None:
        while (one := await pdu.read(self.store[0])) is not None:
            if one.kind == pdu.ASSOCIATE_AC:
                self._accepted = pdu.syntaxes(one, self.requested.contexts)
            await _send(self.caller[1], one.content)

    async def _to_store(self) -> None:
        while (one := await pdu.read(self.caller[0])) is not None:
            if one.kind == pdu.DATA and self._accepted:
                await self._data(one)
            else:
                await _send(self.store[1], one.content)

    async def _data(self, one: Pdu) -> None:
        found = list(pdu.values(one))
        own = [value for value in found if value[0] in self._accepted]
        if not own:
            await _send(self.store[1], one.content)
            return
        if len(own) < len(found):
            await _send(self.store[1], pdu.data([value for value in found if value[0] not in self._accepted]))
        for context, value in own:
            message = self._messages.take(context, value)
            if message is not None:
                syntax = self._accepted[context]
                for part in await self.relay.replies(self.requested, message, context, syntax):
                    await _send(self.caller[1], part)


@dataclass
class _Reports:
    """One association of a destination that reports."""

    relay: Relay
    requested: Requested
    caller: _Streams
    _messages: Messages = field(default_factory=Messages)

    async def run(self, first: Pdu) -> None:
        """Answer reports until the peer releases the association, or is silent for too long."""
        accepting, accepted = receive.accept(first)
        await _send(self.caller[1], accepting)
        while (one := await asyncio.wait_for(pdu.read(self.caller[0]), _SILENT_S)) is not None:
            if one.kind == pdu.RELEASE_RQ:
                await _send(self.caller[1], pdu.RELEASE_RP)
            if one.kind != pdu.DATA:
                return
            for context, value in pdu.values(one):
                if context not in accepted:
                    raise RefusedError("a message in a presentation context that was not accepted")
                if (message := self._messages.take(context, value)) is not None:
                    for part in await self.relay.replies(self.requested, message, context, accepted[context]):
                        await _send(self.caller[1], part)


async def _send(writer: asyncio.StreamWriter, content: bytes) -> None:
    writer.write(content)
    await writer.drain()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        await asyncio.wait_for(writer.wait_closed(), _CLOSE_S)
    except (OSError, TimeoutError):
        # The other side is gone.
        writer.transport.abort()
