"""Writes the dashboards for a Grafana that the hospital has.

.venv/bin/python -m monitoring.grafana

It needs the requirements of development; a site needs only the files that it writes. Who looks chooses the data source:
each site has two Prometheus with the same numbers.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from monitoring.boards import BOARDS, Board, Panel, Query

DIRECTORY = Path(__file__).parent / "dashboards"
SOURCE = "${source}"
_COLUMNS = 24
_WIDTH = {"lines": 12, "stat": 4, "table": 24}
_HEIGHT = {"lines": 8, "stat": 4, "table": 8}


def text(board: Board) -> str:
    """Return the file of a dashboard."""
    # A list of all of them on each.
    link = builders.DashboardLink("hapacs").type(models.DashboardLinkType.DASHBOARDS).tags(["hapacs"]).as_dropdown(True)
    made = (
        builders.Dashboard(f"hapacs: {board.title}")
        .uid(f"hapacs-{board.name}")
        .tags(["hapacs"])
        .timezone("browser")
        .time(board.since, "now")
        .refresh("1m")
        .readonly()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .with_variable(builders.DatasourceVariable("source").label("Prometheus").type("prometheus"))
        .link(link)
    )  # fmt: skip
    x = y = row_height = 0
    for number, panel in enumerate(board.panels, 1):
        width = _COLUMNS if panel.wide else _WIDTH[panel.kind]
        if x + width > _COLUMNS:
            x, y, row_height = 0, y + row_height, 0
        height = _HEIGHT[panel.kind]
        made.with_panel(_panel(panel).id(number).grid_pos(models.GridPos(height, width, x, y)))
        x, row_height = x + width, max(row_height, height)
    return json.dumps(made.build(), cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


def _panel(panel: Panel) -> timeseries.Panel | stat.Panel | table.Panel:
    made: timeseries.Panel | stat.Panel | table.Panel
    match panel.kind:
        case "lines":
            legend = common_builders.VizLegendOptions().show_legend(True).placement(common.LegendPlacement.BOTTOM)
            tooltip = common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI)
            made = timeseries.Panel().min(0).fill_opacity(5).legend(legend).tooltip(tooltip)
        case "stat":
            last = common_builders.ReduceDataOptions().calcs(["lastNotNull"])
            made = stat.Panel().thresholds(_thresholds(panel)).reduce_options(last).no_value("no data")
        case "table":
            made = table.Panel().no_value("none")
    made.title(panel.title).unit(panel.unit).datasource(_source())
    if panel.about:
        made.description(panel.about)
    for letter, query in zip("ABCDEF", panel.queries, strict=False):
        made.with_target(_query(query, panel.kind, letter))
    return made


def _query(query: Query, kind: str, letter: str) -> prometheus.Dataquery:
    made = prometheus.Dataquery().expr(query.expression).ref_id(letter).datasource(_source())
    if query.legend:
        made.legend_format(query.legend)
    if kind == "lines":
        return made.range()
    if kind == "table":
        made.format(PromQueryFormat.TABLE)
    return made.instant()


def _source() -> common.DataSourceRef:
    return common.DataSourceRef("prometheus", SOURCE)


def _thresholds(panel: Panel) -> builders.ThresholdsConfig:
    first = models.Threshold(None, "green" if panel.red_below is None else "red")
    steps = [first]
    if panel.red_below is not None:
        steps.append(models.Threshold(panel.red_below, "green"))
    if panel.red_from is not None:
        steps.append(models.Threshold(panel.red_from, "red"))
    return builders.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)


def main() -> None:
    """Write all dashboards, and remove files of those that are gone."""
    DIRECTORY.mkdir(exist_ok=True)
    for file in DIRECTORY.glob("*.json"):
        file.unlink()
    for board in BOARDS:
        (DIRECTORY / f"{board.name}.json").write_text(text(board), encoding="utf-8")
    sys.stdout.write(f"{DIRECTORY}: {len(BOARDS)} dashboards\n")


if __name__ == "__main__":
    main()
