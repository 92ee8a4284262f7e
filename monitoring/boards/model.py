"""What a dashboard is.

Windows are fixed, so that promtool can check each expression as it is. Rates are over five minutes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["lines", "stat", "table"]


@dataclass(frozen=True)
class Query:
    """An expression, and how its series are named: ``{{node}}`` is the value of a label."""

    expression: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes
    ----------
    unit
        One of Grafana's units.
    about
        What to see in it.
    wide
        Whether it takes a whole row.
    red_below, red_from
        Limits beyond which a value is bad; only of the kind ``stat``.
    """

    title: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: Kind = "lines"
    about: str = ""
    wide: bool = False
    red_below: float | None = None
    red_from: float | None = None


@dataclass(frozen=True)
class Board:
    """One dashboard; its name is that of its file and, after ``hapacs-``, Grafana's identifier."""

    name: str
    title: str
    panels: tuple[Panel, ...]
    since: str = "now-6h"


def lines(title: str, expression: str, legend: str, unit: str = "short", about: str = "", *more: Query) -> Panel:
    """Return a panel of lines over time."""
    return Panel(title, (Query(expression, legend), *more), unit, "lines", about)


def stat(
    title: str, expression: str, unit: str = "short", *, red_below: float | None = None, red_from: float | None = None
) -> Panel:
    """Return a panel of one number."""
    return Panel(title, (Query(expression),), unit, "stat", red_below=red_below, red_from=red_from)
