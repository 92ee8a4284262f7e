"""A proxy of our own in front of a service of this node, with the service's own certificate.

Firewall rules of a table of their own lead new connections to it, open ones are closed. The service's certificate lets
it read what clients send without any change to them; its own connections carry a mark that the rules leave alone.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from drill_base import RefusedError, run

UNIT = "hapacs-drill-proxy"
TABLE = "hapacs_drill"
NOTES = Path("/run/hapacs-drill-proxy.json")
# Below the ports that the kernel gives to clients, and used by no service.
PORT = 19999
MARK = 0xD1
START_S = 10

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Proxy:
    """Starts the proxy of a module, leads clients to it, and takes both away again."""

    module = ""

    def __init__(self, fault: dict[str, Any]) -> None:
        self.fault = fault
        self.address, self.port = str(fault["address"]), int(fault["port"])
        self.clients = [str(client) for client in fault.get("clients", ())]

    def plan(self) -> dict[str, Any]:
        """Check that the service is here, and whether a firewall has to let the proxy's port in."""
        if not run("ss", "--no-header", "--listening", "--tcp", "src", f"{self.address}:{self.port}"):
            raise RefusedError(f"nothing listens at {self.address}:{self.port} on this node")
        tables = run("nft", "list", "tables", "inet").splitlines()
        return {"firewall": "table inet hapacs" in tables}

    def apply(self, plan: dict[str, Any]) -> None:
        """Start the proxy, then lead new connections to it, then close those that are open."""
        NOTES.unlink(missing_ok=True)
        program = Path(__file__).with_name(f"{self.module}.py")
        run(
            "systemd-run",
            "--quiet",
            "--collect",
            f"--unit={UNIT}",
            sys.executable,
            str(program),
            json.dumps(self.fault),
        )
        deadline = time.monotonic() + START_S
        while not run("ss", "--no-header", "--listening", "--tcp", "src", f"{self.address}:{PORT}"):
            if time.monotonic() > deadline:
                raise OSError(f"the proxy does not listen: journalctl -u {UNIT} says why")
            time.sleep(0.1)
        if plan["firewall"]:
            run(
                "nft",
                "insert",
                "rule",
                "inet",
                "hapacs",
                "input",
                "tcp",
                "dport",
                str(PORT),
                "accept",
                "comment",
                TABLE,
            )
        run("nft", "--file", "-", text=self._rules())
        places = " or ".join(f"dst {client}" for client in self.clients)
        own = f"src {self.address}:{self.port}"
        run("ss", "--kill", "--tcp", "state", "established", f"{own} and ( {places} )" if places else own)

    def proof(self, _plan: dict[str, Any]) -> str:
        """Return what the proxy did, or empty."""
        return self.said(json.loads(NOTES.read_text())) if NOTES.exists() else ""

    def said(self, notes: dict[str, Any]) -> str:
        """Return what the proxy's notes prove, or empty."""
        raise NotImplementedError

    def undo(self, _plan: dict[str, Any]) -> None:
        """Lead new connections to the service again, and end the proxy with those that it has."""
        run("nft", "--file", "-", text=f"table inet {TABLE} {{ }}\ndelete table inet {TABLE}\n")
        # The table of the firewall may have been replaced since.
        with suppress(subprocess.CalledProcessError):
            listed = json.loads(run("nft", "--json", "list", "chain", "inet", "hapacs", "input"))["nftables"]
            for entry in listed:
                if entry.get("rule", {}).get("comment") == TABLE:
                    run("nft", "delete", "rule", "inet", "hapacs", "input", "handle", str(entry["rule"]["handle"]))
        subprocess.run(["systemctl", "kill", "--signal=SIGKILL", UNIT], check=False, capture_output=True)
        NOTES.unlink(missing_ok=True)

    def _rules(self) -> str:
        source = f"ip saddr {{ {', '.join(self.clients)} }} " if self.clients else ""
        rule = f"{source}ip daddr {self.address} tcp dport {self.port} dnat ip to {self.address}:{PORT}"
        chains = "\n".join(
            f"chain {hook} {{ type nat hook {hook} priority -100; policy accept;\nmeta mark {MARK} accept\n{rule}\n}}"
            for hook in ("prerouting", "output")
        )
        return f"table inet {TABLE} {{\n{chains}\n}}\n"


def note(**values: object) -> None:
    """Write what was done, as a whole."""
    new = NOTES.with_suffix(".new")
    new.write_text(json.dumps(values))
    new.replace(NOTES)


def server_context(fault: dict[str, Any]) -> ssl.SSLContext:
    """Return what makes the proxy look like the service."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(fault["certificate"], fault["key"])
    return context


def client_context(fault: dict[str, Any]) -> ssl.SSLContext:
    """Return what checks the service: that it has the same authority."""
    context = ssl.create_default_context(cafile=fault["ca"])
    # The service is on this node; its names are those of the node.
    context.check_hostname = False
    return context


async def connect(fault: dict[str, Any]) -> Streams:
    """Connect to the service, past the rules."""
    raw = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    raw.setblocking(False)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    await asyncio.get_running_loop().sock_connect(raw, (fault["address"], fault["port"]))
    return await asyncio.open_connection(sock=raw)


async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Pass on what comes, to the end."""
    while data := await source.read(1 << 16):
        target.write(data)
        await target.drain()


async def serve(
    fault: dict[str, Any], session: Callable[[Streams], Awaitable[None]], context: ssl.SSLContext | None = None
) -> None:
    """Take connections until the process is ended; one that breaks ends alone."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await session((reader, writer))
        except (OSError, EOFError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            sys.stderr.write(f"event=connection_ended error={error!r}\n")
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(one, fault["address"], PORT, ssl=context)
    async with server:
        await server.serve_forever()
