"""A process whose index waits for a former leader of the database ends itself."""

from __future__ import annotations

import os
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from hapacs_node.index_guard import answers_at
from tests.unit.node import guarded

PROCESS = """
import sys, time
from hapacs_node.errors import CatalogUnavailableError
from hapacs_node.index_guard import IndexGuard

def connected():
    if sys.argv[2] == "no leader":
        raise CatalogUnavailableError("no leader")
    return sys.argv[2] == "connected"

silent_until = time.monotonic() + float(sys.argv[1])
IndexGuard(lambda: time.monotonic() > silent_until, connected, patience_s=1.0, period_s=0.05).start()
time.sleep(2.5)
print("goes on")
"""


def test_a_process_without_a_session_at_the_leader_ends_when_its_index_hangs() -> None:
    guarded.assert_ended(guarded.run(PROCESS, 60, "not connected"), os.EX_UNAVAILABLE, "event=index_hangs")


@pytest.mark.parametrize(("silent_s", "leader"), [(0.3, "not connected"), (60, "connected"), (60, "no leader")])
def test_a_slow_index_or_a_missing_leader_ends_no_process(silent_s: float, leader: str) -> None:
    guarded.assert_goes_on(guarded.run(PROCESS, silent_s, leader))


class _Orthanc(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(503 if self.path.startswith("/studies?") else 404)
        self.end_headers()


def test_any_answer_counts_and_silence_does_not() -> None:
    server = HTTPServer(("127.0.0.1", 0), _Orthanc)
    threading.Thread(target=server.handle_request, daemon=True).start()
    assert answers_at(server.server_port)
    server.server_close()
    assert answers_at(server.server_port), "a port that refuses belongs to a service that starts or stops"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not answers_at(silent.getsockname()[1], timeout_s=0.2)
