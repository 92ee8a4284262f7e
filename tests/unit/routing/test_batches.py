"""Which images are read before their turn."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest

from hapacs_node.catalog.tasks import Task
from hapacs_node.routing.batches import Batches

MB = 1 << 20


def task(number: int, size: int) -> Task:
    return Task(number, UUID(int=number), "1.2", "1.3", f"1.4.{number}", "", "", size, "all", None, 1)


def order(sizes: Sequence[Sequence[int]]) -> list[tuple[str, int]]:
    """Return what is begun and what is given, in order, by the number of the request."""
    happened: list[tuple[str, int]] = []

    def reading(group: Sequence[Task]) -> list[tuple[Task, Future[Any]]]:
        happened.append(("read", group[0].id))
        return [(one, Future()) for one in group]

    batches = cast("Batches[Any]", SimpleNamespace(_reading=reading))
    groups = [[task(number, size) for size in group] for number, group in enumerate(sizes)]
    for given in Batches._contents(batches, groups):
        happened.append(("give", given[0][0].id))
        assert [one for one, _ in given] == groups[given[0][0].id]
    return happened


def test_small_requests_are_read_four_ahead() -> None:
    found = order([[MB]] * 7)
    assert found[:6] == [*(("read", number) for number in range(5)), ("give", 0)]
    assert found[6:9] == [("read", 5), ("give", 1), ("read", 6)]
    assert [number for what, number in found if what == "give"] == list(range(7))
    assert [number for what, number in found if what == "read"] == list(range(7))


def test_of_large_ones_the_next_is_read_and_no_other() -> None:
    found = order([[500 * MB]] * 4)
    assert found == [
        ("read", 0), ("read", 1), ("give", 0), ("read", 2), ("give", 1), ("read", 3), ("give", 2), ("give", 3),
    ]  # fmt: skip


def test_bytes_that_are_read_ahead_have_a_limit() -> None:
    found = order([[MB], [10 * MB, 5 * MB], [10 * MB], [10 * MB], [MB]])
    assert found[:4] == [("read", 0), ("read", 1), ("read", 2), ("give", 0)]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_few_requests_are_given_once_each(number: int) -> None:
    found = order([[MB]] * number)
    assert [one for what, one in found if what == "give"] == list(range(number))


def test_what_is_not_sent_any_more_is_not_read() -> None:
    begun: list[Future[Any]] = []

    def reading(group: Sequence[Task]) -> list[tuple[Task, Future[Any]]]:
        begun.extend(Future() for _ in group)
        return [(group[0], begun[-1])]

    contents = Batches._contents(cast("Batches[Any]", SimpleNamespace(_reading=reading)), [[task(1, MB)]] * 3)
    next(contents)
    contents.close()  # type: ignore[attr-defined]
    assert [one.cancelled() for one in begun] == [False, True, True]
