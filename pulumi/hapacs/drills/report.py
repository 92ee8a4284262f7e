"""Writes what a drill found as JSON and as a page with a timeline, and a page over all runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hapacs.drills.model import Result

REPORT = "report.json"
_WIDTH, _HEIGHT = 900, 160
_COLOURS = {
    "fault": "#b3261e",
    "detection": "#b26a00",
    "recovery": "#1b7f3b",
    "heal": "#1f6f8b",
    "back": "#5b4b8a",
    "equal": "#3d6b1f",
}
_SHOWN_FAILURES = 20


def write(result: Result, directory: Path) -> Path:
    """Write ``report.json`` and ``report.html`` of a drill, and return the latter."""
    result.report = str(directory / "report.html")
    found = document(result)
    (directory / REPORT).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    page = directory / "report.html"
    page.write_text(_page("run.html.j2", run=found, picture=timeline(found)), encoding="utf-8")
    return page


def document(result: Result) -> dict[str, Any]:
    """Return everything that a drill found, fit for JSON; moments are seconds since the load began."""
    return result.summary() | {
        "sentence": result.drill.sentence,
        "at": datetime.fromtimestamp(result.at, UTC).isoformat(timespec="seconds"),
        "seed": result.seed,
        "reasons": result.reasons,
        "node": result.node,
        "proof": result.proof,
        "refusal": result.refusal,
        "lacking": None if result.lacking is None else asdict(result.lacking),
        "rate_per_s": round(result.rate_per_s, 1),
        "marks": {name: round(at - result.at, 1) for name, at in result.marks.items()},
        "stored_per_s": result.stored,
        "failed": len(result.failures),
        "failures": [[round(at - result.at, 1), why] for at, why in result.failures[:_SHOWN_FAILURES]],
        "repeated": result.repeated,
        "problems": list(result.kept.problems[:_SHOWN_FAILURES]),
        "queries": _rounded(asdict(result.queries)),
        "reads": _rounded(asdict(result.reads)),
        "versions": result.versions,
    }


def write_overview(directory: Path) -> tuple[Path, list[dict[str, Any]]]:
    """Write ``index.html`` over all runs below a directory; return it and the runs, the last one first."""
    runs = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(directory.glob(f"*/{REPORT}"))]
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    page = directory / "index.html"
    by_name: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        by_name.setdefault(run["name"], []).append(run)
    page.write_text(_page("all.html.j2", drills=dict(sorted(by_name.items()))), encoding="utf-8")
    return page, runs[::-1]


def timeline(found: Mapping[str, Any]) -> dict[str, Any]:
    """Place bars and marks of the picture: Success per second, and when what happened."""
    stored: Sequence[int] = found["stored_per_s"]
    step, tallest = _WIDTH / max(len(stored), 1), max([*stored, 1])
    bars = [
        {"x": round(number * step, 1), "height": round(_HEIGHT * count / tallest, 1)}
        for number, count in enumerate(stored)
    ]
    marks = [
        {"name": name, "x": round(at * step, 1), "at": at, "colour": _COLOURS[name]}
        for name, at in sorted(found["marks"].items(), key=lambda mark: mark[1])
    ]
    size = {"width": _WIDTH, "height": _HEIGHT, "bar": round(step * 0.9, 2), "most": tallest}
    return size | {"bars": bars, "marks": marks}


def _rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: round(value, 3) for name, value in values.items()}


def _page(template: str, **values: Any) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template(template).render(**values)
