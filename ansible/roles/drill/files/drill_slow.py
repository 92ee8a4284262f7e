"""A slow link: what this node sends to others is held back for a time.

The kernel of a lab has no netem, so the packets take a way through this program: nftables marks them, a rule routes
what is marked into a TUN device, and the program sends each packet on after its delay. When the program is gone, so is
the device, and the packets take their usual way.
"""

from __future__ import annotations

import fcntl
import heapq
import json
import os
import select
import socket
import statistics
import struct
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from drill_base import RefusedError, run

UNIT = "hapacs-drill-slow"
DEVICE = "hapacs-drill"
TABLE = "hapacs_drill"
ROUTES = "4711"
HELD, SENT = 0x4D11, 0x4D12
"""Marks of packets that are held back, and of those that were."""
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
PACKET_BYTES = 65536
QUEUE_PACKETS = "10000"
TRIES = 3
TIMEOUT_S = 5


class Slow:
    """Holds back what goes to other nodes."""

    def __init__(self, fault: dict[str, Any]) -> None:
        self.peers, self.port, self.delay_ms = list(fault["peers"]), int(fault["port"]), int(fault["delay_ms"])

    def plan(self) -> dict[str, Any]:
        """Measure the round trip before the fault."""
        if not self.peers:
            raise RefusedError("there is no other node to which the link could be slow")
        if not Path("/dev/net/tun").exists():
            raise RefusedError("this node has no /dev/net/tun, through which the packets would go")
        return {"before_ms": self._round_trip_ms()}

    def apply(self, _plan: dict[str, Any]) -> None:
        """Start the program, then lead the packets through it."""
        run(
            "systemd-run", "--quiet", "--collect", f"--unit={UNIT}", "--service-type=notify", "--property=Nice=-10",
            sys.executable, str(Path(__file__).resolve()), str(self.delay_ms),
        )  # fmt: skip
        way = json.loads(run("ip", "-json", "route", "get", self.peers[0]))[0]["dev"]
        mtu = str(json.loads(run("ip", "-json", "link", "show", "dev", way))[0]["mtu"])
        run("ip", "link", "set", DEVICE, "mtu", mtu, "txqueuelen", QUEUE_PACKETS, "up")
        run("ip", "route", "add", "default", "dev", DEVICE, "table", ROUTES)
        run("ip", "rule", "add", "fwmark", str(HELD), "lookup", ROUTES)
        chain = f"""table inet {TABLE} {{
chain out {{
type route hook output priority mangle; policy accept;
ip daddr {{ {", ".join(self.peers)} }} meta mark != {SENT} meta mark set {HELD}
}}
}}
"""
        run("nft", "--file", "-", text=chain)

    def proof(self, plan: dict[str, Any]) -> str:
        """Return by how much the round trip is longer, or empty."""
        now_ms = self._round_trip_ms()
        longer = now_ms - plan["before_ms"] >= 0.9 * self.delay_ms
        return f"a round trip takes {now_ms:.0f} ms instead of {plan['before_ms']:.1f} ms" if longer else ""

    def undo(self, _plan: dict[str, Any]) -> None:
        """Let the packets take their usual way, then end the program."""
        run("nft", "--file", "-", text=f"table inet {TABLE} {{ }}\ndelete table inet {TABLE}\n")
        if ROUTES in run("ip", "rule", "list"):
            run("ip", "rule", "delete", "fwmark", str(HELD), "lookup", ROUTES)
        # Its device and the routes through it go with it. Where it has ended by itself there is no such unit.
        subprocess.run(["systemctl", "stop", f"{UNIT}.service"], check=False, capture_output=True)

    def _round_trip_ms(self) -> float:
        """Return the median time in which the slowest of the nodes takes or refuses a connection."""
        return max(statistics.median(self._connects_ms(peer) for _ in range(TRIES)) for peer in self.peers)

    def _connects_ms(self, peer: str) -> float:
        begun = time.monotonic()
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as caller:
            caller.settimeout(TIMEOUT_S)
            caller.connect_ex((peer, self.port))
        return (time.monotonic() - begun) * 1000


class Delay:
    """Reads packets from a descriptor, and passes each on when its time has come."""

    def __init__(self, delay_s: float, source: int, way: socket.socket) -> None:
        self.delay_s, self.source, self.way = delay_s, source, way
        self.held: list[tuple[float, int, bytes]] = []
        self.number = 0

    def step(self) -> None:
        """Wait for a packet, or for the time of the first one that is held; pass on what is due."""
        wait_s = max(0.0, self.held[0][0] - time.monotonic()) if self.held else None
        if select.select([self.source], [], [], wait_s)[0]:
            packet = os.read(self.source, PACKET_BYTES)
            # Only IPv4 has a destination at this place.
            if packet[0] >> 4 == 4:  # noqa: PLR2004
                self.number += 1
                heapq.heappush(self.held, (time.monotonic() + self.delay_s, self.number, packet))
        while self.held and self.held[0][0] <= time.monotonic():
            packet = heapq.heappop(self.held)[2]
            # What can't be sent is lost, as on a link.
            with suppress(OSError):
                self.way.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))


def serve(delay_ms: int) -> None:
    """Make the device, tell systemd, and pass packets on until the end."""
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), IFF_TUN | IFF_NO_PI))
    way = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    way.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, SENT)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"].replace("@", "\0", 1))
    delay = Delay(delay_ms / 1000, device, way)
    while True:
        delay.step()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
