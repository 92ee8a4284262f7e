"""The report of a month: which month, what is joined, and what the page says."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hapacs.availability import blocks, figures, page, period
from hapacs.availability.figures import Reached, Time
from hapacs.availability.numbers import Numbers, Series
from hapacs.errors import UsageError

NOW = datetime(2026, 11, 29, 20, 40, tzinfo=UTC)
OCTOBER = period.month("2026-10", NOW)
BEGIN = datetime(2026, 10, 7, 9, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
GOOD = Reached("store", "An image that is sent is stored", 0.999, 0.99995, 0.05, 744)


def moments(*minutes: int) -> dict[int, float]:
    return {int((BEGIN + minute * MINUTE).timestamp()): 1.0 for minute in minutes}


def test_month_that_is_over_ends_with_the_next_one() -> None:
    assert (OCTOBER.hours, OCTOBER.complete) == (31 * 24, True)
    assert OCTOBER.end == datetime(2026, 11, 1, tzinfo=UTC)
    assert OCTOBER.holds(OCTOBER.begin)
    assert not OCTOBER.holds(OCTOBER.end)


def test_month_that_goes_on_ends_with_the_last_full_hour() -> None:
    november = period.month("2026-11", NOW)
    assert (november.end, november.complete) == (datetime(2026, 11, 29, 20, tzinfo=UTC), False)


def test_december_ends_with_the_year() -> None:
    assert period.month("2025-12", NOW).end == datetime(2026, 1, 1, tzinfo=UTC)
    assert period.last(datetime(2026, 1, 31, tzinfo=UTC)) == "2025-12"


@pytest.mark.parametrize("name", ["", "2026", "2026-13", "2026-1", "november", "2026-12", "1969-12", "2026-11-01"])
def test_month_that_is_none_or_has_not_begun_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        period.month(name, NOW)


def test_objective_is_missed_when_more_was_bad_than_allowed() -> None:
    hours = {int((OCTOBER.begin + number * period.HOUR).timestamp()): 0.0 for number in range(1, 101)}
    hours[max(hours)] = 0.2
    missed = figures.reached("store", {"target": 0.999, "about": "x"}, hours)
    assert missed.good == pytest.approx(0.998)
    assert missed.used == pytest.approx(2)
    assert missed.verdict == "missed"


def test_hour_that_ends_at_midnight_belongs_to_the_day_before() -> None:
    midnight = int(datetime(2026, 10, 8, tzinfo=UTC).timestamp())
    found = figures.reached("store", {"target": 0.9, "about": "x"}, {midnight: 0.05})
    assert [day for day, _ in found.worst] == ["2026-10-07"]


def test_series_about_one_thing_are_one_time_and_a_gap_parts_two() -> None:
    found: Series = {
        (("alertname", "UnitInactive"), ("node", "pacs2"), ("unit", "etcd")): moments(0, 1, 2),
        (("alertname", "UnitInactive"), ("node", "pacs2"), ("unit", "patroni")): moments(2, 3, 20),
        (("alertname", "UnitInactive"), ("node", "pacs3"), ("unit", "etcd")): moments(1),
    }
    times = figures.times(found, "alertname", ("node",))
    assert [(one.where, one.begin - BEGIN, one.minutes) for one in times] == [
        ("pacs2", 0 * MINUTE, 4), ("pacs3", MINUTE, 1), ("pacs2", 20 * MINUTE, 1),
    ]  # fmt: skip


def test_of_two_prometheus_each_has_what_the_other_one_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(_self: Numbers, node: str, _url: str, _asked: Any) -> list[dict[str, Any]]:
        values = {"a": [[60, "0.25"], [120, "NaN"]], "b": [[60, "0.5"], [120, "0"], [180, "0.1"]]}[node]
        return [{"metric": {"objective": "store"}, "values": values}]

    monkeypatch.setattr(Numbers, "_ask", answer)
    both = Numbers({"a": "http://a.invalid", "b": "http://b.invalid"}, None)
    begin = datetime.fromtimestamp(0, UTC)
    found = both.series("x", begin, begin + timedelta(minutes=3), MINUTE)
    assert found == {(("objective", "store"),): {60: 0.5, 120: 0.0, 180: 0.1}}


def test_long_time_is_asked_in_parts_that_prometheus_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def answer(_self: Numbers, _node: str, _url: str, one: Any) -> list[dict[str, Any]]:
        asked.append((one["start"], one["end"]))
        return []

    monkeypatch.setattr(Numbers, "_ask", answer)
    Numbers({"a": "http://a.invalid"}, None).series("x", OCTOBER.begin, OCTOBER.end, MINUTE)
    assert max((end - begin) // 60 + 1 for begin, end in asked) <= 11_000
    steps = [at for begin, end in asked for at in range(begin, end + 1, 60)]
    begin, end = int(OCTOBER.begin.timestamp()), int(OCTOBER.end.timestamp())
    assert steps == list(range(begin, end + 1, 60)), "each minute once"


def run(directory: Path, name: str, at: str, **others: object) -> None:
    document = {
        "name": name, "sentence": f"The {name} is killed.", "ok": True, "void": False, "outage_s": 3.5, "at": at,
        "deadline_s": 10, "acknowledged": 812, "lost": 0, "corrupted": 0, "stored_per_s": [1] * 90,
    }  # fmt: skip
    place = directory / f"{at}-{name}"
    place.mkdir(parents=True)
    (place / "report.json").write_text(json.dumps(document | others), encoding="utf-8")


def site(**others: Any) -> page.SiteMonth:
    given: dict[str, Any] = {
        "objectives": [GOOD],
        "alerts": [],
        "planned": [],
        "missing": [],
        "measured": True,
    } | others
    return page.SiteMonth("primary", **given)


def written(directory: Path, one: page.SiteMonth) -> tuple[dict[str, Any], str]:
    document = page.document("lab", OCTOBER, [one], directory, NOW)
    return document, page.html(document)


def test_only_drills_of_the_month_are_listed(tmp_path: Path) -> None:
    run(tmp_path, "storing", "2026-10-31T23:59:59+00:00")
    run(tmp_path, "database", "2026-11-01T00:00:00+00:00")
    run(tmp_path, "archive", "2026-09-30T23:59:59+00:00")
    document, text = written(tmp_path, site())
    assert [one["name"] for one in document["drills"]] == ["storing"]
    assert "The storing is killed." in text
    assert "passed" in text


def test_report_of_a_drill_that_can_not_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "report.json").write_text('{"at": 7}', encoding="utf-8")
    document, text = written(tmp_path, site())
    assert document["missing"] == ["The report of the drill broken can't be read."]
    assert "The report of the drill broken" in text


def test_drill_that_failed_or_proved_nothing_is_not_said_to_have_passed(tmp_path: Path) -> None:
    run(tmp_path, "storing", "2026-10-02T10:00:00+00:00", ok=False, lost=1)
    run(tmp_path, "database", "2026-10-03T10:00:00+00:00", ok=False, void=True)
    _, text = written(tmp_path, site())
    assert "passed" not in text
    assert ">failed<" in text
    assert ">proved nothing<" in text


def test_incident_says_which_drill_or_planned_work_it_was_during(tmp_path: Path) -> None:
    run(tmp_path, "storing", BEGIN.isoformat())
    alerts = [
        Time(BEGIN + MINUTE, BEGIN + 3 * MINUTE, "NodeDown", "pacs1", "page"),
        Time(BEGIN + 60 * MINUTE, BEGIN + 61 * MINUTE, "NodeDown", "pacs2", "page"),
        Time(BEGIN + 90 * MINUTE, BEGIN + 91 * MINUTE, "NodeDown", "pacs3", "page"),
    ]
    planned = [Time(BEGIN + 50 * MINUTE, BEGIN + 70 * MINUTE, "pacs2")]
    document, text = written(tmp_path, site(alerts=alerts, planned=planned))
    during = [one["during"] for one in document["sites"][0]["incidents"]]
    assert during == [["drill storing"], ["pacs2 was drained"], []]
    assert "Node down" in text


def test_alerts_that_could_wait_are_counted(tmp_path: Path) -> None:
    alerts = [
        Time(BEGIN, BEGIN + 3 * MINUTE, "UnitInactive", "pacs1", "ticket"),
        Time(BEGIN, BEGIN + 4 * MINUTE, "UnitInactive", "pacs2", "ticket"),
    ]
    document, _ = written(tmp_path, site(alerts=alerts))
    assert document["sites"][0]["tickets"] == [{"what": "UnitInactive", "times": 2, "minutes": 7}]
    assert document["sites"][0]["incidents"] == []


@pytest.mark.parametrize(
    ("share", "text"),
    [(1.0, "100 %"), (0.9999996, "99.999 %"), (0.999, "99.9 %"), (0.0, "0 %"), (None, "unknown")],
)
def test_share_is_never_shown_better_than_it_is(share: float | None, text: str) -> None:
    assert blocks.percent(share) == text


def test_text_of_labels_can_not_become_markup(tmp_path: Path) -> None:
    alerts = [Time(BEGIN, BEGIN + MINUTE, "NodeDown", "<script>", "page")]
    _, text = written(tmp_path, site(alerts=alerts))
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
