"""Packets from and to other nodes that are lost, all of them or a share."""

from __future__ import annotations

import json
import socket
from typing import Any

from drill_base import RefusedError, run

TABLE = "hapacs_drill"
ENOUGH_PACKETS = 500
CONNECT_S = 2


class Packets:
    """Drops packets from and to other nodes, by a table of its own in nftables."""

    def __init__(self, fault: dict[str, Any]) -> None:
        self.peers, self.ports = list(fault["peers"]), [str(port) for port in fault.get("ports", ())]
        self.ways = list(fault.get("ways", ("in", "out")))
        self.percent = int(fault.get("percent", 100))
        self.closed = [str(port) for port in fault.get("closed", ())]
        self.door = (str(fault["address"]), int(fault["port"])) if "address" in fault else None

    def plan(self) -> dict[str, Any]:
        """Return the rules."""
        if not self.peers:
            raise RefusedError("there is no other node to cut this one off from")
        peers, ports = ", ".join(self.peers), ", ".join(self.ports)
        rules: dict[str, Any] = {}
        for way, side in (("in", "saddr"), ("out", "daddr")):
            if way in self.ways:
                matches = [f"tcp {end} {{ {ports} }}" for end in ("sport", "dport")] if ports else [""]
                rules[way] = [f"ip {side} {{ {peers} }} {match}" for match in matches]
        if self.closed:
            # A router may have put its own address in place of a peer's. What the node sends to itself goes on.
            rules["in"].append(f'iifname != "lo" tcp dport {{ {", ".join(self.closed)} }}')
        return rules

    def apply(self, plan: dict[str, Any]) -> None:
        """Load the rules, ahead of every other table."""
        chains = "\n".join(
            f"chain {way} {{ type filter hook {way}put priority -300; policy accept;\n"
            + "\n".join(f"{rule} counter\n{rule} {self._share()} counter drop" for rule in rules)
            + "\n}"
            for way, rules in plan.items()
        )
        run("nft", "--file", "-", text=f"table inet {TABLE} {{\n{chains}\n}}\n")

    def _share(self) -> str:
        return f"numgen random mod 100 < {self.percent}" if self.percent < 100 else ""  # noqa: PLR2004 - all of them

    def proof(self, _plan: dict[str, Any]) -> str:
        """Return how many packets were dropped, or empty; a share is measured, and a port is tried."""
        if self.door and self._opens(*self.door):
            return ""
        listed = json.loads(run("nft", "--json", "list", "table", "inet", TABLE))["nftables"]
        rules = [entry["rule"]["expr"] for entry in listed if "rule" in entry]
        counts = [
            (part["counter"]["packets"], {"drop": None} in parts)
            for parts in rules
            for part in parts
            if "counter" in part
        ]
        seen = sum(packets for packets, drops in counts if not drops)
        dropped = sum(packets for packets, drops in counts if drops)
        said = f"{dropped} of {seen} packets from or to {', '.join(self.peers)} were dropped"
        if self.percent < 100:  # noqa: PLR2004 - all of them
            enough = seen >= ENOUGH_PACKETS and self.percent / 2 <= 100 * dropped / seen <= self.percent * 2
            return f"{said}, {100 * dropped / seen:.1f} %" if enough else ""
        if self.door:
            said += f"; {self.door[0]}:{self.door[1]} can't be reached"
        return said if dropped else ""

    @staticmethod
    def _opens(address: str, port: int) -> bool:
        """Return whether a connection is taken: an attempt also makes packets where nothing else is sent."""
        try:
            with socket.create_connection((address, port), CONNECT_S):
                return True
        except OSError:
            return False

    def undo(self, _plan: dict[str, Any]) -> None:
        """Remove the table."""
        run("nft", "--file", "-", text=f"table inet {TABLE} {{ }}\ndelete table inet {TABLE}\n")
