"""Packets from and to other nodes that are lost, all of them or a share."""

from __future__ import annotations

import json
from typing import Any

from drill_base import RefusedError, run

TABLE = "hapacs_drill"
ENOUGH_PACKETS = 500


class Packets:
    """Drops packets from and to other nodes, by a table of its own in nftables."""

    def __init__(self, fault: dict[str, Any]) -> None:
        self.peers, self.ports = list(fault["peers"]), [str(port) for port in fault.get("ports", ())]
        self.ways = list(fault.get("ways", ("in", "out")))
        self.percent = int(fault.get("percent", 100))

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
        """Return how many packets were dropped, or empty; a share is measured."""
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
        return said if dropped else ""

    def undo(self, _plan: dict[str, Any]) -> None:
        """Remove the table."""
        run("nft", "--file", "-", text=f"table inet {TABLE} {{ }}\ndelete table inet {TABLE}\n")
