"""The balancer under test: its answers to callers, and its administration socket."""

from __future__ import annotations

from typing import Any

from pynetdicom import AE, evt
from pynetdicom.pdu import A_ASSOCIATE_RJ
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]


def refusal(address: str, calling: str, called: str) -> tuple[int, int, int]:
    """Ask for an association that is refused; return result, source and reason."""
    entity = AE(ae_title=calling)
    entity.acse_timeout = entity.connection_timeout = 10
    entity.add_requested_context(Verification)
    refusals: list[A_ASSOCIATE_RJ] = []

    def note(event: evt.Event) -> None:
        if isinstance(event.pdu, A_ASSOCIATE_RJ):
            refusals.append(event.pdu)

    # Not `is_rejected`: a refusal that is faster than pynetdicom's own threads is taken for a peer that is not there.
    entity.associate(address, 11112, ae_title=called, evt_handlers=[(evt.EVT_PDU_RECV, note)])
    [answer] = [refusal.to_primitive() for refusal in refusals]
    assert answer.result is not None
    assert answer.result_source is not None
    assert answer.diagnostic is not None
    return answer.result, answer.result_source, answer.diagnostic


def command(host: Any, text: str) -> str:
    """Send a command to HAProxy's socket, and return the answer."""
    script = "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect('/run/haproxy/admin.sock'); "
    script += "s.sendall(sys.argv[1].encode() + b'\\n'); print(s.makefile().read())"
    answer: str = host.check_output("python3 -c %s %s", script, text)
    return answer
