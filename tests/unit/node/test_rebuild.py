"""The progress of a rebuild, and what is found in objects of the archive, without servers."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hapacs_node.errors import NodeError
from hapacs_node.rebuild.progress import Image, Kind, Problem, Progress
from hapacs_node.storage.client import Listed

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
OBJECTS = [Listed(f"packs/2026-01-01/{n}.tar", 10, BEGAN + timedelta(seconds=n)) for n in range(3)]
DIGEST, OTHER = "ab" * 32, "cd" * 32


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rebuild.sqlite"


@pytest.fixture
def progress(file: Path) -> Iterator[Progress]:
    with Progress.open(file) as opened:
        opened.begin(lambda: OBJECTS)
        yield opened


def test_what_was_archived_last_comes_first_and_comes_once(progress: Progress) -> None:
    assert progress.waiting(2) == OBJECTS[:0:-1]
    progress.done(OBJECTS[2:], [], [])
    assert progress.waiting(5) == OBJECTS[1::-1]


def test_an_interrupted_run_goes_on_and_tries_again_what_was_not_read(file: Path) -> None:
    problems = [
        Problem(OBJECTS[0].key, 0, Kind.UNREADABLE, None, ""),
        Problem(OBJECTS[1].key, 0, Kind.DAMAGED, DIGEST, ""),
    ]
    with Progress.open(file) as progress:
        assert progress.begin(lambda: OBJECTS) is False
        progress.done(OBJECTS[:2], [Image(OTHER, OBJECTS[0].key, "stored")], problems)
    with Progress.open(file) as progress:
        assert progress.begin(lambda: pytest.fail("it is listed already")) is True
        assert {one.key for one in progress.waiting(5)} == {OBJECTS[0].key, OBJECTS[2].key}
        assert (progress.counts().images, progress.counts().problems) == ({"stored": 1}, {Kind.DAMAGED: 1})
        progress.end()
    with Progress.open(file) as progress:
        assert progress.begin(lambda: OBJECTS[:1]) is False
        assert (progress.counts().objects, progress.counts().images) == (1, {})


def test_a_listing_that_was_interrupted_begins_again(file: Path) -> None:
    def fails() -> Iterator[Listed]:
        yield OBJECTS[0]
        raise NodeError("the archive does not answer")

    with Progress.open(file) as progress, pytest.raises(NodeError):
        progress.begin(fails)
    with Progress.open(file) as progress:
        assert progress.begin(lambda: OBJECTS[1:]) is False
        assert progress.waiting(5) == OBJECTS[:0:-1]


def test_a_damaged_copy_of_an_image_that_is_whole_elsewhere_is_not_lost(progress: Progress) -> None:
    problems = [
        Problem(OBJECTS[0].key, 512, Kind.DAMAGED, DIGEST, ""),
        Problem(OBJECTS[1].key, 0, Kind.DAMAGED, OTHER, ""),
        Problem(OBJECTS[2].key, 0, Kind.FOREIGN, None, ""),
    ]
    progress.done(OBJECTS, [Image(DIGEST, OBJECTS[1].key, "stored")], problems)
    assert progress.counts().lost == 1
    assert [whole for _, whole in progress.problems(10)] == [True, False, False]


def test_an_image_that_the_index_does_not_have_is_read_again(progress: Progress) -> None:
    progress.done(OBJECTS, [Image(DIGEST, OBJECTS[1].key, "stored"), Image(OTHER, OBJECTS[0].key, "superseded")], [])
    assert list(progress.images()) == [[DIGEST]]
    progress.again([DIGEST])
    assert progress.waiting(5) == [OBJECTS[1]]
    assert progress.counts().images == {"superseded": 1}


def test_another_process_sees_how_far_it_is(progress: Progress, file: Path) -> None:
    progress.done(OBJECTS[:1], [], [])
    assert Progress.glance(file) == (3, 1)
    assert Progress.glance(file.with_name("other")) == (0, 0)


@pytest.mark.usefixtures("progress")
def test_two_runs_at_the_same_time_are_refused(file: Path) -> None:
    with pytest.raises(NodeError, match="running on this node already"), Progress.open(file):
        pytest.fail("it was opened twice")
