"""Statistics of a series of measurements."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that `percent` of all values don't exceed (nearest rank).

    Raises
    ------
    ValueError
        When there are no values.
    """
    if not values or not 0 < percent <= 100:  # noqa: PLR2004 - per cent
        raise ValueError(f"no {percent} % of {len(values)} values")
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


@dataclass(frozen=True)
class Series:
    """One figure, measured several times.

    Attributes
    ----------
    values
        In the order of the rounds.
    """

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median of the values."""
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """Difference of highest and lowest value, as a fraction of the median: the noise of the machine."""
        return (max(self.values) - min(self.values)) / self.median

    def document(self) -> dict[str, Any]:
        """Describe it for JSON."""
        return {
            "median": round(self.median, 3),
            "spread": round(self.spread, 3),
            "rounds": [round(value, 3) for value in self.values],
        }


def ratio(ours: Series, reference: Series) -> float:
    """Return the ratio of two medians: 1 is as much as the reference."""
    return round(ours.median / reference.median, 3)


def latency(seconds: Sequence[float]) -> dict[str, float]:
    """Return the percentiles of response times, in milliseconds."""
    return {f"p{percent}": round(1000 * percentile(seconds, percent), 2) for percent in (50, 95, 99)}
