"""Waiting for a condition, with a deadline, instead of sleeping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def eventually[T](what: str, look: Callable[[], T], deadline_s: float, every_s: float = 1) -> T:
    """Return what `look` returns as soon as it is true.

    Raises
    ------
    AssertionError
        When it is not within the deadline, with what was seen last.
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
    raise AssertionError(f"{what}: not within {deadline_s:.0f} s; last seen: {seen!r}")
