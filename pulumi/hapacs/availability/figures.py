"""What a month was like: shares from the recorded hours, and times in which alerts fired."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import yaml

from hapacs.availability.numbers import Numbers, Series
from hapacs.availability.period import HOUR, Month
from hapacs.deployment import PROJECT

OBJECTIVES = PROJECT / "monitoring" / "objectives.yml"
MINUTE = timedelta(minutes=1)
SHARES = "objective:bad:ratio1h"
FIRING = 'ALERTS{alertstate="firing",severity=~"page|ticket"}'
DRAINED = "hapacs_node_drained == 1"
_GAP = 5 * MINUTE
"""Two times of one alert that are no further apart are one."""


@dataclass(frozen=True)
class Reached:
    """What became of an objective.

    Attributes
    ----------
    target, good
        Shares that had to be good, and that was; None: not measured.
    used
        Share of the budget that was used: of what was allowed to be bad in the hours that were measured.
    hours
        How many were measured.
    worst
        The days with the highest shares that were bad, with these shares.
    """

    name: str
    about: str
    target: float
    good: float | None
    used: float | None
    hours: int
    worst: tuple[tuple[str, float], ...] = ()

    @property
    def verdict(self) -> str:
        """Whether it was kept."""
        if self.good is None:
            return "not measured"
        return "kept" if self.good >= self.target else "missed"


@dataclass(frozen=True)
class Time:
    """A time in which something was so.

    Attributes
    ----------
    begin, end
        To the minute.
    what, where, severity
        Name of the alert, what it is about, and ``page`` or ``ticket``; or a node that was drained.
    """

    begin: datetime
    end: datetime
    what: str
    where: str = ""
    severity: str = ""

    @property
    def minutes(self) -> int:
        """How long it was."""
        return (self.end - self.begin) // MINUTE

    def meets(self, begin: datetime, end: datetime) -> bool:
        """Return whether it overlaps with another time."""
        return self.begin < end and begin < self.end


@cache
def promised() -> dict[str, dict[str, Any]]:
    """Return the objectives by name, in the order of their file."""
    found: dict[str, dict[str, Any]] = yaml.safe_load(OBJECTIVES.read_text(encoding="utf-8"))
    return found


def objectives(numbers: Numbers, month: Month) -> list[Reached]:
    """Return what became of each objective, from the shares of its hours."""
    found = numbers.series(SHARES, month.begin + HOUR, month.end, HOUR)
    hours = {dict(labels).get("objective", ""): points for labels, points in found.items()}
    return [reached(name, one, hours.get(name, {})) for name, one in promised().items()]


def reached(name: str, objective: Mapping[str, Any], hours: Mapping[int, float]) -> Reached:
    """Return what became of an objective.

    Parameters
    ----------
    hours
        The share of an hour that was bad, by the time of its end. The probes try equally often in each.
    """
    target = float(objective["target"])
    if not hours:
        return Reached(name, objective["about"], target, None, None, 0)
    bad = sum(hours.values()) / len(hours)
    days: dict[str, list[float]] = {}
    for at, share in hours.items():
        days.setdefault(f"{datetime.fromtimestamp(at, UTC) - HOUR:%Y-%m-%d}", []).append(share)
    shares = {day: sum(found) / len(found) for day, found in days.items()}
    worst = sorted(((day, share) for day, share in shares.items() if share > 0), key=lambda one: (-one[1], one[0]))
    return Reached(name, objective["about"], target, 1 - bad, bad / (1 - target), len(hours), tuple(worst[:3]))


def alerts(numbers: Numbers, month: Month) -> list[Time]:
    """Return the times in which alerts fired, the first one first."""
    found = numbers.series(FIRING, month.begin, month.end, MINUTE)
    return times(found, "alertname", ("node", "target", "member", "gateway", "destination", "objective"))


def planned(numbers: Numbers, month: Month) -> list[Time]:
    """Return the times in which nodes were drained."""
    return times(numbers.series(DRAINED, month.begin, month.end, MINUTE), "node", ())


def times(found: Series, name: str, about: Iterable[str]) -> list[Time]:
    """Join the minutes of series to times; series of one name about one thing are one.

    Parameters
    ----------
    name, about
        The labels that say what it is, and what it is about.
    """
    about = tuple(about)
    minutes: dict[tuple[str, str, str], set[int]] = {}
    for labels, points in found.items():
        known = dict(labels)
        where = ", ".join(known[label] for label in about if known.get(label))
        minutes.setdefault((known.get(name, ""), where, known.get("severity", "")), set()).update(points)
    made = []
    for (what, where, severity), moments in minutes.items():
        begin = last = 0
        for at in sorted(moments):
            if begin and at - last > _GAP.total_seconds():
                made.append(_time(begin, last, what, where, severity))
                begin = 0
            begin, last = begin or at, at
        if begin:
            made.append(_time(begin, last, what, where, severity))
    return sorted(made, key=lambda one: (one.begin, one.what, one.where))


def _time(begin: int, last: int, *texts: str) -> Time:
    return Time(datetime.fromtimestamp(begin, UTC), datetime.fromtimestamp(last, UTC) + MINUTE, *texts)
