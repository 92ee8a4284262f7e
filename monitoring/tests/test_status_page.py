"""What the status page asks: expressions that promtool takes, of metrics that a running site gave."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

import pytest

from hapacs import status_page
from monitoring import expressions, objectives, scrape

GROUPS: dict[str, dict[str, str]] = json.loads((status_page.PAGE / "queries.json").read_text(encoding="utf-8"))
ASKED = {name: expression for group in GROUPS.values() for name, expression in group.items()}
# Prometheus adds the first two to each series that it scrapes, the objectives' rules the third, an expression the last.
ADDED = {"node", "job", "objective", "place"}


def test_names_of_expressions_are_unique() -> None:
    assert len(ASKED) == sum(map(len, GROUPS.values()))
    assert len(set(ASKED.values())) == len(ASKED)


def test_promtool_takes_every_expression(taken: Callable[[Mapping[str, str]], None]) -> None:
    taken({f"page:{name}:now": expression for name, expression in ASKED.items()})


@pytest.mark.parametrize("name", ASKED)
def test_every_metric_is_in_the_scrape_of_a_running_site(name: str) -> None:
    asked = expressions.asked(ASKED[name])
    assert asked or name == "clock"
    assert asked - set(expressions.optional()) <= set(scrape.kept())


@pytest.mark.parametrize("name", ASKED)
def test_every_label_is_in_the_scrape(name: str) -> None:
    expression = ASKED[name]
    grouped = re.findall(r"\b(?:by|on) \(([^)]*)\)", expression)
    labels = {label.strip() for listed in grouped for label in listed.split(",")}
    labels |= set(re.findall(r"(\w+)(?:=~|!~|!=|=)\"", expression))
    asked = expressions.asked(expression)
    # What a healthy site may lack is in no scrape either.
    if asked <= set(scrape.kept()):
        assert labels <= {label for metric in asked for label in scrape.kept()[metric]["labels"]} | ADDED


def test_the_page_asks_for_nothing_else() -> None:
    """The scripts have no expression of their own."""
    scripts = "".join(path.read_text(encoding="utf-8") for path in status_page.PAGE.glob("*.js"))
    assert not re.search(r"hapacs_\w+_|patroni_|node_[a-z]+_|\[\d+[mhd]\]", scripts)


def test_the_budget_counts_the_hours_of_the_promise() -> None:
    # 30 days of hours; the promise is over 30 days (ADR 64).
    assert "[30d:1h]) / 720 /" in ASKED["left"]
    names = {one["name"] for one in json.loads(status_page.files()["site.json"])["objectives"]}
    assert names == {one.name for one in objectives.objectives()}


def luminance(colour: str) -> float:
    """Return the relative luminance of ``#rrggbb`` (WCAG 2.2, "relative luminance")."""
    digits = colour.removeprefix("#")
    digits = "".join(2 * one for one in digits) if len(digits) == 3 else digits
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_text_can_be_read_on_its_ground(mode: int) -> None:
    blocks = re.findall(r":root \{(.*?)\}", (status_page.PAGE / "page.css").read_text(encoding="utf-8"), re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#\w+)", blocks[mode]))
    texts = ["text", "quiet", "link", "good", "note", "unknown", "warn", "bad"]
    for ground in (luminance(colours["ground"]), luminance(colours["card"])):
        for name in texts:
            darker, lighter = sorted((ground, luminance(colours[name])))
            assert (lighter + 0.05) / (darker + 0.05) >= 4.5, name
