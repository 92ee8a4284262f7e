"""Waiting for a condition, with a deadline, instead of sleeping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


class DeadlineError(AssertionError):
    """A condition did not come true before its deadline: a failed test where it is raised in one."""


def eventually[T](what: str, look: Callable[[], T], deadline_s: float, every_s: float = 1) -> T:
    """Call `look` until it returns something true, and return that.

    Raises
    ------
    DeadlineError
        When the deadline passes first; it names the last result or error.
    """
    begun = time.monotonic()
    seen: Any = None
    while time.monotonic() - begun < deadline_s:
        try:
            if seen := look():
                return seen
        except (OSError, RuntimeError) as error:
            seen = error
        time.sleep(every_s)
    raise DeadlineError(f"{what}: not within {deadline_s:.0f} s; last seen: {seen!r}")
