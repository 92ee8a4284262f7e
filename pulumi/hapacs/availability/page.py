"""Writes the report of a month as a page, as PDF and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hapacs.availability import blocks, figures, pdf
from hapacs.availability.figures import Reached, Time
from hapacs.availability.numbers import Numbers
from hapacs.availability.period import Month
from hapacs.drills.report import REPORT

_AFTER_DRILL = timedelta(minutes=10)
"""An alert that begins so soon after a drill belongs to it."""


@dataclass(frozen=True)
class SiteMonth:
    """What is known of a site's month.

    Attributes
    ----------
    missing
        Which numbers are not there, in sentences.
    measured
        Whether any Prometheus answered.
    """

    name: str
    objectives: Sequence[Reached]
    alerts: Sequence[Time]
    planned: Sequence[Time]
    missing: Sequence[str]
    measured: bool


def site_month(name: str, numbers: Numbers, month: Month) -> SiteMonth:
    """Ask the Prometheus of a site for a month."""
    objectives = figures.objectives(numbers, month)
    alerts, planned = figures.alerts(numbers, month), figures.planned(numbers, month)
    missing = [f"The Prometheus of {node} gave no numbers: {reason}." for node, reason in numbers.problems.items()]
    if not numbers.answered:
        missing.append("No Prometheus answered: objectives, incidents and planned work are not known.")
    else:
        missing += [
            f"{one.name} was measured in {one.hours} of {month.hours} hours."
            for one in objectives
            if one.hours < month.hours
        ]
    return SiteMonth(name, objectives, alerts, planned, missing, bool(numbers.answered))


def drills(directory: Path, month: Month) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the drills of a month from their reports, the first one first, and which reports can't be read."""
    found, unread = [], []
    for file in sorted(directory.glob(f"*/{REPORT}")):
        try:
            run = json.loads(file.read_text(encoding="utf-8"))
            begin = datetime.fromisoformat(run["at"])
            end = begin + timedelta(seconds=len(run["stored_per_s"]))
            names = ("name", "sentence", "ok", "void", "outage_s", "deadline_s", "acknowledged", "lost", "corrupted")
            one = {name: run[name] for name in names}
        except (OSError, ValueError, KeyError, TypeError):
            unread.append(f"The report of the drill {file.parent.name} can't be read.")
            continue
        if month.holds(begin):
            found.append(one | {"begin": begin, "end": end})
    return found, unread


def document(
    deployment: str, month: Month, sites: Iterable[SiteMonth], directory: Path, made_at: datetime
) -> dict[str, Any]:
    """Return everything that the report says, fit for JSON.

    Parameters
    ----------
    directory
        With the reports of drills.
    """
    runs, unread = drills(directory, month)
    return {
        "deployment": deployment,
        "month": month.name,
        "begin": _shown(month.begin),
        "end": _shown(month.end),
        "complete": month.complete,
        "hours": month.hours,
        "made_at": _shown(made_at),
        "sites": [_site(one, runs) for one in sites],
        "drills": [run | {"begin": _shown(run["begin"]), "end": _shown(run["end"])} for run in runs],
        "missing": unread,
    }


def _site(one: SiteMonth, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    def described(alert: Time) -> dict[str, Any]:
        during = [f"drill {run['name']}" for run in runs if alert.meets(run["begin"], run["end"] + _AFTER_DRILL)]
        during += [f"{work.what} was drained" for work in one.planned if alert.meets(work.begin, work.end)]
        return _time(alert) | {"during": list(dict.fromkeys(during))}

    pages = [described(alert) for alert in one.alerts if alert.severity == "page"]
    tickets: dict[str, list[Time]] = {}
    for alert in one.alerts:
        if alert.severity == "ticket":
            tickets.setdefault(alert.what, []).append(alert)
    return {
        "name": one.name,
        "measured": one.measured,
        "missing": list(one.missing),
        "objectives": [asdict(reached) | {"verdict": reached.verdict} for reached in one.objectives],
        "incidents": pages,
        "tickets": [
            {"what": what, "times": len(found), "minutes": sum(alert.minutes for alert in found)}
            for what, found in sorted(tickets.items())
        ],
        "planned": [_time(work) for work in one.planned],
    }


def _time(one: Time) -> dict[str, Any]:
    named = {"what": one.what, "where": one.where}
    return named | {"begin": _shown(one.begin), "end": _shown(one.end), "minutes": one.minutes}


def _shown(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"


def write(found: Mapping[str, Any], directory: Path, made_at: datetime) -> Path:
    """Write ``availability-<month>.html``, ``.pdf`` and ``.json``, and return the first."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    page = directory / f"availability-{found['month']}.html"
    page.with_suffix(".json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    page.with_suffix(".pdf").write_bytes(pdf.of(blocks.of(found), blocks.title(found), made_at))
    page.write_text(html(found), encoding="utf-8")
    return page


def html(found: Mapping[str, Any]) -> str:
    """Return the page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    shown = [{"kind": type(block).__name__.lower(), **asdict(block)} for block in blocks.of(found)]
    return environment.get_template("availability.html.j2").render(title=blocks.title(found), blocks=shown)
