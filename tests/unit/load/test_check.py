"""The checker has to find every kind of wrong, each made once in an archive that is right otherwise."""

from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from hapacs.dicom import Sample, files, marks, read_sample
from hapacs.errors import HapacsError
from hapacs.load.check import Kind, Reason, Verdict, examine
from hapacs.load.evidence import Copies, Row, Rows
from hapacs.load.ledger import Entry, Instance, Ledger, Outcome, Series
from hapacs.load.mix import marked

WHOLE = Copies(("pacs1", "pacs2"), wanted=2)


def encoded(uid: str) -> bytes:
    return f"the data set of {uid}".encode()


# The checker compares data sets; what the head of the file names does not matter to it.
_HEAD = files.whole(CTImageStorage, "1.2.3", ExplicitVRLittleEndian, b"")


def file_of(uid: str) -> bytes:
    return _HEAD + encoded(uid)


def _alone(row: Row) -> Sequence[Row]:
    return [row]


class FakeArchive:
    """An archive that is right, except for what a test changes."""

    def __init__(self) -> None:
        self.missing_in_qido: set[str] = set()
        self.missing_in_c_find: set[str] = set()
        self.twice_in_qido: set[str] = set()
        self.contents: dict[str, bytes | None] = {}
        self.catalog: dict[str, Callable[[Row], Sequence[Row]]] = {}
        self.archived: dict[str, Copies | None] = {}
        self.levels: dict[str, int] = {}
        self.series_of: dict[str, list[str]] = {}

    def qido(self, series: Series) -> Iterator[str]:
        uids = self.series_of[series.uid]
        yield from (uid for uid in uids if uid not in self.missing_in_qido)
        yield from (uid for uid in uids if uid in self.twice_in_qido)

    def c_find(self, series: Series) -> Iterator[str]:
        return (uid for uid in self.series_of[series.uid] if uid not in self.missing_in_c_find)

    def rows(self, _series: Series, entries: Sequence[Entry]) -> Rows:
        found: dict[str, Sequence[Row]] = {}
        for entry in entries:
            uid = entry.sop_instance
            content = self.contents.get(uid) or file_of(uid)
            digest = hashlib.sha256(content).hexdigest()
            row = Row(digest, len(content), "cas", f"sha256/{uid}", 0, len(content))
            found[uid] = self.catalog.get(uid, _alone)(row)
        return Rows(found, **self.levels)

    def file(self, entry: Entry) -> bytes | None:
        return self.contents.get(entry.sop_instance, file_of(entry.sop_instance))

    def copies(self, rows: Sequence[Row]) -> Mapping[Row, Copies]:
        found = {row: self.archived.get(str(row.key).removeprefix("sha256/"), WHOLE) for row in rows}
        return {row: copies for row, copies in found.items() if copies is not None}


class World:
    """A ledger and the archive that it belongs to."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger, self.archive = ledger, FakeArchive()

    def store(self, uid: str, outcome: Outcome = "acknowledged", series: str = "1.2.3", **more: Any) -> None:
        digest = hashlib.sha256(encoded(uid)).hexdigest()
        instance = replace(Instance(uid, "1.2", series, "MADE", digest), **more)
        self.ledger.end(self.ledger.begin(instance, "C-STORE"), outcome)
        self.archive.series_of.setdefault(series, []).append(uid)

    def never_stored(self, uid: str, outcome: Outcome) -> None:
        self.store(uid, outcome)
        self.archive.series_of["1.2.3"].remove(uid)

    def check(self) -> Verdict:
        return examine(self.archive, self.ledger)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    made = World(ledger)
    for uid in ("1", "2", "3"):
        made.store(uid)
    yield made
    ledger.close()


def found(verdict: Verdict) -> list[tuple[str, Reason]]:
    return [(one.uid, one.reason) for one in verdict.problems]


def test_all_is_there(world: World) -> None:
    world.archive.series_of["1.2.3"].append("of another sender")
    verdict = world.check()
    assert verdict.ok
    assert verdict.document() == {
        "ok": True, "acknowledged": 3, "refused": 0, "unknown": 0, "kept": 0,
        "lost": 0, "corrupted": 0, "duplicated": 0, "unprotected": 0, "problems": [],
    }  # fmt: skip


def other(row: Row) -> Row:
    return replace(row, digest="0" * 64)


Break = Callable[[FakeArchive], object]
WRONG: dict[str, tuple[Break, Kind, list[Reason]]] = {
    "lost": (
        lambda a: vars(a).update(missing_in_qido={"2"}, missing_in_c_find={"2"}),
        "lost", [Reason.NOT_IN_QIDO, Reason.NOT_IN_C_FIND],
    ),
    "only C-FIND finds it": (lambda a: a.missing_in_qido.add("2"), "lost", [Reason.NOT_IN_QIDO]),
    "only QIDO-RS finds it": (lambda a: a.missing_in_c_find.add("2"), "lost", [Reason.NOT_IN_C_FIND]),
    "unreadable": (lambda a: a.contents.update({"2": None}), "lost", [Reason.UNREADABLE]),
    "other bytes": (
        lambda a: a.contents.update({"2": file_of("2")[:-1] + b"!"}), "corrupted", [Reason.OTHER_BYTES]
    ),
    "no DICOM file": (lambda a: a.contents.update({"2": b"zeros"}), "corrupted", [Reason.OTHER_BYTES]),
    "found twice": (lambda a: a.twice_in_qido.add("2"), "duplicated", [Reason.FOUND_TWICE]),
    "indexed twice": (
        lambda a: a.catalog.update({"2": lambda row: [row, row]}), "duplicated", [Reason.INDEXED_TWICE]
    ),
    "patient twice": (lambda a: a.levels.update(patients=2), "duplicated", [Reason.PATIENT_DOUBLED]),
    "study twice": (lambda a: a.levels.update(studies=2), "duplicated", [Reason.STUDY_DOUBLED]),
    "series twice": (lambda a: a.levels.update(series=2), "duplicated", [Reason.SERIES_DOUBLED]),
    "no catalog row": (
        lambda a: a.catalog.update({"2": lambda _: [Row(None)]}), "lost", [Reason.NOT_IN_CATALOG]
    ),
    "no file in the index": (lambda a: a.catalog.update({"2": lambda _: []}), "lost", [Reason.NOT_IN_CATALOG]),
    "removed in the catalog": (
        lambda a: a.catalog.update({"2": lambda row: [replace(row, removed=True)]}), "lost", [Reason.NOT_IN_CATALOG]
    ),
    "another digest in the catalog": (
        lambda a: a.catalog.update({"2": lambda row: [other(row)]}), "corrupted", [Reason.CATALOG_DIFFERS]
    ),
    "another size in the catalog": (
        lambda a: a.catalog.update({"2": lambda row: [replace(row, size=1, length=1)]}),
        "corrupted", [Reason.CATALOG_DIFFERS],
    ),
    "no place in the catalog": (
        lambda a: a.catalog.update({"2": lambda row: [replace(row, key=None)]}),
        "corrupted", [Reason.CATALOG_DIFFERS],
    ),
    "not in the archive": (lambda a: a.archived.update({"2": None}), "lost", [Reason.NOT_IN_ARCHIVE]),
    "no copy in the archive": (
        lambda a: a.archived.update({"2": Copies((), wanted=2)}), "lost", [Reason.NOT_IN_ARCHIVE]
    ),
    "no copy is known to be whole": (
        lambda a: a.archived.update({"2": Copies((), silent=("pacs1", "pacs2"), wanted=2)}),
        "lost", [Reason.NOT_IN_ARCHIVE],
    ),
    "one copy damaged": (
        lambda a: a.archived.update({"2": Copies(("pacs1",), damaged=("pacs3",), wanted=2)}),
        "corrupted", [Reason.ARCHIVE_DIFFERS],
    ),
    "all copies damaged": (
        lambda a: a.archived.update({"2": Copies((), damaged=("pacs1", "pacs3"), wanted=2)}),
        "corrupted", [Reason.ARCHIVE_DIFFERS],
    ),
    "one copy missing": (
        lambda a: a.archived.update({"2": Copies(("pacs1",), wanted=2)}), "unprotected", [Reason.COPY_MISSING]
    ),
    "both copies in one zone": (
        lambda a: a.archived.update({"2": replace(WHOLE, apart=False)}), "unprotected", [Reason.COPY_MISSING]
    ),
    "no lock": (
        lambda a: a.archived.update({"2": replace(WHOLE, lock="no retention")}), "unprotected", [Reason.NOT_LOCKED]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(WRONG))
def test_each_kind_of_wrong_is_found_and_nothing_else(world: World, name: str) -> None:
    change, kind, reasons = WRONG[name]
    change(world.archive)
    verdict = world.check()
    assert not verdict.ok
    uid = {"patient twice": "1.2", "study twice": "1.2", "series twice": "1.2.3"}.get(name, "2")
    assert found(verdict) == [(uid, reason) for reason in reasons]
    counts = {one: getattr(verdict, one) for one in ("lost", "corrupted", "duplicated", "unprotected")}
    assert counts == dict.fromkeys(counts, 0) | {kind: 1}
    assert verdict.document()["problems"][0] == {
        "uid": uid, "kind": kind, "reason": reasons[0].value, "detail": verdict.problems[0].detail,
    }  # fmt: skip


def test_every_reason_is_tried() -> None:
    assert {reason for _, _, reasons in WRONG.values() for reason in reasons} == set(Reason)


def test_copy_on_a_node_that_is_off_is_not_missed(world: World) -> None:
    world.archive.archived["2"] = Copies(("pacs1",), silent=("pacs2",), wanted=2)
    assert world.check().ok


@pytest.mark.parametrize("outcome", ["unknown", "refused"])
def test_what_was_not_acknowledged_may_be_missing(world: World, outcome: Outcome) -> None:
    world.never_stored("4", outcome)
    verdict = world.check()
    assert verdict.ok
    assert (getattr(verdict, outcome), verdict.kept) == (1, 0)


@pytest.mark.parametrize("outcome", ["unknown", "refused"])
@pytest.mark.parametrize("name", ["found twice", "other bytes", "one copy damaged", "only QIDO-RS finds it"])
def test_what_was_not_acknowledged_is_there_once_and_whole_or_not_at_all(
    world: World, outcome: Outcome, name: str
) -> None:
    for entry in list(world.ledger.entries()):
        assert entry.outcome == "acknowledged"
    world.store("2.1", outcome)
    verdict = world.check()
    assert (verdict.ok, verdict.kept) == (True, 1)
    change, _, reasons = WRONG[name]
    # The same break, on the instance that was not acknowledged.
    template = FakeArchive()
    change(template)
    for field, value in vars(template).items():
        if value and field != "series_of":
            moved = {"2.1"} if isinstance(value, set) else {"2.1": next(iter(value.values()))}
            setattr(world.archive, field, moved)
    if name == "other bytes":
        world.archive.contents["2.1"] = file_of("2.1")[:-1] + b"!"
    assert found(world.check()) == [("2.1", reason) for reason in reasons]


def test_nothing_acknowledged_is_an_error(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    World(ledger).store("1", "unknown")
    with pytest.raises(HapacsError, match="none can be checked"):
        examine(FakeArchive(), ledger)
    ledger.close()


def test_site_that_does_not_answer_ends_the_check(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_series: Series) -> Iterator[str]:
        raise HapacsError("No node leads the database.")

    monkeypatch.setattr(world.archive, "c_find", fail)
    with pytest.raises(HapacsError, match="No node leads"):
        world.check()


@pytest.fixture
def real(tmp_path: Path) -> Sample:
    """A real file in explicit VR, copied so that a test may change it."""
    for path in files.shipped_with_pydicom():
        if path.name == "CT_small.dcm":
            copied = tmp_path / path.name
            copied.write_bytes(path.read_bytes())
            sample = read_sample(copied)
            assert isinstance(sample, Sample)
            return sample
    raise AssertionError("pydicom ships no CT_small.dcm")


def store_real(world: World, sample: Sample, kept: bytes) -> None:
    """Store a file that the archive keeps as other bytes."""
    image = marked(sample)
    world.ledger.end(world.ledger.begin(image.instance, "C-STORE"), "acknowledged")
    world.archive.series_of[image.series] = [image.sop_instance]
    world.archive.contents[image.sop_instance] = kept


def test_real_file_that_was_encoded_again_has_to_have_equal_values(world: World, real: Sample) -> None:
    sent = marked(real)
    assert sent.patient.startswith(marks.LOAD)
    # Data Set Trailing Padding has no meaning.
    kept = files.whole(
        sent.sop_class,
        sent.sop_instance,
        sent.transfer_syntax,
        sent.dataset + bytes.fromhex("fcfffcff4f42000002000000 0000"),
    )
    store_real(world, real, kept)
    assert world.check().ok


def test_real_file_with_another_value_is_found(world: World, real: Sample) -> None:
    sent = marked(real)
    # Within the pixel data, which padding follows.
    changed = bytearray(sent.dataset)
    changed[-1000] ^= 1
    store_real(world, real, files.whole(sent.sop_class, sent.sop_instance, sent.transfer_syntax, bytes(changed)))
    verdict = world.check()
    assert found(verdict) == [(sent.sop_instance, Reason.OTHER_BYTES)]
    real.path.write_bytes(real.path.read_bytes()[:-1] + b"!")
    assert "is not what was sent any more" in world.check().problems[0].detail


def fill(ledger: Ledger, archive: FakeArchive, count: int) -> None:
    """Write many acknowledged instances in one transaction."""
    rows = [(f"9.{number}", f"9.9.{number // 100}") for number in range(count)]
    for uid, series in rows:
        archive.series_of.setdefault(series, []).append(uid)
    connection = ledger._connect()
    connection.execute("begin")
    connection.executemany(
        "insert into instance values (?, '1.2', ?, 'MADE', ?, '')",
        ((uid, series, hashlib.sha256(encoded(uid)).hexdigest()) for uid, series in rows),
    )
    connection.executemany(
        "insert into attempt (sop_instance, protocol, sent_at, ended_at, outcome) values (?, 'C-STORE', 1, 2, ?)",
        ((uid, "acknowledged") for uid, _ in rows),
    )
    connection.execute("commit")
    connection.close()


def peak(tmp_path: Path, count: int) -> tuple[int, Verdict]:
    """Return the memory that a check of so many instances needs at most, in bytes."""
    ledger, archive = Ledger(tmp_path / f"{count}.sqlite"), FakeArchive()
    fill(ledger, archive, count)
    archive.contents["9.77"] = None
    tracemalloc.start()
    try:
        verdict = examine(archive, ledger)
        return tracemalloc.get_traced_memory()[1], verdict
    finally:
        tracemalloc.stop()
        ledger.close()


def test_memory_does_not_grow_with_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # One thread of each kind: how many results wait to be taken depends on nothing but the program.
    monkeypatch.setattr("hapacs.load.check._SERIES", 1)
    monkeypatch.setattr("hapacs.load.check._READERS", 1)
    small, _ = peak(tmp_path, 1_000)
    large, verdict = peak(tmp_path, 10_000)
    assert (verdict.acknowledged, found(verdict)) == (10_000, [("9.77", Reason.UNREADABLE)])
    assert large < 1.5 * small
