"""The ledger that faults are judged by."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hapacs.load.ledger import Instance, Ledger, LedgerError, Outcome, Second, Series


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path / "ledger.sqlite")
    yield made
    made.close()


def instance(name: str, series: str = "1.2.3", digest: str = "d") -> Instance:
    return Instance(name, "1.2", series, "MADE", digest)


def add(ledger: Ledger, name: str, outcome: Outcome, at: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Record an attempt that ended at a moment, half a second after it was sent."""
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: at - 0.5)
        attempt = ledger.begin(instance(name), "C-STORE")
        patch.setattr(time, "time", lambda: at)
        ledger.end(attempt, outcome, "" if outcome == "acknowledged" else "reason")


def outcomes(ledger: Ledger) -> dict[str, tuple[str, int]]:
    return {entry.sop_instance: (entry.outcome, entry.attempts) for entry in ledger.entries()}


def test_instance_is_on_disk_before_it_is_sent_and_unknown_until_its_answer(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path)
    attempt = ledger.begin(instance("1", digest="abc"), "C-STORE")
    # Not closed: another process would see the same after the sender was killed.
    with sqlite3.connect(path) as other:
        assert other.execute("select sop_instance, digest, outcome from entry").fetchall() == [("1", "abc", "unknown")]
    ledger.end(attempt, "acknowledged")
    with sqlite3.connect(path) as other:
        assert other.execute("select outcome from entry").fetchall() == [("acknowledged",)]
    ledger.close()


def test_every_commit_is_flushed(ledger: Ledger) -> None:
    connection = ledger._connect()
    assert connection.execute("pragma synchronous").fetchone() == (2,)
    connection.close()


def test_outcome_of_an_instance_is_the_best_that_is_known(ledger: Ledger) -> None:
    series: dict[str, list[Outcome]] = {
        "acknowledged at last": ["refused", "unknown", "acknowledged"],
        "perhaps stored": ["refused", "unknown", "refused"],
        "refused": ["refused", "refused"],
    }
    for name, attempts in series.items():
        for outcome in attempts:
            ledger.end(ledger.begin(instance(name), "C-STORE"), outcome)
    ledger.not_sent(instance("not sent"), "STOW-RS", "no association")
    assert outcomes(ledger) == {
        "acknowledged at last": ("acknowledged", 3), "perhaps stored": ("unknown", 3), "refused": ("refused", 2),
        "not sent": ("refused", 1),
    }  # fmt: skip
    assert ledger.counts() == {"acknowledged": 1, "unknown": 1, "refused": 2}
    assert "no association" in [reason for _, reason in ledger.reasons()]


def test_other_bytes_under_the_same_uid_are_refused_and_harm_no_other_thread(ledger: Ledger) -> None:
    ledger.begin(instance("1", digest="a"), "C-STORE")
    with pytest.raises(LedgerError, match="other bytes of 1"):
        ledger.begin(instance("1", digest="b"), "C-STORE")
    ledger.begin(instance("2"), "C-STORE")
    assert outcomes(ledger) == {"1": ("unknown", 1), "2": ("unknown", 1)}


def test_threads_share_their_commits_and_lose_none(ledger: Ledger) -> None:
    def work(number: int) -> None:
        for place in range(25):
            ledger.end(ledger.begin(instance(f"{number}.{place}"), "C-STORE"), "acknowledged")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.counts() == {"acknowledged": 200, "refused": 0, "unknown": 0}


def test_entries_come_by_series(ledger: Ledger) -> None:
    for name, series in (("1", "s1"), ("2", "s2"), ("3", "s1")):
        ledger.begin(instance(name, series), "C-STORE")
    assert list(ledger.series()) == [Series("1.2", "s1", "MADE"), Series("1.2", "s2", "MADE")]
    assert [entry.sop_instance for entry in ledger.entries(Series("1.2", "s1", "MADE"))] == ["1", "3"]


def test_gaps_are_measured_from_the_fault_to_the_end(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    for at in (10.0, 11.0, 15.0, 16.0):
        add(ledger, str(at), "acknowledged", at, monkeypatch)
    add(ledger, "refused in the gap", "refused", 13.0, monkeypatch)
    assert ledger.longest_gap(10, 16) == 4
    assert ledger.longest_gap(15, 30) == 14
    assert ledger.longest_gap(5, 11) == 5
    assert ledger.longest_gap(20, 30) == 10


def test_no_second_is_left_out(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes: list[tuple[str, Outcome, float]] = [
        ("1", "acknowledged", 10.1), ("2", "acknowledged", 10.9), ("3", "refused", 10.9), ("4", "unknown", 12.2),
    ]  # fmt: skip
    for name, outcome, at in outcomes:
        add(ledger, name, outcome, at, monkeypatch)
    assert ledger.per_second(10, 13) == [Second(10, 2, 1, 0), Second(11), Second(12, 0, 0, 1), Second(13)]


def test_the_ledger_outlives_its_process(tmp_path: Path) -> None:
    first = Ledger(tmp_path / "ledger.sqlite")
    first.end(first.begin(instance("1"), "C-STORE"), "acknowledged")
    first.close()
    again = Ledger(tmp_path / "ledger.sqlite")
    assert outcomes(again) == {"1": ("acknowledged", 1)}
    again.close()


def test_file_that_is_no_ledger_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as other:
        other.execute("create table acknowledged (sop_instance text)")
    with pytest.raises(LedgerError, match="no ledger of version"):
        Ledger(path)
    path = tmp_path / "text"
    path.write_text("not a database, but long enough to be taken for one " * 100)
    with pytest.raises(LedgerError, match="can't be used as a ledger"):
        Ledger(path)


def test_ledger_that_cannot_be_written_says_so(ledger: Ledger, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "ledger.sqlite") as other:
        other.execute("drop view entry")
        other.execute("drop table attempt")
    with pytest.raises(LedgerError, match="can't be written: no such table"):
        ledger.begin(instance("1"), "C-STORE")
