"""A problem of the settings, and checks that also run on settings that are only partly sound."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps

from hapacs.settings.partial import UnsoundError


@dataclass(frozen=True)
class Problem:
    """A mistake in the settings, or something to look at.

    Attributes
    ----------
    field
        The path of keys in the file; empty for the file as a whole.
    message
        What is wrong and what to change.
    """

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


def each[**P](function: Callable[P, Iterator[Problem]]) -> Callable[P, Iterator[Problem]]:
    """Make a check end at the first value that is unsound itself, with the problems found so far.

    So a check that needs several values says nothing where one of them is unknown, and all others still run. Checks are
    small for that reason: one object each, not a loop over all.
    """

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> Iterator[Problem]:
        try:
            yield from function(*args, **kwargs)
        except UnsoundError:
            return

    return run
