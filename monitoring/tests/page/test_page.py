"""The status page in a real browser, on made sites: what it says, on which screens, and when it has no data."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from monitoring.tests.page.made import UNITS, Site

Look = Callable[..., Page]


def verdict(page: Page) -> Any:
    return page.locator("#verdict")


def node(page: Page, name: str) -> Any:
    return page.get_by_role("article", name=name)


def row(page: Page, section: str, name: str) -> Any:
    return page.locator(f"#{section}").get_by_role("row").filter(has_text=name)


def minutes_until(page: Page, words: str) -> None:
    """Let the page's clock go on until its first line is as expected; answers take their real time."""
    for _ in range(20):
        page.clock.run_for(15_000)
        page.wait_for_timeout(100)
        if verdict(page).inner_text() == words:
            return
    expect(verdict(page)).to_have_text(words)


@pytest.mark.parametrize(
    ("size", "dark"), [("desk", False), ("desk", True), ("phone", False), ("phone", True), ("wall", True)]
)
def test_a_good_site_fits_each_screen(look: Look, size: str, dark: bool) -> None:
    page = look(f"good-{size}{'-dark' if dark else ''}", size, dark=dark)
    expect(verdict(page)).to_have_text("✓ All is well")
    expect(page).to_have_title("✓ All is well")
    expect(page.get_by_role("heading", level=1, name="All is well")).to_have_count(1)
    expect(page.locator("#stale")).to_be_empty()
    expect(page.locator("#site")).to_have_text("made")
    for name in ("pacs1", "pacs2", "pacs3"):
        expect(node(page, name)).to_contain_text(f"all {len(UNITS)} services run")
    expect(node(page, "pacs1")).to_contain_text("has the address")
    expect(node(page, "pacs2")).to_contain_text("leads the archive")
    expect(page.locator("#hours canvas")).to_have_count(4)
    wide, shown = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide <= shown, "a part of the page is outside of the screen"


def test_sections_show_what_was_asked(look: Look) -> None:
    page = look("sections")
    expect(page.locator("#why")).to_have_text("An image is found within 2.5 s: 18 % of the budget left")
    expect(row(page, "objectives", "found within 2.5 s")).to_contain_text("18 %")
    expect(row(page, "objectives", "An image that is sent is stored")).to_contain_text("98.5 %")
    expect(row(page, "delivery", "RADIOLOGY")).to_contain_text("42 s")
    expect(row(page, "delivery", "pacs2")).to_contain_text("0.4 s")
    expect(row(page, "delivery", "pacs1")).to_have_count(0)
    expect(row(page, "space", "DAS on pacs1")).to_contain_text("in 33 d")
    expect(row(page, "space", "Archive on pacs2")).to_contain_text("in 2100 d")
    expect(row(page, "space", "System on pacs3")).to_contain_text("not in sight")
    expect(row(page, "checks", "hapacs-scrub").first).to_contain_text("5 h ago")
    expect(page.locator("#drills > div > p").first).to_have_text("✓ 2 of 2 passed their last run, the newest 3 d ago")
    expect(row(page, "drills", "storing-killed")).to_contain_text("3.5 s of 10 s")
    chart = page.get_by_role("img", name="Time of the probes' steps, six hours. Now find")
    expect(chart).to_have_count(1)


def test_the_other_site_and_backups_are_shown(look: Look) -> None:
    page = look("elsewhere", "phone")
    part = page.locator("#elsewhere")
    expect(part.locator("dl div").filter(has_text="This site")).to_contain_text("✓ leads")
    expect(part.locator("dl div").filter(has_text="Watchdog")).to_contain_text("1 min ago")
    expect(part.locator("dl div").filter(has_text="lacks")).to_contain_text("nothing")
    expect(row(page, "elsewhere", "made-dr")).to_contain_text("2 d ago")
    expect(row(page, "elsewhere", "made-primary")).to_contain_text("its WAL leaves")


def test_a_site_of_which_the_other_one_knows_nothing_is_not_well(look: Look, site: Site) -> None:
    site.watchdog_age_s, site.lacking, site.backup_age_s = 1300, 17, 40 * 3600
    page = look("unwatched")
    expect(verdict(page)).to_have_text("! The site works; 3 things to look at")
    why = page.locator("#why")
    expect(why).to_contain_text("Its Watchdog came 21 min ago.")
    expect(why).to_contain_text("The other site lacks 17 images, the oldest for 20 min.")
    expect(why).to_contain_text("Backups of made-dr: overdue.")


def test_a_fenced_site_says_so(look: Look, site: Site) -> None:
    site.fenced = True
    page = look("fenced")
    expect(page.locator("#elsewhere .mark.bad")).to_contain_text("it refuses images of modalities")
    expect(page.locator("#why")).to_contain_text("This site is fenced")
    expect(verdict(page)).not_to_contain_text("All is well")


def test_a_site_without_another_one_says_so(look: Look, site: Site) -> None:
    site.alone = True
    page = look("alone")
    expect(verdict(page)).to_have_text("✓ All is well")
    expect(page.locator("#elsewhere")).to_contain_text("This site has no other one.")
    expect(page.locator("#elsewhere")).to_contain_text("No backup of a database is made here.")


def test_a_drill_that_broke_a_promise_comes_first(look: Look, site: Site) -> None:
    site.drills_failed = {"database-switchover"}
    page = look("drill-failed")
    expect(page.locator("#drills .mark.bad").first).to_have_text("✕ 1 of 2 broke a promise")
    expect(page.locator("#drills tbody th")).to_have_text(["database-switchover", "storing-killed"])


def test_a_site_without_drills_says_so(look: Look, site: Site) -> None:
    site.drilled = {}
    expect(look("no-drills").locator("#drills")).to_contain_text("No drill was run on this site.")


def test_a_node_that_is_off_is_in_the_first_line(look: Look, site: Site) -> None:
    site.off = {"pacs1"}
    site.raise_alert("ReplicaLags", "ticket", "The standby is 70 s behind.", "replica-lags", node="pacs3")
    site.raise_alert(
        "NodeDown", "page", "pacs1 does not answer. The site has no second node to lose.", "node-down", node="pacs1"
    )
    site.raise_alert("UnitInactive", "ticket", "haproxy does not run.", "unit-inactive", node="pacs1", silenced=True)
    page = look("node-off")
    expect(verdict(page)).to_have_text("✕ Act now: pacs1 does not answer. The site has no second node to lose.")
    expect(page.locator("#why")).to_contain_text("Prometheus of pacs1 is off; the other one goes on.")
    expect(node(page, "pacs1")).to_contain_text("does not answer")
    expect(node(page, "pacs2")).to_contain_text("has the address")
    items = page.locator("#alerts li")
    expect(items).to_have_count(3)
    expect(items.nth(0)).to_contain_text("act now NodeDown: pacs1")
    expect(items.nth(1)).to_contain_text("ticket ReplicaLags")
    expect(items.nth(2)).to_contain_text("silenced UnitInactive")


def test_a_runbook_opens_at_its_place(look: Look, site: Site) -> None:
    site.raise_alert("NodeDown", "page", "pacs1 does not answer.", "node-down", node="pacs1")
    page = look("runbook")
    page.get_by_role("link", name="What to do: NodeDown").click()
    expect(page.locator("section:target")).to_contain_text("First: Find out whether the machine runs")
    expect(page.locator("section:target")).to_be_in_viewport()


def test_a_service_that_does_not_run_is_named(look: Look, site: Site) -> None:
    site.stopped = {("pacs2", "haproxy")}
    page = look("service-off", "phone")
    expect(verdict(page)).to_have_text("! The site works; 1 thing to look at")
    expect(node(page, "pacs2")).to_contain_text(f"1 of {len(UNITS)} services do not run")
    expect(node(page, "pacs2").get_by_text("haproxy does not run").first).to_be_visible()


def test_one_prometheus_off_is_said_and_the_rest_is_shown(look: Look, site: Site) -> None:
    site.prometheus_off = {"pacs2"}
    page = look("prometheus-off")
    expect(page.locator("#why")).to_contain_text("Prometheus of pacs2 is off; the other one goes on.")
    expect(node(page, "pacs2")).to_contain_text(f"all {len(UNITS)} services run")
    expect(page.locator("#stale")).to_be_empty()


def test_no_alertmanager_shows_what_prometheus_raises(look: Look, site: Site) -> None:
    site.alertmanager_answers = False
    site.raise_alert("NodeDown", "page", "pacs1 does not answer.", "node-down", node="pacs1")
    page = look("alertmanager-off")
    expect(page.locator("#alerts")).to_contain_text("no Alertmanager answers")
    expect(page.locator("#alerts li")).to_contain_text("NodeDown")
    expect(page.locator("#why")).to_contain_text("alerts reach nobody")


def test_a_missing_watchdog_is_said(look: Look, site: Site) -> None:
    site.watchdog = False
    page = look("watchdog-missing")
    expect(page.locator("#why")).to_contain_text("The Watchdog is missing")
    expect(verdict(page)).to_contain_text("The site works;")


def test_numbers_that_are_old_are_never_called_good(look: Look, site: Site) -> None:
    site.age_s = 300
    page = look("old-numbers", "phone")
    expect(verdict(page)).to_have_text("? Not known: no current data")
    then = f"{datetime.fromtimestamp(site.time_s - site.age_s):%H:%M:%S}"  # noqa: DTZ006 - in the browser's zone
    expect(page.locator("#stale")).to_contain_text(f"The data is older than two minutes: from {then}")
    expect(page).to_have_title(re.compile(r"^\? Not known"))


def test_answers_that_stay_away_make_the_page_say_so_by_itself(look: Look, site: Site) -> None:
    page = look("answers-stay-away")
    expect(verdict(page)).to_have_text("✓ All is well")
    site.answers = site.alertmanager_answers = False
    minutes_until(page, "? Not known: no current data")
    expect(page.locator("#stale")).to_contain_text("older than two minutes")
    expect(page.locator("#stale")).to_contain_text("Prometheus: ")
    site.answers = site.alertmanager_answers = True
    minutes_until(page, "✓ All is well")
    expect(page.locator("#stale")).to_be_empty()


def test_a_site_without_any_answer_is_not_good(look: Look, site: Site) -> None:
    site.answers = site.alertmanager_answers = False
    page = look("no-answer")
    expect(verdict(page)).to_have_text("? Not known: no current data")
    expect(page.locator("#stale")).to_contain_text("No data yet. Prometheus: answer 503")
    for section in ("alerts", "nodes", "objectives", "delivery", "elsewhere", "space", "checks", "drills"):
        expect(page.locator(f"#{section} .mark.unknown").first).to_be_visible()
        expect(page.locator(f"#{section} .mark.good")).to_have_count(0)


def test_an_expression_that_fails_is_not_known_and_not_good(look: Look, site: Site) -> None:
    site.failing = {"address"}
    page = look("one-missing")
    expect(verdict(page)).to_have_text("? The site seems to work; some answers are missing")
    expect(page.locator("#nodes dl div").filter(has_text="Virtual address")).to_contain_text("not known")


def test_a_metric_that_nobody_gives_is_not_known_and_not_nobody(
    look: Look, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = site.instant
    monkeypatch.setattr(site, "instant", lambda name: [] if name in {"address", "usable"} else asked(name))
    page = look("no-metric")
    expect(verdict(page)).to_have_text("? The site seems to work; some answers are missing")
    expect(page.locator("#nodes dl div").filter(has_text="Answers queries")).to_contain_text("not known")


def test_nobody_with_the_address_is_bad_before_any_alert(
    look: Look, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = site.instant
    monkeypatch.setattr(site, "instant", lambda name: [({"node": "pacs1"}, 0.0)] if name == "address" else asked(name))
    page = look("no-address")
    expect(verdict(page)).to_contain_text("✕ Act now")
    expect(page.locator("#why")).to_contain_text("Virtual address: nobody")


def test_a_keyboard_reaches_alerts_and_services(look: Look, site: Site) -> None:
    site.raise_alert("NodeDown", "page", "pacs1 does not answer.", "node-down", node="pacs1")
    page = look("keyboard", "phone")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the alerts")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="What to do: NodeDown")).to_be_focused()
    page.keyboard.press("Tab")
    summary = page.locator("summary").first
    expect(summary).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("details").first).to_have_attribute("open", "")
    # The next answers leave it where it is.
    page.clock.run_for(16_000)
    expect(summary).to_be_focused()


def test_names_from_a_site_are_text(look: Look, site: Site) -> None:
    site.raise_alert("Odd", "ticket", "<img src=x onerror=alert(1)>", "node-down", node="<b>n</b>")
    page = look("odd-names")
    expect(page.locator("#alerts")).to_contain_text("<img src=x onerror=alert(1)>")
    expect(page.locator("#alerts img")).to_have_count(0)
