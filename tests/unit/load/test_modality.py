"""Senders that repeat: what arrives, what the ledger says of it, and when they stop."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast

import httpx
import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, SecondaryCaptureImageStorage
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_STORE

from hapacs.dicom import Caller, Peer, files, multipart
from hapacs.load.connections import CStore, Stow
from hapacs.load.ledger import Ledger, LedgerError
from hapacs.load.mix import made_images
from hapacs.load.modality import Sender
from hapacs.load.waiting import eventually

SMALL = made_images({"ct": 1}, rows=16)
CALLER = Caller("MODALITY")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path / "ledger.sqlite")
    yield made
    made.close()


@contextmanager
def modality_peer(answer: Callable[[evt.Event, int], int]) -> Iterator[tuple[Peer, dict[str, bytes]]]:
    """Run an SCP; `answer` maps a request and its number to its status."""
    stored: dict[str, bytes] = {}
    count = 0

    def store(event: evt.Event) -> int:
        nonlocal count
        count += 1
        status = answer(event, count)
        if status == 0:
            uid = str(cast(C_STORE, event.request).AffectedSOPInstanceUID)
            stored[uid] = event.encoded_dataset(include_meta=False)
        return status

    entity = AE(ae_title="HAPACS")
    entity.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    assert server is not None
    try:
        yield Peer("127.0.0.1", server.server_address[1], "HAPACS", 3), stored
    finally:
        server.shutdown()


def digests(ledger: Ledger) -> dict[str, str]:
    return {entry.sop_instance: entry.digest for entry in ledger.entries() if entry.outcome == "acknowledged"}


def hashed(stored: dict[str, bytes]) -> dict[str, str]:
    return {uid: hashlib.sha256(content).hexdigest() for uid, content in stored.items()}


def test_refused_images_are_sent_again_and_only_acknowledged_ones_count(ledger: Ledger) -> None:
    with (
        modality_peer(lambda _, count: 0xA700 if count in {2, 3} else 0) as (peer, stored),
        Sender([CStore(CALLER, peer)], ledger, SMALL, limit=6, images_per_connection=3, pause_s=0.05) as sender,
    ):
        eventually("six images are acknowledged", lambda: not sender.running, 20, 0.05)
    assert len(stored) == 6
    assert digests(ledger) == hashed(stored)
    assert sorted(entry.attempts for entry in ledger.entries()) == [1, 1, 1, 1, 1, 3]
    assert [reason for _, reason in ledger.reasons()] == ["status 0xA700"] * 2


def test_lost_answer_is_unknown_and_the_same_instance_is_sent_again(ledger: Ledger) -> None:
    asked: list[str] = []

    def answer(event: evt.Event, count: int) -> int:
        asked.append(str(cast(C_STORE, event.request).AffectedSOPInstanceUID))
        if count == 1:
            event.assoc.abort()
        return 0

    with (
        modality_peer(answer) as (peer, _),
        Sender([CStore(CALLER, peer)], ledger, SMALL, limit=2, pause_s=0.05) as sender,
    ):
        eventually("both images are acknowledged", lambda: not sender.running, 20, 0.05)
    assert asked[0] == asked[1]
    attempts = {entry.sop_instance: entry.attempts for entry in ledger.entries()}
    assert attempts == {asked[0]: 2, asked[2]: 1}
    assert ledger.counts()["acknowledged"] == 2
    assert len(ledger.reasons()) == 1


def test_lost_answer_stays_unknown_when_the_sender_stops(ledger: Ledger) -> None:
    def answer(event: evt.Event, _count: int) -> int:
        event.assoc.abort()
        return 0

    with modality_peer(answer) as (peer, _), Sender([CStore(CALLER, peer)], ledger, SMALL, pause_s=0.05):
        eventually("an answer is lost", ledger.reasons, 20, 0.05)
    assert ledger.counts() == {"acknowledged": 0, "refused": 0, "unknown": 1}


def test_sender_retries_until_a_peer_answers_and_nothing_sent_is_refused(ledger: Ledger) -> None:
    gone = CStore(CALLER, Peer("127.0.0.1", 1, "HAPACS", 1))
    with Sender([gone], ledger, SMALL, pause_s=0.05):
        eventually("two attempts fail", lambda: len(ledger.reasons()) >= 2, 10, 0.05)
    (entry,) = ledger.entries()
    assert entry.outcome == "refused"
    assert entry.attempts >= 2


def test_image_that_would_be_refused_again_is_not_repeated(ledger: Ledger) -> None:
    with modality_peer(lambda *_: 0xC000) as (peer, _):
        with Sender([CStore(CALLER, peer)], ledger, SMALL, limit=3, pause_s=0.05) as sender:
            eventually("three images are refused", lambda: not sender.running, 20, 0.05)
        kinds = [(CTImageStorage, ExplicitVRLittleEndian), (SecondaryCaptureImageStorage, ExplicitVRLittleEndian)]
        reports = made_images({"sr": 1})
        with Sender([CStore(CALLER, peer, kinds)], ledger, reports, limit=1, pause_s=0.05) as sender:
            eventually("the report is refused", lambda: not sender.running, 20, 0.05)
    assert ledger.counts() == {"acknowledged": 0, "refused": 4, "unknown": 0}
    assert {entry.attempts for entry in ledger.entries()} == {1}
    assert "not accepted in negotiation" in ledger.reasons()[-1][1]


def test_limit_holds_over_all_connections(ledger: Ledger) -> None:
    with (
        modality_peer(lambda *_: 0) as (peer, stored),
        Sender([CStore(CALLER, peer)] * 3, ledger, SMALL, limit=10) as sender,
    ):
        eventually("all are sent", lambda: not sender.running, 20, 0.05)
    assert len(stored) == 10


def test_ledger_that_fails_stops_the_sender(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise LedgerError("The disk is full.")

    monkeypatch.setattr(ledger, "begin", fail)
    with (
        modality_peer(lambda *_: 0) as (peer, stored),
        pytest.raises(LedgerError, match="disk is full"),
        Sender([CStore(CALLER, peer)], ledger, SMALL) as sender,
    ):
        eventually("it stops", lambda: not sender.running, 20, 0.05)
    assert stored == {}, "an image was sent that the ledger does not have"


@contextmanager
def web(answers: list[tuple[int, bytes]]) -> Iterator[tuple[Stow, list[bytes]]]:
    """Run a STOW-RS server that gives one answer after the other, and then the last one; 0 closes the connection."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            bodies.append(multipart.decode(self.headers["Content-Type"], body)[0])
            status, content = answers[min(len(bodies), len(answers)) - 1]
            if not status:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        yield Stow(lambda: httpx.Client(base_url=url, timeout=5)), bodies
    finally:
        server.shutdown()
        server.server_close()


STORED = (200, json.dumps({"00081199": {"vr": "SQ", "Value": [{}]}}).encode())
FAILED = (200, json.dumps({"00081198": {"vr": "SQ", "Value": [{}]}}).encode())


def test_stow_sends_whole_files(ledger: Ledger) -> None:
    with web([STORED]) as (stow, bodies), Sender([stow], ledger, SMALL, limit=3) as sender:
        eventually("all are sent", lambda: not sender.running, 20, 0.05)
    kept = {str(files.decode(body).SOPInstanceUID): files.split(body) for body in bodies}
    assert digests(ledger) == hashed(kept)
    assert len(kept) == 3


@pytest.mark.parametrize(
    ("answer", "outcome", "repeated"),
    [
        ((503, b""), "refused", True),
        ((500, b""), "refused", True),
        (FAILED, "refused", True),
        ((400, b""), "refused", False),
        # The request may have been carried out.
        ((502, b""), "unknown", True),
        ((504, b""), "unknown", True),
        ((0, b""), "unknown", True),
        ((200, b"<html>"), "unknown", True),
    ],
)
def test_answer_of_stow_has_its_class(
    ledger: Ledger, answer: tuple[int, bytes], outcome: str, *, repeated: bool
) -> None:
    with web([answer]) as (stow, bodies), Sender([stow], ledger, SMALL, limit=1, pause_s=0.02) as sender:
        eventually("it is answered", lambda: len(bodies) > 1 if repeated else not sender.running, 20, 0.02)
    (entry,) = ledger.entries()
    assert entry.outcome == outcome
    assert (entry.attempts > 1) == repeated


def test_stow_that_is_not_reached_is_refused(ledger: Ledger) -> None:
    stow = Stow(lambda: httpx.Client(base_url="http://127.0.0.1:1/", timeout=1))
    with Sender([stow], ledger, SMALL, pause_s=0.02):
        eventually("an attempt fails", ledger.reasons, 10, 0.02)
    assert ledger.counts() == {"acknowledged": 0, "refused": 1, "unknown": 0}
