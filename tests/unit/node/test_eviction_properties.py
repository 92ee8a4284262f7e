"""Properties of eviction for any files on the DAS and any answers of the archive."""

import itertools
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.exceptions import GenericError

from hapacs_node.catalog.objects import StoredObject
from hapacs_node.errors import CasUnavailableError
from hapacs_node.storage import names
from hapacs_node.storage.eviction import Ages, Cut
from hapacs_node.storage.files import USE_GRAIN_S
from hapacs_node.storage.shelves import COUNT
from tests.unit.node.eviction_bench import DAY, DICOM, HOUR, Bench


@given(
    by_hour=st.dictionaries(st.integers(0, 500_000), st.integers(1, 10**12), max_size=50), wanted=st.integers(1, 10**13)
)
def test_the_cut_frees_enough_with_the_oldest_copies_only(by_hour: dict[int, int], wanted: int) -> None:
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
    """An object that hypothesis generates."""

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
# Answers of the gateways: None is the truth; "lie" is a single wrong "not found" of one of them.
FAULTS = st.lists(st.sampled_from(["truth", "truth", "not found", "failed"]), max_size=30)


def spoil(bench: Bench, digest: str, content: bytes, how: str) -> None:
    """Bring the archive into the state `how`; a row in the catalog stays unchanged."""
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
    """Return whether the archive has the bytes at the place in the catalog, or without a row under the digest."""
    rows = [row for row in bench.catalog.rows.values() if row.digest == digest]
    places: set[tuple[str, str, int, int | None]] = {(row.store, row.key, row.offset, row.length) for row in rows}
    places = places or {("cas", names.cas_key(digest), 0, None)}
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
def test_the_last_copy_of_an_object_is_never_removed(
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
        # Each run stops after the file with which enough is freed.
        assert total <= runs * (wanted + max(one.size for one in made))
    finally:
        bench.workers.shutdown()
        shutil.rmtree(root)


@settings(max_examples=10, deadline=None)
@given(hours=st.lists(st.integers(24, 400), min_size=1, max_size=12, unique=True), count=st.integers(1, 12))
def test_exactly_the_oldest_copies_are_evicted(hours: list[int], count: int) -> None:
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
