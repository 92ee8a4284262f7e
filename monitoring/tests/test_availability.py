"""A month's report from a real Prometheus, with the history of a month in which something happened."""

from __future__ import annotations

import html
import json
import re
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from pypdf import PdfReader

from hapacs.availability import figures, page, period
from hapacs.availability.numbers import Numbers
from monitoring import expressions
from monitoring.tests.running import free_port

MONTH = period.month("2026-09", datetime(2026, 11, 5, tzinfo=UTC))
UNMEASURED = 100
"""The probes began so many hours after the month."""
OUTAGE = (datetime(2026, 9, 20, 10, tzinfo=UTC), timedelta(minutes=20))
# Without the marks that Prometheus sets when an alert ends, its last sample counts for five minutes.
LOOK_BACK = 5


def history() -> str:
    """Return the month in OpenMetrics: one bad hour for storing, one alert, one drained node."""
    lines = ["# TYPE objective:bad:ratio1h gauge"]
    for number in range(UNMEASURED + 1, MONTH.hours + 1):
        at = MONTH.begin + number * period.HOUR
        for name in figures.promised():
            bad = 0.5 if name == "store" and at == OUTAGE[0] + period.HOUR else 0
            lines.append(f'objective:bad:ratio1h{{objective="{name}"}} {bad} {int(at.timestamp())}')
    alert = 'alertname="StoreUnavailable",alertstate="firing",severity="page"'
    ticket = 'alertname="UnitInactive",alertstate="firing",severity="ticket",node="pacs2"'
    lines.append("# TYPE ALERTS gauge")
    for labels in (alert, ticket, alert.replace("firing", "pending").replace("Store", "Query")):
        moments = [OUTAGE[0] + minute * figures.MINUTE for minute in range(OUTAGE[1] // figures.MINUTE)]
        lines += [f"ALERTS{{{labels}}} 1 {int(at.timestamp())}" for at in moments]
    lines.append("# TYPE hapacs_node_drained gauge")
    for number, drained in enumerate((0, 1, 1, 0)):
        at = MONTH.begin + timedelta(days=3, minutes=number)
        lines.append(f'hapacs_node_drained{{node="pacs3"}} {drained} {int(at.timestamp())}')
    return "\n".join([*lines, "# EOF", ""])


@pytest.fixture(scope="module")
def server(prometheus: Path, promtool: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("prometheus")
    (directory / "history").write_text(history(), encoding="utf-8")
    (directory / "prometheus.yml").write_text("{}", encoding="utf-8")
    # One block: of two hours each there would be hundreds.
    made = [str(promtool), "tsdb", "create-blocks-from", "--max-block-duration=3000h", "openmetrics"]
    made += [str(directory / "history"), str(directory / "data")]
    subprocess.run(made, check=True, capture_output=True)
    port = free_port()
    command = [
        str(prometheus), f"--config.file={directory / 'prometheus.yml'}", f"--storage.tsdb.path={directory / 'data'}",
        "--storage.tsdb.retention.time=100y", f"--web.listen-address=127.0.0.1:{port}",
        f"--web.console.templates={directory}", f"--web.console.libraries={directory}",
    ]  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    with (directory / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            deadline = time.monotonic() + 60
            while not _ready(url):
                assert process.poll() is None, (directory / "log").read_text(encoding="utf-8")
                assert time.monotonic() < deadline, "Prometheus did not start"
                time.sleep(0.1)
            yield url
        finally:
            process.kill()


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready").is_success
    except httpx.HTTPError:
        return False


def found(*urls: str) -> page.SiteMonth:
    numbers = Numbers({f"pacs{number}": url for number, url in enumerate(urls, 1)}, None)
    try:
        return page.site_month("primary", numbers, MONTH)
    finally:
        numbers.close()


def test_recorded_names_are_those_that_the_report_asks_for() -> None:
    assert figures.SHARES in expressions.recorded()
    severities = {rule["labels"]["severity"] for rule in expressions.rules() if "alert" in rule}
    assert severities == {"page", "ticket", "watchdog"}


def test_objective_with_a_bad_hour_is_missed_and_the_others_are_kept(server: str) -> None:
    reached = {one.name: one for one in found(server).objectives}
    hours = MONTH.hours - UNMEASURED
    assert {one.hours for one in reached.values()} == {hours}
    store = reached.pop("store")
    assert store.good == pytest.approx(1 - 0.5 / hours)
    assert store.used == pytest.approx(0.5 / (0.001 * hours))
    assert (store.verdict, [day for day, _ in store.worst]) == ("kept", ["2026-09-20"])
    assert {(one.verdict, one.good, one.worst) for one in reached.values()} == {("kept", 1.0, ())}


def test_alerts_that_fired_are_incidents_and_those_that_waited_are_not(server: str) -> None:
    alerts = found(server).alerts
    assert [(one.what, one.where, one.severity) for one in alerts] == [
        ("StoreUnavailable", "", "page"), ("UnitInactive", "pacs2", "ticket"),
    ]  # fmt: skip
    assert alerts[0].begin == OUTAGE[0]
    minutes = OUTAGE[1] // figures.MINUTE
    assert minutes <= alerts[0].minutes <= minutes + LOOK_BACK


def test_drained_nodes_are_planned_work(server: str) -> None:
    assert [(one.what, one.minutes) for one in found(server).planned] == [("pacs3", 2)]


def test_hours_without_numbers_are_said_and_count_neither_way(server: str) -> None:
    missing = found(server).missing
    assert f"store was measured in {MONTH.hours - UNMEASURED} of {MONTH.hours} hours." in missing


def test_one_prometheus_is_enough_and_the_other_one_is_named(server: str) -> None:
    both = found(f"http://127.0.0.1:{free_port()}", server)
    assert both.measured
    assert any(line.startswith("The Prometheus of pacs1 gave no numbers") for line in both.missing)
    assert both.objectives == found(server).objectives


def test_without_any_prometheus_nothing_is_said_to_be_good(tmp_path: Path) -> None:
    nothing = found(f"http://127.0.0.1:{free_port()}")
    assert not nothing.measured
    assert {one.verdict for one in nothing.objectives} == {"not measured"}
    text = page.html(page.document("lab", MONTH, [nothing], tmp_path, MONTH.end))
    assert "0 of 8 objectives were kept, 0 missed" in text
    assert "Incidents are not known." in text
    assert "No Prometheus answered" in text


def test_page_pdf_and_json_are_written_with_the_same_words(server: str, tmp_path: Path) -> None:
    state = tmp_path / "drills"
    for number in range(40):
        run = {
            "name": "storing-killed", "sentence": f"Fault {number}: \u00fc \u4e2d <b>", "ok": number != 7,
            "void": number == 8, "outage_s": 3.5, "deadline_s": 10, "acknowledged": 445, "lost": 0, "corrupted": 0,
            "stored_per_s": [9] * 60, "at": f"2026-09-02T{number // 2:02}:{number % 2 * 30:02}:00+00:00",
        }  # fmt: skip
        directory = state / f"run-{number:02}"
        directory.mkdir(parents=True)
        (directory / "report.json").write_text(json.dumps(run), encoding="utf-8")
    document = page.document("lab", MONTH, [found(server)], state, MONTH.end)
    file = page.write(document, tmp_path / "reports", MONTH.end)
    assert json.loads(file.with_suffix(".json").read_text(encoding="utf-8")) == json.loads(json.dumps(document))
    shown = html_text(file.read_text(encoding="utf-8"))
    reader = PdfReader(file.with_suffix(".pdf"))
    assert len(reader.pages) > 1
    assert reader.metadata is not None
    assert reader.metadata.title == "Availability of lab, 2026-09"
    printed = " ".join("".join(one.extract_text() for one in reader.pages).split())
    for text in (
        "8 of 8 objectives were kept, 0 missed, 0 not measured. Incidents: 1.",
        "store was measured in 620 of 720 hours.",
        "Store unavailable",
        "2026-09-20: 97.916 %",
        "Fault 7: \u00fc",
        "failed",
        "proved nothing",
        "page 1 of",
    ):
        assert text in printed, text
        if not text.startswith("page"):
            assert text in shown, text
    assert "<b>" in shown, "what a report says is text, never a tag"


def html_text(page_text: str) -> str:
    """Return the text of a page without its tags."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page_text.partition("<body>")[2])).split())


def test_answer_that_is_no_series_is_said(server: str) -> None:
    refused = found(f"{server}/api/v1/nothing?")
    assert not refused.measured
    assert json.dumps(refused.missing)
    assert "The Prometheus of pacs1 gave no numbers" in refused.missing[0]
