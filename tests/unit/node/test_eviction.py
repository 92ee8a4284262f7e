"""Eviction: which copies are evicted, in which order, and that a last copy is never evicted."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from obstore.exceptions import GenericError

from hapacs_node.catalog.objects import StoredObject
from hapacs_node.errors import CasUnavailableError, CatalogUnavailableError
from hapacs_node.settings import Eviction as Limits
from hapacs_node.storage import eviction as eviction_module
from hapacs_node.storage import names
from hapacs_node.storage.confirmation import Confirmation
from hapacs_node.storage.das import Das
from hapacs_node.storage.eviction import Eviction
from hapacs_node.storage.shelves import COUNT, Shelves
from tests.unit.node.eviction_bench import AS_JSON, DAY, DICOM, HOUR, Bench


@pytest.fixture
def bench(root: Path) -> Iterator[Bench]:
    bench = Bench(root)
    yield bench
    bench.workers.shutdown()


def test_the_least_recently_used_copies_are_evicted_and_no_more_than_needed(bench: Bench) -> None:
    digests = [bench.put(os.urandom(1000), age_s=days * DAY) for days in range(1, 21)]
    outcome = bench.eviction.run(3000)
    assert outcome is not None
    assert (outcome.freed_bytes, outcome.objects, outcome.unconfirmed) == (3000, 3, 0)
    assert [digest for digest in digests if not bench.file(digest).exists()] == digests[-3:]
    assert bench.count("hapacs_das_evicted_total", kind="object") == 3
    assert bench.count("hapacs_das_evicted_bytes_total", kind="object") == 3000
    assert bench.count("hapacs_das_eviction_short_bytes") == 0


def test_a_read_updates_the_time_of_use_at_most_once_an_hour(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_read_succeeds_when_its_time_can_not_be_recorded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = bench.put(b"image", age_s=30 * DAY)

    def fail(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "utime", fail)
    assert bench.das.read(digest, 5) == b"image"


def test_copies_below_the_minimum_age_are_never_evicted(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    young = [bench.put(os.urandom(1000), age_s=DAY - HOUR) for _ in range(5)]
    old = bench.put(os.urandom(1000), age_s=DAY + HOUR)
    outcome = bench.eviction.run(100_000)
    assert outcome is not None
    assert (outcome.freed_bytes, outcome.objects) == (1000, 1)
    assert not bench.file(old).exists()
    assert all(bench.file(digest).exists() for digest in young)
    assert bench.count("hapacs_das_eviction_short_bytes") == 99_000
    assert "event=eviction_short" in caplog.text


def test_copies_that_the_archive_lost_are_kept_and_others_are_evicted(bench: Bench) -> None:
    only_here = bench.put(os.urandom(1000), age_s=40 * DAY, archived=False)
    others = [bench.put(os.urandom(1000), age_s=days * DAY) for days in (20, 10)]
    outcome = bench.eviction.run(1500)
    assert outcome is not None
    assert (outcome.freed_bytes, outcome.unconfirmed) == (2000, 1)
    assert bench.file(only_here).exists()
    assert not any(bench.file(digest).exists() for digest in others)
    assert bench.count("hapacs_das_eviction_refused_total") == 1


def test_the_archive_is_asked_even_with_a_catalog_row(bench: Bench) -> None:
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
def test_an_archive_copy_with_wrong_size_or_digest_is_not_confirmed(
    bench: Bench, stored: tuple[bytes, str | None], goes: bool
) -> None:
    digest = bench.put(b"image", age_s=40 * DAY)
    bench.bucket.objects[names.cas_key(digest)] = stored
    bench.eviction.run(5)
    assert bench.file(digest).exists() is not goes


def test_every_place_in_the_catalog_must_have_the_object(bench: Bench) -> None:
    digest = bench.put(b"image", age_s=40 * DAY)
    uuid = uuid4()
    bench.catalog.rows[uuid] = StoredObject(uuid, digest, 5, DICOM, "cas", "packs/1", 2, 5, "pacs1")
    bench.eviction.run(5)
    assert bench.file(digest).exists()
    bench.bucket.objects["packs/1"] = (b"  image  ", None)
    bench.eviction._refused.clear()
    bench.eviction.run(5)
    assert not bench.file(digest).exists()


def test_eviction_stops_when_archive_or_catalog_does_not_answer(bench: Bench) -> None:
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


def test_a_404_of_one_gateway_does_not_prevent_eviction(bench: Bench) -> None:
    digest = bench.put(b"image", age_s=40 * DAY)
    bench.clients[0].always = FileNotFoundError("no such key")
    bench.eviction.run(5)
    assert not bench.file(digest).exists()


def test_derived_attachments_are_evicted_when_they_can_be_rebuilt(bench: Bench) -> None:
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


def test_a_recent_derived_attachment_is_kept_for_any_minimum_age(root: Path) -> None:
    bench = Bench(root, minimum_age_s=0)
    uuid = bench.put_derived(None, HOUR / 2)
    bench.eviction.run(1000)
    assert bench.derived_file(uuid).exists()


def test_a_copy_that_is_stored_or_read_during_the_run_is_kept(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_an_open_reader_continues_after_eviction(bench: Bench) -> None:
    digest = bench.put(b"image", age_s=40 * DAY)
    with bench.file(digest).open("rb") as stream:
        bench.eviction.run(5)
        assert not bench.file(digest).exists()
        assert stream.read() == b"image"


def test_only_one_process_evicts_at_a_time(bench: Bench) -> None:
    digest = bench.put(b"image", age_s=40 * DAY)
    with Shelves(bench.das).alone() as mine:
        assert mine
        assert bench.eviction.run(5) is None
        assert bench.file(digest).exists()
    assert bench.eviction.run(5) is not None
    assert not bench.file(digest).exists()


def test_a_dry_run_asks_the_archive_and_removes_nothing(bench: Bench) -> None:
    digest = bench.put(b"image", age_s=40 * DAY)
    bench.put(b"other", age_s=40 * DAY, archived=False)
    outcome = bench.eviction.run(100, dry_run=True)
    assert outcome is not None
    assert (outcome.objects, outcome.unconfirmed) == (1, 1)
    assert bench.file(digest).exists()
    assert bench.count("hapacs_das_evicted_total", kind="object") == 0


def test_an_unconfirmed_copy_is_not_asked_about_again_at_once(bench: Bench) -> None:
    bench.put(b"image", age_s=40 * DAY, archived=False)
    bench.eviction.run(5)
    asked = len(bench.clients[0].requests)
    assert asked
    bench.eviction.run(5)
    assert len(bench.clients[0].requests) == asked


def test_foreign_files_and_links_are_never_removed(bench: Bench, tmp_path: Path) -> None:
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


def test_a_time_of_use_in_the_future_is_set_to_now(bench: Bench) -> None:
    digest = bench.put(b"image", age_s=-40 * DAY)
    bench.eviction.run(5)
    assert bench.file(digest).stat().st_atime == pytest.approx(time.time(), abs=60)


def test_needed_bytes_follow_the_watermarks(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.eviction.limits = Limits(below_free_bytes=100, until_free_bytes=300)
    needed = []
    for free in (1000, 300, 299, 100, 99, 0):
        monkeypatch.setattr(Das, "free_bytes", lambda _, free=free: free)
        needed.append(bench.eviction.needed_bytes())
    assert needed == [0, 0, 0, 0, 201, 300]


def test_the_loop_continues_after_a_failure(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_sample_estimates_all_copies(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
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
