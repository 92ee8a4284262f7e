"""Ordered streams, and their comparison without keeping them in memory."""

import heapq
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from hapacs_node.errors import NodeError


class Group[L, R](NamedTuple):
    """What two streams have under the same name."""

    name: str
    left: list[L]
    right: list[R]


def paged[Item](page: Callable[[Item | None], Sequence[Item]]) -> Iterator[Item]:
    """Read a stream page by page; `page` returns the items after the given one, and none at the end."""
    last: Item | None = None
    while items := page(last):
        yield from items
        last = items[-1]


def merged[L, R](
    left: Iterator[L], left_name: Callable[[L], str], right: Iterator[R], right_name: Callable[[R], str]
) -> Iterator[Group[L, R]]:
    """Merge two streams that are in the order of their names; only the items of one name are in memory.

    Raises
    ------
    NodeError
        When a stream is not in order: then missing items can't be told from late ones.
    """
    lefts: Iterator[tuple[str, L | None, R | None]] = ((name, one, None) for name, one in _named(left, left_name))
    rights: Iterator[tuple[str, L | None, R | None]] = ((name, None, one) for name, one in _named(right, right_name))
    for name, items in groupby(heapq.merge(lefts, rights, key=lambda item: item[0]), key=lambda item: item[0]):
        group: Group[L, R] = Group(name, [], [])
        for _, one, other in items:
            if one is not None:
                group.left.append(one)
            if other is not None:
                group.right.append(other)
        yield group


def _named[T](items: Iterator[T], name_of: Callable[[T], str]) -> Iterator[tuple[str, T]]:
    last = ""
    for item in items:
        name = name_of(item)
        if name < last:
            raise NodeError(f"{name} comes after {last}, so places can't be compared: report this as a defect")
        last = name
        yield name, item
