"""The dashboards: current, taken by promtool, and of metrics and labels that a running site gives."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from hapacs.deployment import PROJECT
from monitoring import expressions, grafana, scrape
from monitoring.boards import BOARDS, Query

QUERIES = [
    pytest.param(query, id=f"{board.name}: {panel.title}")
    for board in BOARDS
    for panel in board.panels
    for query in panel.queries
]
# Prometheus makes it itself.
OWN = {"ALERTS": {"alertname", "alertstate", "severity"}}
# Prometheus adds these to each series, and the rules of the objectives the last one.
ADDED = {"node", "job", "objective"}
# Of series that a healthy site may lack, as rules use them.
OPTIONAL = {"destination", "state"}
TEMPLATE = PROJECT / "ansible" / "roles" / "prometheus" / "templates" / "prometheus.yml.j2"


def written() -> dict[str, dict[str, Any]]:
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in grafana.DIRECTORY.glob("*.json")}


def used_labels(query: Query) -> set[str]:
    """Return the labels that an expression matches or groups by, and those in the names of its series."""
    plain = re.sub(r'"[^"]*"', '""', query.expression)
    matched = {name for part in re.findall(r"\{([^}]*)\}", plain) for name in re.findall(r"(\w+)\s*[=!]", part)}
    grouped = re.findall(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)", plain)
    named = set(re.findall(r"\{\{(\w+)\}\}", query.legend))
    return matched | named | {name.strip() for part in grouped for name in part.split(",")}


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_file_is_what_the_code_makes(board: Any) -> None:
    file = grafana.DIRECTORY / f"{board.name}.json"
    assert file.read_text(encoding="utf-8") == grafana.text(board), "run `.venv/bin/python -m monitoring.grafana`"


def test_there_is_no_file_without_its_code() -> None:
    assert set(written()) == {board.name for board in BOARDS}


def test_promtool_takes_every_expression(taken: Callable[[Mapping[str, str]], None]) -> None:
    found = [target["expr"] for board in written().values() for panel in board["panels"] for target in panel["targets"]]
    assert len(found) == len(QUERIES)
    taken({f"dashboard:{number}": one for number, one in enumerate(found)})


@pytest.mark.parametrize("query", QUERIES)
def test_every_metric_is_recorded_or_in_the_scrape_of_a_running_site(query: Query) -> None:
    names = expressions.metrics(query.expression)
    assert names, "an expression without a metric shows nothing"
    assert names <= set(scrape.kept()) | set(expressions.recorded()) | set(expressions.optional()) | set(OWN)


@pytest.mark.parametrize("query", QUERIES)
def test_every_label_is_in_the_scrape_of_a_running_site(query: Query) -> None:
    known = scrape.kept()
    asked = expressions.asked(query.expression)
    labels = {label for name in asked & set(known) for label in known[name]["labels"]}
    labels |= {label for name in asked & set(OWN) for label in OWN[name]}
    labels |= OPTIONAL if asked - set(known) - set(OWN) else set()
    assert used_labels(query) <= labels | ADDED


@pytest.mark.parametrize("query", QUERIES)
def test_no_metric_is_one_that_prometheus_drops(query: Query) -> None:
    (dropped,) = re.findall(r'action: drop, regex: "([^"]+)"', TEMPLATE.read_text(encoding="utf-8"))
    assert not [name for name in expressions.metrics(query.expression) if re.fullmatch(dropped, name)]


def test_panels_lie_beside_each_other_and_have_a_place_for_each_site() -> None:
    for name, board in written().items():
        places = [panel["gridPos"] for panel in board["panels"]]
        cells = [
            (x, y)
            for place in places
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        ]
        assert len(cells) == len(set(cells)), f"{name}: panels cover each other"
        assert max(x for x, _ in cells) < 24
        assert {panel["datasource"]["uid"] for panel in board["panels"]} == {grafana.SOURCE}
        assert [one["name"] for one in board["templating"]["list"]] == ["source"]


@pytest.mark.parametrize(
    ("expression", "legend", "labels"),
    [
        ('sum by (a, b) (rate(x{c="d=e",f=~".+"}[5m]))', "{{g}}", {"a", "b", "c", "f", "g"}),
        ("x / on (a) group_left y", "", {"a"}),
        ("up", "", set()),
    ],
)
def test_labels_of_a_query_are_found(expression: str, legend: str, labels: set[str]) -> None:
    assert used_labels(Query(expression, legend)) == labels
