"""When something that failed is tried again: the pause doubles up to a limit, with jitter, and never ends."""

import random
from collections.abc import Callable
from dataclasses import dataclass

_MOST_DOUBLINGS = 30  # 2.0 ** more overflows sooner or later, and every limit is reached


@dataclass(frozen=True)
class Backoff:
    """Pauses between attempts.

    Attributes
    ----------
    first_s : float
        Longest pause after the first failure.
    most_s : float
        Longest pause after any number of failures.
    """

    first_s: float
    most_s: float

    def pause_s(self, failures: int, uniform: Callable[[float, float], float] = random.uniform) -> float:
        """Return a pause after so many failures in a row; between half of the longest one and all of it."""
        longest = min(self.most_s, self.first_s * 2.0 ** min(max(failures, 1) - 1, _MOST_DOUBLINGS))
        return uniform(longest / 2, longest)


DESTINATION = Backoff(first_s=5, most_s=300)
"""A destination that gives no association. It is tried every five minutes at least, also after days."""
IMAGE = Backoff(first_s=15, most_s=3600)
"""An image that a destination did not take for a reason that may pass."""
