"""What a peer answers to a caller that it refuses (DICOM PS3.8 9.3.4)."""

from __future__ import annotations

from pynetdicom import AE, evt
from pynetdicom.pdu import A_ASSOCIATE_RJ
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]


def refusal(address: str, calling: str, called: str, port: int = 11112, within_s: float = 10) -> tuple[int, int, int]:
    """Ask for an association that is refused; return result, source and reason."""
    entity = AE(ae_title=calling)
    entity.acse_timeout = entity.connection_timeout = within_s
    entity.add_requested_context(Verification)
    refusals: list[A_ASSOCIATE_RJ] = []

    def note(event: evt.Event) -> None:
        if isinstance(event.pdu, A_ASSOCIATE_RJ):
            refusals.append(event.pdu)

    # Not `is_rejected`: a refusal that is faster than pynetdicom's own threads is taken for a peer that is not there.
    entity.associate(address, port, ae_title=called, evt_handlers=[(evt.EVT_PDU_RECV, note)])
    [answer] = [refusal.to_primitive() for refusal in refusals]
    assert answer.result is not None
    assert answer.result_source is not None
    assert answer.diagnostic is not None
    return answer.result, answer.result_source, answer.diagnostic
