"""The rules: each alert fires, stays quiet, and is missed when its metric is gone; and what holds for all of them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from hapacs import status_page
from hapacs.deployment import PROJECT
from hapacs_node.probe.service import SECONDS
from monitoring import expressions, missing, objectives, scrape

HERE = Path(__file__).parent
FILES = sorted(expressions.RULES.glob("*.yml"))
ALERTS = {rule["alert"]: rule for rule in expressions.rules() if "alert" in rule}
CASES: dict[str, dict[str, Any]] = yaml.safe_load((HERE / "cases.yml").read_text(encoding="utf-8"))
OF_OBJECTIVES = {
    rule["alert"]
    for group in yaml.safe_load(objectives.RULES.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
    if "alert" in rule
}
MOST_PAGES = 12
# Without any other series: the rule of missing metrics has to see a site at all.
EMPTY_SITE = {'up{job="other",node="z"}': "1x20"}


def expected(alert: str, series: dict[str, str], minutes: int, fires: bool, *also: str) -> dict[str, Any]:
    """Return a test of promtool: whether an alert fires with some series, and which metrics are reported as missing."""

    def count(labels: str, number: int) -> dict[str, Any]:
        samples = [{"labels": "{}", "value": number}] if number else []
        wanted = f'count(ALERTS{{alertname="{labels},alertstate="firing"}})'
        return {"expr": wanted, "eval_time": f"{minutes}m", "exp_samples": samples}

    return {
        "interval": "1m",
        "name": f"{alert} {'fires' if fires else 'is quiet'}",
        "input_series": [{"series": name, "values": str(values)} for name, values in series.items()],
        "promql_expr_test": [
            count(f'{alert}"', int(fires)),
            *(count(f'MetricMissing",metric="{name}"', 1) for name in also),
        ],
    }


def cases(*, of_objectives: bool) -> list[dict[str, Any]]:
    """Return the tests of promtool for the alerts of the objectives, or for all others."""
    found = []
    for alert, case in CASES.items():
        if (alert in OF_OBJECTIVES) != of_objectives:
            continue
        minutes = case.get("minutes", 10)
        found += [expected(alert, case[name], minutes, True) for name in ("fires", "fires_also") if name in case]
        if "quiet" in case:
            found.append(expected(alert, case["quiet"], minutes, False))
        found += [expected(alert, series, minutes, False) for series in case.get("quiet_also", {}).values()]
        gone = sorted(expressions.asked(ALERTS[alert]["expr"]) & set(expressions.required()) - {"up"})
        # The rule waits for ten minutes.
        series = EMPTY_SITE | ({'up{job="prometheus-node-exporter",node="a"}': "1x20"} if alert == "FactsOld" else {})
        found.append(expected(alert, series, 15, case.get("gone") == "fires", *gone))
    return found


@pytest.mark.parametrize("of_objectives", [False, True])
def test_each_alert_fires_and_stays_quiet_and_is_missed(promtool: Path, tmp_path: Path, of_objectives: bool) -> None:
    file = tmp_path / "tests.yml"
    # promtool evaluates every rule for every test: those of the objectives are many, and no other alert needs them.
    files = (
        [objectives.RULES, expressions.MISSING] if of_objectives else [one for one in FILES if one != objectives.RULES]
    )
    content = {
        "rule_files": list(map(str, files)),
        "evaluation_interval": "1m",
        "tests": cases(of_objectives=of_objectives),
    }
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    done = subprocess.run([promtool, "test", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_its_cases() -> None:
    assert set(CASES) == set(ALERTS)
    assert [alert for alert, case in CASES.items() if "quiet" not in case] == ["Watchdog"], "it always fires"


def test_promtool_takes_every_file(promtool: Path) -> None:
    done = subprocess.run([promtool, "check", "rules", *FILES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_few_alerts_page() -> None:
    pages = [alert for alert, rule in ALERTS.items() if rule["labels"]["severity"] == "page"]
    assert 0 < len(pages) <= MOST_PAGES
    assert {rule["labels"]["severity"] for rule in ALERTS.values()} == {"page", "ticket", "watchdog"}


@pytest.mark.parametrize("alert", [*ALERTS, "MetricMissing"])
def test_runbook_begins_with_the_first_thing_to_do(alert: str) -> None:
    rule = ALERTS.get(alert) or yaml.safe_load(missing.text())["groups"][0]["rules"][0]
    assert rule["annotations"]["summary"].strip()
    lines = (PROJECT / rule["annotations"]["runbook"]).read_text(encoding="utf-8").splitlines()
    assert lines[0] == f"# {alert}"
    assert lines[2].startswith("**First:** ")


def test_every_runbook_of_an_alert_has_its_alert() -> None:
    named = {Path(rule["annotations"]["runbook"]).name for rule in ALERTS.values()} | {"metric-missing.md", "README.md"}
    # That of another alert leads to it.
    named |= {"routing-destination-fails.md"}
    assert {path.name for path in (PROJECT / "docs" / "runbooks").glob("*.md")} == named


def test_the_rule_of_missing_metrics_is_current() -> None:
    assert expressions.MISSING.read_text(encoding="utf-8") == missing.text(), (
        "run `.venv/bin/python -m monitoring.missing >monitoring/rules/missing.yml`"
    )


def test_the_rules_of_the_objectives_are_current() -> None:
    assert objectives.RULES.read_text(encoding="utf-8") == objectives.text(), (
        "run `.venv/bin/python -m monitoring.objectives >monitoring/rules/objectives.yml`"
    )


def test_a_time_of_an_objective_is_a_limit_that_the_probe_counts() -> None:
    limits = [one.within_s for one in objectives.objectives() if one.within_s is not None]
    assert limits
    assert set(limits) <= set(SECONDS), "a histogram says nothing about other limits"


def test_every_required_metric_is_in_the_scrape_of_a_running_site() -> None:
    missing_ones = {name for name in expressions.required() if name not in scrape.kept()}
    # Whoever refreshes the scrape removes from the list what it has.
    assert missing_ones == set(expressions.unseen())


def test_optional_metrics_are_those_that_rules_or_the_page_ask_for() -> None:
    asked = {name for rule in expressions.rules() for name in expressions.asked(rule["expr"])}
    groups = json.loads((status_page.PAGE / "queries.json").read_text(encoding="utf-8"))
    asked |= {name for group in groups.values() for one in group.values() for name in expressions.asked(one)}
    assert set(expressions.optional()) <= asked


def test_labels_of_summaries_and_matchers_are_in_the_scrape() -> None:
    # Prometheus adds these to each series that it scrapes, and the last one to those of the objectives.
    added = {"node", "job", "objective"}
    known = scrape.kept()
    for alert, rule in ALERTS.items():
        asked = expressions.asked(rule["expr"])
        if asked <= set(known):
            labels = {label for name in asked for label in known[name]["labels"]} | added
            assert expressions.labels(rule["annotations"]["summary"]) <= labels, alert


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("up == 0", {"up"}),
        ('sum by (node) (rate(a_total{x="y_z"}[5m])) / on (node, job) b > 3 * 86400', {"a_total", "b"}),
        ("a:b:c unless on (node) (time() - d < 180)", {"a:b:c", "d"}),
        ("predict_linear(x[6h], 4 * 86400) < 0 and y", {"x", "y"}),
        ("a / on (x) group_left b", {"a", "b"}),
        ("vector(1)", set()),
    ],
)
def test_metrics_of_an_expression_are_found(expression: str, names: set[str]) -> None:
    assert expressions.metrics(expression) == names
