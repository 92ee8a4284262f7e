"""Draws figures and writes tables from the results of benchmarks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hapacs.bench import ingest
from hapacs.bench.retrieve import METHODS, TEMPERATURES
from hapacs.errors import RefusedError

KINDS = ("ingest", "retrieve", "growth")
_BARE, _SITE = "#8a8f98", "#1f6f8b"
_SIDES = {"bare": _BARE, "site": _SITE}
# Components with less time for an image are summed up as others.
_SMALLEST_MS = 0.3
_OTHERS = "others"


def write(results: Path, directory: Path) -> list[Path]:
    """Copy results, draw them, and write the page with their figures.

    Parameters
    ----------
    results
        A directory with a JSON file for each benchmark that was run.
    directory
        Directory for results, figures and page. Results that `results` lacks are read from here.

    Returns
    -------
    list of Path
        The written files.

    Raises
    ------
    RefusedError
        When there is no result at all.
    """
    directory.mkdir(parents=True, exist_ok=True)
    documents: dict[str, dict[str, Any]] = {}
    written: list[Path] = []
    for kind in KINDS:
        source, kept = results / f"{kind}.json", directory / f"{kind}.json"
        if source.exists():
            kept.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
        if kept.exists():
            documents[kind] = json.loads(kept.read_text(encoding="utf-8"))
            written.append(kept)
    if not documents:
        raise RefusedError(f"There is no result in {results}.", "`hapacs bench ingest` measures one.")
    # The same results give the same files.
    with mpl.rc_context(
        {"svg.hashsalt": "hapacs", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    ):
        for kind, document in documents.items():
            path = directory / f"{kind}.svg"
            _DRAW[kind](document).savefig(path, format="svg", bbox_inches="tight", metadata={"Date": None})
            written.append(path)
    page = directory / "results.md"
    page.write_text("\n".join(_page(documents)), encoding="utf-8")
    return [*written, page]


def components(used: Mapping[str, float]) -> dict[str, float]:
    """Return the processor time of an image by component, the largest first and small ones summed up."""
    shown = {name: value for name, value in used.items() if value >= _SMALLEST_MS}
    rest = sum(used.values()) - sum(shown.values())
    ordered = dict(sorted(shown.items(), key=lambda item: -item[1]))
    return {**ordered, _OTHERS: round(rest, 2)} if rest > 0 else ordered


def _draw_ingest(document: Mapping[str, Any]) -> Figure:
    figure = Figure(figsize=(9, 5.4), layout="constrained")
    grid = figure.add_gridspec(2, 2)
    rates, times = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1])
    _rates(rates, {side: document[side]["per_s"] for side in _SIDES})
    rates.set_title(f"Stored a second, {document['associations']} associations (ratio {document['ratio']:.2f})")
    for offset, (side, colour) in enumerate(_SIDES.items()):
        response = document[side]["response_ms"]
        bars = times.bar([x + 0.4 * offset for x in range(len(response))], list(response.values()), 0.4, color=colour)
        times.bar_label(bars, fmt="%.0f")
        bars.set_label(side)
    times.set_xticks([x + 0.2 for x in range(3)], ["p50", "p95", "p99"])
    times.set_ylabel("ms")
    times.set_title("Answer to a C-STORE")
    times.legend(frameon=False)
    _processors(figure.add_subplot(grid[1, :]), {side: document[side]["cpu_ms_per_instance"] for side in _SIDES})
    return figure


def _draw_retrieve(document: Mapping[str, Any]) -> Figure:
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    for axes, temperature in zip(figure.subplots(1, 2, sharey=True), TEMPERATURES, strict=True):
        names = []
        for number, method in enumerate(METHODS):
            one = document[temperature][method]
            names.append(f"{method}\nratio {one['ratio']:.2f}")
            for offset, (side, colour) in enumerate(_SIDES.items()):
                bars = axes.bar(number + 0.4 * offset, one[side]["per_s"]["median"], 0.4, color=colour)
                axes.bar_label(bars, fmt="%.0f")
                _points(axes, number + 0.4 * offset, one[side]["per_s"]["rounds"])
        axes.set_xticks([x + 0.2 for x in range(len(METHODS))], names)
        axes.set_title(f"{temperature}: images a second (grey bare, blue site)")
    return figure


def _draw_growth(document: Mapping[str, Any]) -> Figure:
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes = figure.subplots()
    few, many = document["few"], document["many"]
    kinds = list(document["ratios"])
    for number, kind in enumerate(kinds):
        base = few[kind]["per_s"]["median"]
        for offset, (one, colour) in enumerate(((few, _BARE), (many, _SITE))):
            series = one[kind]["per_s"]
            bars = axes.bar(number + 0.4 * offset, series["median"] / base, 0.4, color=colour)
            axes.bar_label(bars, [f"{series['median']:.0f}/s"])
            _points(axes, number + 0.4 * offset, [value / base for value in series["rounds"]])
    axes.set_xticks([x + 0.2 for x in range(len(kinds))], [f"{kind}\n{document['ratios'][kind]:.2f}" for kind in kinds])
    axes.set_title(f"Rates beside {few['rows']:,} (grey) and {many['rows']:,} (blue) rows")
    return figure


_DRAW = {"ingest": _draw_ingest, "retrieve": _draw_retrieve, "growth": _draw_growth}


def _rates(axes: Axes, series: Mapping[str, Mapping[str, Any]]) -> None:
    for position, (side, one) in enumerate(series.items()):
        axes.bar_label(axes.bar(position, one["median"], 0.6, color=_SIDES[side]), fmt="%.1f")
        _points(axes, position, one["rounds"])
    axes.set_xticks(range(len(series)), list(series))


def _points(axes: Axes, position: float, values: Sequence[float]) -> None:
    """Draw each round as a point: their spread is the noise."""
    axes.plot([position] * len(values), values, ".", color="black", markersize=3)


def _processors(axes: Axes, sides: Mapping[str, Mapping[str, float]]) -> None:
    colours = mpl.colormaps["tab20"].colors  # type: ignore[attr-defined] # of a listed colormap
    shown = {side: components(used) for side, used in sides.items()}
    names = list(dict.fromkeys(name for used in reversed(list(shown.values())) for name in used))
    left = dict.fromkeys(shown, 0.0)
    for number, name in enumerate(names):
        for position, (side, used) in enumerate(shown.items()):
            label = name if position == 0 else None
            axes.barh(position, used.get(name, 0), left=left[side], color=colours[number % len(colours)], label=label)
            left[side] += used.get(name, 0)
    axes.set_yticks(range(len(shown)), [f"{side}\n{left[side]:.1f} ms" for side in shown])
    axes.set_title("Processor time of an image by component, ms")
    axes.legend(ncols=5, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.15), fontsize=8)


def _page(documents: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = ["# Results", "", "Made by `hapacs bench report` of the JSON files beside this page."]
    for kind, document in documents.items():
        lines += ["", f"## {kind}", "", f"Measured {document['at']}, {document['failed']} failed.", ""]
        lines += [f"![{kind}]({kind}.svg)", "", *_TABLES[kind](document)]
    return [*lines, ""]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def _ingest_tables(document: Mapping[str, Any]) -> list[str]:
    parts = ingest.parts(document)
    rows, nodes = [], []
    for part in parts:
        for side in _SIDES:
            one, count = part[side], str(part["associations"])
            times = [f"{value:.1f}" for value in one["response_ms"].values()]
            in_all = f"{sum(one['cpu_ms_per_instance'].values()):.1f}"
            rows.append([count, side, *_rate(one["per_s"]), *times, in_all])
            # Of a run before nodes were told apart there are none.
            by_node = one.get("cpu_ms_per_instance_by_node", {})
            nodes.append([count, side, ", ".join(f"{node} {value:.1f}" for node, value in by_node.items())])
    head = ["at a time", "", "images/s", "rounds", "p50 ms", "p95 ms", "p99 ms", "CPU ms/image"]
    used = {side: document[side]["cpu_ms_per_instance"] for side in _SIDES}
    names = dict.fromkeys([*used["site"], *used["bare"]])
    cpu = [[name, *(f"{used[side].get(name, 0):.2f}" for side in _SIDES)] for name in names]
    ratios = ", ".join(f"**{part['ratio']:.2f}** with {part['associations']} at a time" for part in parts)
    return [
        *(f"Ratio {ratios}.", ""),
        *_table(head, rows),
        "",
        *_table(["CPU ms/image", *_SIDES], cpu),
        "",
        *_table(["at a time", "", "CPU ms/image of the services, by node"], nodes),
    ]


def _retrieve_tables(document: Mapping[str, Any]) -> list[str]:
    rows = []
    for temperature in TEMPERATURES:
        for method in METHODS:
            one = document[temperature][method]
            sides = [text for side in ("site", "bare") for text in _rate(one[side]["per_s"])]
            rows.append([temperature, method, *sides, f"**{one['ratio']:.2f}**"])
    head = ["DAS", "by", "site images/s", "rounds", "bare images/s", "rounds", "ratio"]
    cpu = []
    for temperature in TEMPERATURES:
        for method in METHODS:
            for side in ("site", "bare"):
                used = components(document[temperature][method][side]["cpu_ms_per_instance"])
                shares = ", ".join(f"{name} {value:.1f}" for name, value in used.items())
                cpu.append([temperature, method, side, shares])
    return [*_table(head, rows), "", *_table(["DAS", "by", "", "CPU ms/image"], cpu)]


def _growth_tables(document: Mapping[str, Any]) -> list[str]:
    rows = [
        [kind, *_rate(document["few"][kind]["per_s"]), *_rate(document["many"][kind]["per_s"]), f"**{ratio:.2f}**"]
        for kind, ratio in document["ratios"].items()
    ]
    beside = [f"/s beside {document[size]['rows']:,} rows" for size in ("few", "many")]
    return _table(["", beside[0], "rounds", beside[1], "rounds", "ratio"], rows)


def _rate(series: Mapping[str, Any]) -> tuple[str, str]:
    return f"{series['median']:.1f}", " ".join(f"{value:.1f}" for value in series["rounds"])


_TABLES = {"ingest": _ingest_tables, "retrieve": _retrieve_tables, "growth": _growth_tables}
