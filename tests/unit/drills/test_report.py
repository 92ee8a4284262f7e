"""What is written of a drill: JSON, the page with its timeline, and the page over all runs."""

from __future__ import annotations

import json
from pathlib import Path

from hapacs.drills import report
from hapacs.drills.model import Kept, Result
from tests.unit.drills.fakes import DRILL


def made(**changes: object) -> Result:
    result = Result(
        DRILL, at=1000.0, seed=7, node="pacs1", proof="2 processes are gone", outage_s=3.2, rate_per_s=9.5,
        marks={"fault": 1002.0, "detection": 1002.5, "recovery": 1005.2, "heal": 1008.0},
        stored=[9, 10, 0, 0, 0, 8], failures=[(1002.5, "<lost> association")], kept=Kept(acknowledged=27),
    )  # fmt: skip
    for name, value in changes.items():
        setattr(result, name, value)
    return result


def test_json_has_what_a_machine_reads(tmp_path: Path) -> None:
    report.write(made(), tmp_path)
    found = json.loads((tmp_path / "report.json").read_text())
    wanted = {
        "name": "storing-killed", "ok": True, "void": False, "acknowledged": 27, "lost": 0, "corrupted": 0,
        "duplicated": 0, "unknown": 0, "outage_s": 3.2, "deadline_s": 10, "report": str(tmp_path / "report.html"),
    }  # fmt: skip
    assert {name: found[name] for name in wanted} == wanted
    assert found["marks"] == {"fault": 2.0, "detection": 2.5, "recovery": 5.2, "heal": 8.0}


def test_page_shows_verdict_marks_and_a_bar_for_each_second(tmp_path: Path) -> None:
    page = report.write(made(), tmp_path).read_text()
    assert page.count("<rect") == 6
    assert all(f"{name} " in page for name in ("fault", "detection", "recovery", "heal"))
    assert '<span class="ok">ok</span>' in page
    assert "&lt;lost&gt; association" in page


def test_page_says_why_a_drill_is_void(tmp_path: Path) -> None:
    page = report.write(made(void=True, reasons=["Void: the fault took no effect"]), tmp_path).read_text()
    assert '<span class="void">void</span>' in page
    assert "the fault took no effect" in page


def test_marks_lie_at_their_second() -> None:
    picture = report.timeline({"stored_per_s": [1] * 9, "marks": {"heal": 6.0, "fault": 3.0}})
    assert [(mark["name"], mark["x"]) for mark in picture["marks"]] == [("fault", 300.0), ("heal", 600.0)]


def test_overview_lists_every_run_of_every_drill(tmp_path: Path) -> None:
    for name, outage in (("1", 3.0), ("2", 12.0)):
        (tmp_path / name).mkdir()
        report.write(made(outage_s=outage), tmp_path / name)
    page, runs = report.write_overview(tmp_path)
    assert [run["outage_s"] for run in runs] == [12.0, 3.0]
    assert page.read_text().count("27</td>") == 2
