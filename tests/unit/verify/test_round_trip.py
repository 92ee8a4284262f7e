"""Real files through a PACS of memory: what it loses, refuses, damages or forgets is reported."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hapacs.dicom import Sample
from hapacs.site.access import Site
from hapacs.verify import round_trip, storing
from hapacs.verify.report import CheckFailedError
from hapacs.verify.round_trip import RoundTrip
from tests.unit.verify.fakes import FakePacs, running

NAMES = ("CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm", "SC_rgb_rle.dcm", "test-SR.dcm", "rtplan.dcm")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    loaded, _ = round_trip.load(tmp_path_factory.mktemp("marked"))
    chosen = [sample for sample in loaded if sample.name in NAMES]
    assert len(chosen) == len(NAMES)
    return chosen


@pytest.fixture
def pacs(samples: list[Sample]) -> FakePacs:
    return FakePacs({str(sample.sop_instance): sample for sample in samples})


@pytest.fixture
def site(pacs: FakePacs) -> Iterator[Site]:
    with running(pacs) as found:
        yield found


@pytest.fixture
def run(site: Site, samples: list[Sample], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], RoundTrip]:
    monkeypatch.setattr(round_trip, "load", lambda _: (samples, []))
    return lambda: round_trip.run(site, tmp_path)


def uid(samples: list[Sample], name: str) -> str:
    return str(next(sample.sop_instance for sample in samples if sample.name == name))


def test_all_is_well(run: Callable[[], RoundTrip], site: Site) -> None:
    found = run()
    assert storing.check_store(found).startswith(f"{len(NAMES)} files stored")
    assert f"{len(NAMES)} instances are the same through 2 nodes" in storing.check_nodes(site, found)
    assert storing.check_pixels(found).startswith("4 images decoded")
    assert f"{len(NAMES)} objects are in the catalog" in storing.check_copies(found)


def test_a_lost_instance_is_reported(
    run: Callable[[], RoundTrip], site: Site, pacs: FakePacs, samples: list[Sample]
) -> None:
    pacs.lost.add(uid(samples, "CT_small.dcm"))
    found = run()
    with pytest.raises(CheckFailedError, match=r"CT_small\.dcm through pacs1: status 404"):
        storing.check_nodes(site, found)
    with pytest.raises(CheckFailedError, match=r"CT_small\.dcm came back without pixel data"):
        storing.check_pixels(found)
    with pytest.raises(CheckFailedError, match=r"CT_small\.dcm: the catalog has no row"):
        storing.check_copies(found)


@pytest.mark.parametrize(("times", "problems"), [(1, 0), (10_000, 12)])
def test_status_503_is_retried_a_bounded_number_of_times(
    run: Callable[[], RoundTrip], pacs: FakePacs, times: int, problems: int
) -> None:
    pacs.unavailable = times
    assert sum(len(kept.problems) for kept in run().kept) == problems


def test_unexpected_refusal_is_reported_with_the_file(
    run: Callable[[], RoundTrip], pacs: FakePacs, samples: list[Sample]
) -> None:
    pacs.refused.add(uid(samples, "SC_rgb_rle.dcm"))
    with pytest.raises(
        CheckFailedError,
        match=r"SC_rgb_rle\.dcm \(Secondary Capture Image Storage, RLE Lossless\) was refused: status 0xA700",
    ):
        storing.check_store(run())


def test_different_bytes_through_another_node_are_reported(
    run: Callable[[], RoundTrip], site: Site, pacs: FakePacs, samples: list[Sample]
) -> None:
    pacs.damaged.add(uid(samples, "MR_small.dcm"))
    with pytest.raises(CheckFailedError, match=r"MR_small\.dcm differs between nodes"):
        storing.check_nodes(site, run())


def test_an_object_without_a_catalog_row_is_reported(
    run: Callable[[], RoundTrip], pacs: FakePacs, samples: list[Sample]
) -> None:
    pacs.forgotten.add(uid(samples, "rtplan.dcm"))
    with pytest.raises(CheckFailedError, match=r"rtplan\.dcm: the catalog has no row"):
        storing.check_copies(run())


@pytest.mark.parametrize(
    ("place", "state", "message"),
    [
        ("das", "missing", "the copy on the DAS of pacs1 is missing"),
        ("cas", "damaged", "the copy in the archive is damaged"),
    ],
)
def test_damaged_copy_is_reported(run: Callable[[], RoundTrip], place: str, state: str, message: str) -> None:
    found = run()
    assert found.kept[0].record is not None
    found.kept[0].record[place] = {"whole": False, "state": state}
    with pytest.raises(CheckFailedError, match=message):
        storing.check_copies(found)


def test_unacknowledged_catalog_row_does_not_count(run: Callable[[], RoundTrip]) -> None:
    found = run()
    assert found.kept[0].record is not None
    found.kept[0].record["catalog"][0]["acknowledged"] = False
    with pytest.raises(CheckFailedError, match="no row of the catalog is acknowledged"):
        storing.check_copies(found)


def test_check_without_stored_files_fails(site: Site) -> None:
    empty = RoundTrip([])
    for check in (storing.check_store, storing.check_pixels, storing.check_copies):
        with pytest.raises(CheckFailedError):
            check(empty)
    with pytest.raises(CheckFailedError):
        storing.check_nodes(site, empty)


def test_rounds_never_hold_an_instance_twice_and_keep_the_order(tmp_path: Path) -> None:
    every = round_trip.load(tmp_path)[0]
    parts = list(round_trip.rounds(every))
    assert len(parts) > 1, "some of the real files share an instance"
    assert all(len({sample.key for sample in part}) == len(part) for part in parts)
    assert sorted(sample.path for part in parts for sample in part) == sorted(sample.path for sample in every)
    by_key: dict[tuple[str, ...], list[Sample]] = {}
    for part in parts:
        for sample in part:
            by_key.setdefault(sample.key, []).append(sample)
    assert all([sample for sample in every if sample.key == key] == found for key, found in by_key.items())
