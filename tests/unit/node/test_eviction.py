"""Making room: what may go, in which order, and that nothing goes that only this DAS has."""

import itertools
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.exceptions import GenericError

from hapacs_node.catalog.index import Attachment
from hapacs_node.catalog.objects import StoredObject
from hapacs_node.errors import CasUnavailableError, CatalogUnavailableError
from hapacs_node.metrics import Metrics
from hapacs_node.settings import Das as DasSettings
from hapacs_node.settings import Eviction as Limits
from hapacs_node.storage import eviction as eviction_module
from hapacs_node.storage import names
from hapacs_node.storage.cas import Cas
from hapacs_node.storage.confirmation import Confirmation
from hapacs_node.storage.das import USE_GRAIN_S, Das
from hapacs_node.storage.eviction import Ages, Cut, Eviction
from hapacs_node.storage.gateways import Gateway, Gateways
from hapacs_node.storage.shelves import COUNT, Shelves
from tests.unit.node.fakes import FakeBucket, FakeCatalog, FakeClient

HOUR, DAY = 3600, 86400
DICOM, UNTIL_PIXEL_DATA, AS_JSON = 1, 3, 2


@dataclass
class Bench:
    """A DAS, an archive and a catalog, and what is needed to put copies there."""

    root: Path
    minimum_age_s: int = DAY
    deadline_s: float = 1.0
    metrics: Metrics = field(default_factory=Metrics)
    bucket: FakeBucket = field(default_factory=FakeBucket)
    catalog: FakeCatalog = field(default_factory=FakeCatalog)
    workers: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(4))

    def __post_init__(self) -> None:
        self.clients = [FakeClient(self.bucket), FakeClient(self.bucket)]
        members = [Gateway(f"https://gateway{number}:8333", client) for number, client in enumerate(self.clients)]
        self.cas = Cas(Gateways(members, self.metrics, sleep=lambda _: None), self.deadline_s, self.metrics)
        self.das = Das(DasSettings(root=self.root, minimum_free_bytes=0, must_be_mount=False), self.metrics)
        limits = Limits(below_free_bytes=1, until_free_bytes=2, minimum_age_s=self.minimum_age_s)
        self.eviction = Eviction(
            Shelves(self.das), Confirmation(self.cas, self.catalog, self.workers), limits, self.metrics
        )

    def put(self, content: bytes, age_s: float, *, archived: bool = True, noted: bool = True) -> str:
        """Put an object on the DAS that was last used so long ago."""
        digest = names.digest_of(content)
        key = names.cas_key(digest)
        self.das.write(digest, content)
        self.age(self.file(digest), age_s)
        if archived:
            self.bucket.objects[key] = (content, digest)
        if noted:
            uuid, size = uuid4(), len(content)
            self.catalog.rows[uuid] = StoredObject(uuid, digest, size, DICOM, "cas", key, 0, size, "pacs1")
        return digest

    def put_derived(self, parent: str | None, age_s: float, *, kind: int = UNTIL_PIXEL_DATA) -> UUID:
        """Put a derived attachment on the DAS."""
        uuid = uuid4()
        self.das.write_derived(uuid, b"header")
        self.age(self.derived_file(uuid), age_s)
        if parent is not None:
            row = next(row for row in self.catalog.rows.values() if row.digest == parent)
            attachments = (Attachment(uuid, kind, 6, 1, ""), Attachment(row.uuid, DICOM, row.size, 1, ""))
            self.catalog.parents_of[uuid] = attachments
        return uuid

    def file(self, digest: str) -> Path:
        return self.root.joinpath(*names.das_path(digest))

    def derived_file(self, uuid: UUID) -> Path:
        return self.root.joinpath(*names.derived_path(uuid))

    @staticmethod
    def age(file: Path, age_s: float) -> None:
        moment = time.time() - age_s
        os.utime(file, (moment, moment))

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


@pytest.fixture
def bench(root: Path) -> Iterator[Bench]:
    bench = Bench(root)
    yield bench
    bench.workers.shutdown()


def test_the_least_recently_used_go_first_and_no_more_than_needed(bench: Bench) -> None:
    digests = [bench.put(os.urandom(1000), age_s=days * DAY) for days in range(1, 21)]
    outcome = bench.eviction.run(3000)
    assert outcome is not None
    assert (outcome.freed_bytes, outcome.objects, outcome.unconfirmed) == (3000, 3, 0)
    assert [digest for digest in digests if not bench.file(digest).exists()] == digests[-3:]
    assert bench.count("hapacs_das_evicted_total", kind="object") == 3
    assert bench.count("hapacs_das_evicted_bytes_total", kind="object") == 3000
    assert bench.count("hapacs_das_eviction_short_bytes") == 0


def test_what_is_read_counts_as_used_and_reading_again_soon_writes_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, goes = (bench.put(os.urandom(1000), age_s=age * DAY) for age in (30, 20))
    stored_at = bench.file(kept).stat().st_mtime
    bench.das.read(kept, 1000)
    assert time.time() - bench.file(kept).stat().st_atime < HOUR
    assert bench.file(kept).stat().st_mtime == pytest.approx(stored_at)
    monkeypatch.setattr(os, "utime", lambda *_, **__: pytest.fail("the time was written again"))
    bench.das.read(kept, 1000)
    monkeypatch.undo()
    bench.eviction.run(1000)
    assert bench.file(kept).exists()
    assert not bench.file(goes).exists()


def test_a_time_that_can_not_be_noted_keeps_nobody_from_reading(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = bench.put(b"image", age_s=30 * DAY)

    def fail(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "utime", fail)
    assert bench.das.read(digest, 5) == b"image"


def test_nothing_below_the_minimum_age_goes_however_full_it_is(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    young = [bench.put(os.urandom(1000), age_s=DAY - HOUR) for _ in range(5)]
    old = bench.put(os.urandom(1000), age_s=DAY + HOUR)
    outcome = bench.eviction.run(100_000)
    assert outcome is not None
    assert (outcome.freed_bytes, outcome.objects) == (1000, 1)
    assert not bench.file(old).exists()
    assert all(bench.file(digest).exists() for digest in young)
    assert bench.count("hapacs_das_eviction_short_bytes") == 99_000
    assert "das eviction short" in caplog.text


def test_what_the_archive_does_not_have_stays_and_others_go_in_its_place(bench: Bench) -> None:
    only_here = bench.put(os.urandom(1000), age_s=40 * DAY, archived=False)
    others = [bench.put(os.urandom(1000), age_s=days * DAY) for days in (20, 10)]
    outcome = bench.eviction.run(1500)
    assert outcome is not None
    assert (outcome.freed_bytes, outcome.unconfirmed) == (2000, 1)
    assert bench.file(only_here).exists()
    assert not any(bench.file(digest).exists() for digest in others)
    assert bench.count("hapacs_das_eviction_refused_total") == 1


def test_the_archive_is_asked_even_when_the_catalog_is_sure(bench: Bench) -> None:
    digest = bench.put(b"image", age_s=40 * DAY)
    bench.bucket.objects.clear()
    outcome = bench.eviction.run(5)
    assert outcome is not None
    assert outcome.freed_bytes == 0
    assert bench.file(digest).exists()
    assert ("head", names.cas_key(digest)) in bench.clients[0].requests
    assert ("head", names.cas_key(digest)) in bench.clients[1].requests


@pytest.mark.parametrize(
    ("stored", "goes"),
    [
        ((b"image", names.digest_of(b"image")), True),
        ((b"image", None), True),
        ((b"imag", names.digest_of(b"image")), False),
        ((b"image and more", names.digest_of(b"image")), False),
        ((b"IMAGE", names.digest_of(b"IMAGE")), False),
        ((b"IMAGE", None), False),
    ],
    ids=["whole", "no digest noted", "short", "long", "other bytes", "other bytes, no digest noted"],
)
def test_size_and_digest_of_the_archive_copy_have_to_be_right(
    bench: Bench, stored: tuple[bytes, str | None], goes: bool
) -> None:
    digest = bench.put(b"image", age_s=40 * DAY)
    bench.bucket.objects[names.cas_key(digest)] = stored
    bench.eviction.run(5)
    assert bench.file(digest).exists() is not goes


def test_every_place_that_the_catalog_names_has_to_hold_it(bench: Bench) -> None:
    digest = bench.put(b"image", age_s=40 * DAY)
    uuid = uuid4()
    bench.catalog.rows[uuid] = StoredObject(uuid, digest, 5, DICOM, "cas", "packs/1", 2, 5, "pacs1")
    bench.eviction.run(5)
    assert bench.file(digest).exists()
    bench.bucket.objects["packs/1"] = (b"  image  ", None)
    bench.eviction._refused.clear()
    bench.eviction.run(5)
    assert not bench.file(digest).exists()


def test_an_archive_or_catalog_that_does_not_answer_stops_it(bench: Bench) -> None:
    digest = bench.put(b"image", age_s=40 * DAY)
    for client in bench.clients:
        client.always = GenericError("connection refused")
    with pytest.raises(CasUnavailableError):
        bench.eviction.run(5)
    for client in bench.clients:
        client.always = None
    bench.catalog.fault = CatalogUnavailableError("no leader")
    with pytest.raises(CatalogUnavailableError):
        bench.eviction.run(5)
    assert bench.file(digest).exists()


def test_one_gateway_that_knows_nothing_is_not_believed(bench: Bench) -> None:
    digest = bench.put(b"image", age_s=40 * DAY)
    bench.clients[0].always = FileNotFoundError("no such key")
    bench.eviction.run(5)
    assert not bench.file(digest).exists()


def test_derived_attachments_go_when_they_can_be_made_again(bench: Bench) -> None:
    parent = bench.put(b"image", age_s=HOUR)
    unarchived = bench.put(b"other", age_s=HOUR, archived=False)
    goes = [bench.put_derived(parent, 40 * DAY), bench.put_derived(None, 40 * DAY)]
    stays = [
        bench.put_derived(unarchived, 40 * DAY),
        bench.put_derived(parent, 40 * DAY, kind=AS_JSON),
        bench.put_derived(parent, DAY / 2),
    ]
    outcome = bench.eviction.run(10_000)
    assert outcome is not None
    assert (outcome.derived, outcome.objects, outcome.unconfirmed) == (2, 0, 2)
    assert not any(bench.derived_file(uuid).exists() for uuid in goes)
    assert all(bench.derived_file(uuid).exists() for uuid in stays)


def test_a_derived_attachment_whose_store_may_still_go_on_stays_whatever_the_minimum_age(root: Path) -> None:
    bench = Bench(root, minimum_age_s=0)
    uuid = bench.put_derived(None, HOUR / 2)
    bench.eviction.run(1000)
    assert bench.derived_file(uuid).exists()


def test_what_is_stored_again_or_read_meanwhile_stays(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    again, read = bench.put(b"again", age_s=40 * DAY), bench.put(b"reads", age_s=30 * DAY)
    confirmed = bench.eviction.confirmation.confirmed

    def and_then(copies: list[object]) -> object:
        answer = confirmed(copies)  # type: ignore[arg-type]
        bench.das.write(again, b"again")
        bench.das.read(read, 5)
        return answer

    monkeypatch.setattr(Confirmation, "confirmed", lambda _, copies: and_then(copies))
    outcome = bench.eviction.run(10)
    assert outcome is not None
    assert outcome.freed_bytes == 0
    assert bench.file(again).exists()
    assert bench.file(read).exists()


def test_who_is_reading_reads_on(bench: Bench) -> None:
    digest = bench.put(b"image", age_s=40 * DAY)
    with bench.file(digest).open("rb") as stream:
        bench.eviction.run(5)
        assert not bench.file(digest).exists()
        assert stream.read() == b"image"


def test_only_one_process_at_a_time(bench: Bench) -> None:
    digest = bench.put(b"image", age_s=40 * DAY)
    with Shelves(bench.das).alone() as mine:
        assert mine
        assert bench.eviction.run(5) is None
        assert bench.file(digest).exists()
    assert bench.eviction.run(5) is not None
    assert not bench.file(digest).exists()


def test_a_dry_run_asks_and_takes_nothing_away(bench: Bench) -> None:
    digest = bench.put(b"image", age_s=40 * DAY)
    bench.put(b"other", age_s=40 * DAY, archived=False)
    outcome = bench.eviction.run(100, dry_run=True)
    assert outcome is not None
    assert (outcome.objects, outcome.unconfirmed) == (1, 1)
    assert bench.file(digest).exists()
    assert bench.count("hapacs_das_evicted_total", kind="object") == 0


def test_what_the_archive_did_not_confirm_is_not_asked_about_again_at_once(bench: Bench) -> None:
    bench.put(b"image", age_s=40 * DAY, archived=False)
    bench.eviction.run(5)
    asked = len(bench.clients[0].requests)
    assert asked
    bench.eviction.run(5)
    assert len(bench.clients[0].requests) == asked


def test_files_that_are_not_ours_and_links_are_left_alone(bench: Bench, tmp_path: Path) -> None:
    digest = bench.put(b"image", age_s=40 * DAY)
    folder = bench.file(digest).parent
    stranger, misplaced, link = (
        folder / "notes.txt",
        folder / ("0" * 64),
        folder / (folder.parent.name + folder.name + "0" * 60),
    )
    for file in (stranger, misplaced):
        file.write_bytes(b"x")
        bench.age(file, 40 * DAY)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"x")
    link.symlink_to(elsewhere)
    bench.eviction.run(1000)
    assert sorted(folder.iterdir()) == sorted({stranger, misplaced, link})
    assert elsewhere.exists()


def test_a_time_in_the_future_is_set_right(bench: Bench) -> None:
    digest = bench.put(b"image", age_s=-40 * DAY)
    bench.eviction.run(5)
    assert bench.file(digest).stat().st_atime == pytest.approx(time.time(), abs=60)


def test_the_watermarks_say_when_and_how_much(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.eviction.limits = Limits(below_free_bytes=100, until_free_bytes=300)
    needed = []
    for free in (1000, 300, 299, 100, 99, 0):
        monkeypatch.setattr(Das, "free_bytes", lambda _, free=free: free)
        needed.append(bench.eviction.needed_bytes())
    assert needed == [0, 0, 0, 0, 201, 300]


def test_it_goes_on_by_itself_after_a_failure(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = bench.put(b"image", age_s=40 * DAY)
    monkeypatch.setattr(eviction_module, "_PAUSE_S", 0.01)
    monkeypatch.setattr(Eviction, "needed_bytes", lambda _: 5)
    bench.catalog.fault = CatalogUnavailableError("no leader")
    stop = threading.Event()
    thread = threading.Thread(target=bench.eviction.repeat, args=(stop, 0.01))
    thread.start()
    time.sleep(0.3)
    assert bench.file(digest).exists()
    bench.catalog.fault = None
    deadline = time.monotonic() + 10
    while bench.file(digest).exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    stop.set()
    thread.join(10)
    assert not thread.is_alive()


def test_a_sample_stands_for_the_whole(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = [
        bench.put(bytes([number % 256, number // 256]) * 50, age_s=(2 + number % 10) * DAY) for number in range(400)
    ]
    exact = bench.eviction.ages()
    assert exact.shelves == COUNT
    assert (exact.files, sum(exact.by_hour.values())) == (len(digests), 100 * len(digests))
    monkeypatch.setattr(eviction_module, "_SAMPLE", 200)
    estimated = bench.eviction.ages()
    assert estimated.shelves < COUNT
    assert estimated.files == pytest.approx(len(digests), rel=0.4)


@given(
    by_hour=st.dictionaries(st.integers(0, 500_000), st.integers(1, 10**12), max_size=50), wanted=st.integers(1, 10**13)
)
def test_the_cut_frees_enough_with_the_oldest_alone(by_hour: dict[int, int], wanted: int) -> None:
    cut = Ages(by_hour, 0, 0, COUNT).cut(wanted)
    older = sum(size for hour, size in by_hour.items() if hour < cut.hour)
    if sum(by_hour.values()) < wanted:
        assert cut == Cut(max(by_hour, default=0) + 1, 0)
    else:
        assert older < wanted
        assert older + cut.bytes_of_hour == wanted
        assert cut.bytes_of_hour <= by_hour[cut.hour]


@dataclass(frozen=True)
class Made:
    """An object as hypothesis makes it."""

    hours: int
    size: int
    noted: bool
    archive: str


MADE = st.builds(
    Made,
    st.integers(0, 200),
    st.integers(4, 40),
    st.booleans(),
    st.sampled_from(["whole", "whole", "whole", "missing", "short", "other bytes", "no digest", "pack", "tape"]),
)
# What gateways answer: None is the truth; a lie is a single "not found" of one of them.
FAULTS = st.lists(st.sampled_from(["truth", "truth", "not found", "failed"]), max_size=30)


def spoil(bench: Bench, digest: str, content: bytes, how: str) -> None:
    """Make the archive what `how` says; the catalog, where it has a row, believes what it always did."""
    key = names.cas_key(digest)
    replace: dict[str, Callable[[], None]] = {
        "missing": lambda: bench.bucket.objects.pop(key) and None,
        "short": lambda: bench.bucket.objects.update({key: (content[:-1], digest)}),
        "other bytes": lambda: bench.bucket.objects.update({key: (content[::-1] + b"x", None)}),
        "no digest": lambda: bench.bucket.objects.update({key: (content, None)}),
    }
    if how in replace:
        replace[how]()
    elif how in {"pack", "tape"}:
        bench.bucket.objects.pop(key)
        bench.bucket.objects[f"packs/{digest}"] = (b"before" + content, None)
        for uuid, row in bench.catalog.rows.items():
            if row.digest == digest:
                store = "cas" if how == "pack" else "tape"
                bench.catalog.rows[uuid] = StoredObject(
                    uuid, digest, row.size, DICOM, store, f"packs/{digest}", 6, row.size, "pacs1"
                )


def can_be_had(bench: Bench, digest: str) -> bool:
    """Tell whether the archive holds the bytes where the catalog, or without a row the digest, says."""
    rows = [row for row in bench.catalog.rows.values() if row.digest == digest]
    places = {(row.store, row.key, row.offset, row.length) for row in rows} or {("cas", names.cas_key(digest), 0, None)}
    for store, key, offset, length in places:
        content = bench.bucket.objects.get(key, (b"", None))[0]
        part = content[offset:] if length is None else content[offset : offset + length]
        if store != "cas" or names.digest_of(part) != digest:
            return False
    return True


@settings(max_examples=25, deadline=None)
@given(
    made=st.lists(MADE, min_size=1, max_size=12), wanted=st.integers(1, 300), faults=st.tuples(FAULTS, FAULTS),
    runs=st.integers(1, 3),
)  # fmt: skip
def test_nothing_that_only_this_das_has_is_ever_removed(
    made: list[Made], wanted: int, faults: tuple[list[str], list[str]], runs: int
) -> None:
    root = Path(tempfile.mkdtemp(prefix="hapacs-eviction-"))
    bench = Bench(root, deadline_s=0.05)
    try:
        there: dict[str, Made] = {}
        for number, one in enumerate(made):
            content = bytes([number]) * one.size
            # In the middle of an hour, so that the hour doesn't change under the test.
            digest = bench.put(content, age_s=one.hours * HOUR, noted=one.noted or one.archive in {"pack", "tape"})
            spoil(bench, digest, content, one.archive)
            there[digest] = one
        kinds = {"truth": None, "not found": FileNotFoundError("no such key"), "failed": GenericError("500")}
        for client, sequence in zip(bench.clients, faults, strict=True):
            client.faults = [kinds[fault] for fault in sequence]
        for _ in range(runs):
            try:
                bench.eviction.run(wanted)
            except CasUnavailableError:
                continue
        gone = [digest for digest in there if not bench.file(digest).exists()]
        assert all(can_be_had(bench, digest) for digest in gone)
        assert all(there[digest].hours * HOUR >= DAY - 60 for digest in gone)
        total = sum(there[digest].size for digest in gone)
        # Each run stops with the file that makes it enough.
        assert total <= runs * (wanted + max(one.size for one in made))
    finally:
        bench.workers.shutdown()
        shutil.rmtree(root)


@settings(max_examples=10, deadline=None)
@given(hours=st.lists(st.integers(24, 400), min_size=1, max_size=12, unique=True), count=st.integers(1, 12))
def test_exactly_the_oldest_go(hours: list[int], count: int) -> None:
    root = Path(tempfile.mkdtemp(prefix="hapacs-eviction-"))
    bench = Bench(root)
    try:
        digests = {
            age: bench.put(bytes([number]) * 10, age_s=(age + 0.5) * USE_GRAIN_S) for number, age in enumerate(hours)
        }
        bench.eviction.run(10 * count)
        oldest = set(itertools.islice(sorted(hours, reverse=True), count))
        assert {age for age, digest in digests.items() if not bench.file(digest).exists()} == oldest
    finally:
        bench.workers.shutdown()
        shutil.rmtree(root)
