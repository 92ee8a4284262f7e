"""The balancer under test: its administration socket."""

from __future__ import annotations

from typing import Any


def command(host: Any, text: str) -> str:
    """Send a command to HAProxy's socket, and return the answer."""
    script = "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect('/run/haproxy/admin.sock'); "
    script += "s.sendall(sys.argv[1].encode() + b'\\n'); print(s.makefile().read())"
    answer: str = host.check_output("python3 -c %s %s", script, text)
    return answer
