"""Ports of this machine."""

from __future__ import annotations

import socket


def listens(port: int) -> bool:
    """Return whether a port of the loopback takes connections."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
