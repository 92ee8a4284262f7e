"""The ledger that faults are judged by has to be able to find a loss."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest
from pydicom.uid import CTImageStorage
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_STORE

from hapacs.dicom import Caller, Peer
from hapacs.load.ledger import Entry, Ledger, missing
from hapacs.load.modality import Sender
from hapacs.load.waiting import eventually


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path / "ledger.sqlite")
    yield made
    made.close()


def entry(name: str, acknowledged_at: float = 0, content: bytes = b"bytes") -> Entry:
    return Entry(
        name, "1.2", "1.2.3", "MADE", hashlib.sha256(content).hexdigest(), acknowledged_at - 0.1, acknowledged_at
    )


class FakeArchive:
    def __init__(self, contents: dict[str, bytes], twice: tuple[str, ...] = ()) -> None:
        self.contents, self.twice = contents, twice

    def instances(self, _study: str, _series: str) -> list[str]:
        return [*self.contents, *self.twice]

    def dataset_bytes(self, entry: Entry) -> bytes | None:
        return self.contents.get(entry.sop_instance)


def test_nothing_is_missing() -> None:
    assert missing([entry("1"), entry("2")], FakeArchive({"1": b"bytes", "2": b"bytes", "9": b"other"})) == []


def test_a_lost_instance_is_found() -> None:
    assert missing([entry("1"), entry("2")], FakeArchive({"1": b"bytes"})) == [
        "2 is found 0 times instead of once",
        "2 can't be read",
    ]


def test_an_instance_that_is_there_twice_is_found() -> None:
    assert missing([entry("1")], FakeArchive({"1": b"bytes"}, ("1",))) == ["1 is found 2 times instead of once"]


def test_other_bytes_are_found() -> None:
    assert missing([entry("1")], FakeArchive({"1": b"bytez"})) == ["1 has other bytes"]


def test_an_empty_ledger_is_an_error() -> None:
    with pytest.raises(ValueError, match="none can be checked"):
        missing([], FakeArchive({}))


def test_gaps_are_measured_from_the_fault_to_the_end(ledger: Ledger) -> None:
    for moment in (10.0, 11.0, 15.0, 16.0):
        ledger.record(entry(str(moment), moment))
    assert ledger.longest_gap(10, 16) == 4
    assert ledger.longest_gap(15, 30) == 14
    assert ledger.longest_gap(5, 11) == 5
    assert ledger.longest_gap(20, 30) == 10


def test_the_first_store_after_a_fault_was_also_sent_after_it(ledger: Ledger) -> None:
    ledger.record(entry("sent before", 10.05))
    ledger.record(entry("sent after", 12.0))
    found = ledger.first_after(10.0)
    assert found is not None
    assert found.sop_instance == "sent after"
    assert ledger.first_after(13.0) is None


def test_the_ledger_outlives_its_process(tmp_path: Path) -> None:
    first = Ledger(tmp_path / "ledger.sqlite")
    first.record(entry("1", 5.0))
    first.close()
    again = Ledger(tmp_path / "ledger.sqlite")
    assert again.entries() == [entry("1", 5.0)]
    again.close()


@contextmanager
def modality_peer(answer: Callable[[int], int]) -> Iterator[tuple[Peer, dict[str, bytes]]]:
    """Run an SCP; `answer` maps the number of a request to its status."""
    stored: dict[str, bytes] = {}
    count = 0

    def store(event: evt.Event) -> int:
        nonlocal count
        count += 1
        status = answer(count)
        if status == 0:
            uid = str(cast(C_STORE, event.request).AffectedSOPInstanceUID)
            stored[uid] = event.encoded_dataset(include_meta=False)
        return status

    entity = AE(ae_title="HAPACS")
    entity.add_supported_context(CTImageStorage, "1.2.840.10008.1.2.1")
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    assert server is not None
    try:
        yield Peer("127.0.0.1", server.server_address[1], "HAPACS", 3), stored
    finally:
        server.shutdown()


def test_refused_images_are_sent_again_and_only_acknowledged_ones_recorded(ledger: Ledger) -> None:
    with modality_peer(lambda count: 0xA700 if count in {2, 3} else 0) as (peer, stored):
        with Sender(
            Caller("MODALITY"), peer, ledger, threads=1, rows=16, images_per_association=3, pause_s=0.05
        ) as sender:
            eventually("six images are acknowledged", lambda: len(ledger.entries()) >= 6, 10, 0.05)
        entries = ledger.entries()
    assert {entry.sop_instance: entry.digest for entry in entries} == {
        uid: hashlib.sha256(content).hexdigest() for uid, content in stored.items()
    }
    assert entries[1].attempts == 3
    assert [entry.attempts for entry in entries[2:]] == [1] * (len(entries) - 2)
    assert len(sender.failures) == 2


def test_sender_retries_until_a_peer_answers(ledger: Ledger) -> None:
    with modality_peer(lambda _: 0) as (peer, _):
        gone = Peer(peer.host, 1, peer.ae_title, 1)
        begun = time.time()
        with Sender(Caller("MODALITY"), gone, ledger, threads=1, rows=16, pause_s=0.05) as sender:
            eventually("two attempts fail", lambda: len(sender.failures) >= 2, 10, 0.05)
    assert ledger.entries() == []
    assert ledger.longest_gap(begun, begun + 1) == 1
