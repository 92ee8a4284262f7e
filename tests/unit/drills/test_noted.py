"""What a controller leaves on the monitoring nodes of a site: the last run of each drill."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hapacs.drills import note_on_node, noted
from hapacs.site.access import NodeError


def run(name: str, at: str, *, ok: bool = True, void: bool = False) -> dict[str, Any]:
    return {
        "name": name, "at": f"2026-11-{at}:00+00:00", "ok": ok, "void": void, "outage_s": 3.5, "deadline_s": 10,
        "stored_per_s": [1] * 60,
    }  # fmt: skip


def test_last_run_that_proved_something_counts() -> None:
    runs = [run("x", "02T10:00", ok=False), run("x", "01T10:00"), run("x", "03T10:00", void=True), run("y", "01T00:00")]
    found = noted.last(runs)
    assert set(found) == {"x", "y"}
    assert found["x"] == {"ok": False, "outage_s": 3.5, "deadline_s": 10, "ended": 1793613660.0}


def test_node_keeps_the_later_run_of_each_drill(tmp_path: Path) -> None:
    file = tmp_path / "state" / "drills.json"
    assert note_on_node.keep(file, noted.last([run("x", "02T10:00"), run("y", "05T10:00")])) == 2
    # Another controller, which has not seen the later run of y.
    assert note_on_node.keep(file, noted.last([run("x", "03T10:00", ok=False), run("y", "04T10:00", ok=False)])) == 2
    kept = json.loads(file.read_text(encoding="utf-8"))
    assert {name: one["ok"] for name, one in kept.items()} == {"x": False, "y": True}
    assert file.stat().st_mode & 0o777 == 0o644


def test_file_that_can_not_be_read_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "drills.json"
    file.write_text('{"x": 1', encoding="utf-8")
    assert note_on_node.keep(file, noted.last([run("x", "02T10:00")])) == 1


def test_node_that_does_not_answer_is_named_and_the_other_one_is_written() -> None:
    written = []

    def run_script(node: Any, script: Path, runs: dict[str, Any], *, root: bool, timeout_s: float) -> int:
        assert root
        assert timeout_s > 0
        if node.name == "pacs1":
            raise NodeError("pacs1", "no answer")
        written.append((node.name, script.name, sorted(runs)))
        return len(runs)

    nodes = [SimpleNamespace(name=name) for name in ("pacs1", "pacs2")]
    site: Any = SimpleNamespace(members=lambda group: nodes if group == "monitoring" else [], run_script=run_script)
    problems = list(noted.note(site, [run("x", "02T10:00")]))
    assert len(problems) == 1
    assert problems[0].startswith("pacs1 does not know of the drills' last runs:")
    assert written == [("pacs2", "note_on_node.py", ["x"])]
