"""The life of a lab: up, verify, second up, a few drills, down. The tests run in their order in this file."""

from __future__ import annotations

import json
import re

import pytest

from tests.cluster import leftovers
from tests.cluster.conftest import Lab

# Some of all drills, and whether a test holds them to their deadline; `make drills` holds every one to it.
DRILLS = (
    ("storing-killed", False),
    ("database-answers-lost", False),
    ("database-leader-off", True),
    ("node-off-and-back", True),
)
_RECAP = re.compile(r"^\s*(\S+)\s+: (ok=\d+ .*)$", re.MULTILINE)

pytestmark = pytest.mark.timeout(50 * 60)


def test_up_brings_the_lab_up_and_verifies_it(lab: Lab) -> None:
    done = lab.hapacs("up", lab.deployment.name)
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"


def test_a_second_up_changes_nothing(lab: Lab) -> None:
    done = lab.hapacs("up", lab.deployment.name)
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    recap = {host: dict(pair.split("=") for pair in counts.split()) for host, counts in _RECAP.findall(done.stdout)}
    assert set(recap) == lab.nodes, f"the recap does not show every node:\n{done.stdout[-4000:]}"
    assert {host: counts["changed"] for host, counts in recap.items()} == dict.fromkeys(recap, "0")


def test_check_mode_reports_no_change(lab: Lab) -> None:
    done = lab.hapacs("plan", lab.deployment.name, "--configuration", "--json")
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    foretold = json.loads(done.stdout)
    assert (foretold["changes"], foretold["settings"]) == ([], [])
    assert foretold["configuration"] == {"changed": 0, "tasks": {}, "not_asked": []}


@pytest.mark.parametrize(("name", "punctual"), DRILLS)
def test_drill_loses_nothing(lab: Lab, name: str, punctual: bool) -> None:
    done = lab.hapacs("drill", "run", name, "--deployment", lab.deployment.name, "--seed", "1", "--json")
    assert done.stdout, done.stderr[-2000:]
    (drill,) = json.loads(done.stdout)["drills"]
    assert not drill["void"], f"{drill}\n{done.stderr[-2000:]}"
    assert drill["acknowledged"] > 0
    assert [drill[what] for what in ("lost", "corrupted", "duplicated")] == [0, 0, 0], drill
    if punctual:
        assert drill["outage_s"] <= drill["deadline_s"], drill


def test_each_site_verifies_after_the_faults(lab: Lab) -> None:
    """`up` has verified both before them, and would have failed."""
    report = lab.verify()
    assert [check for check in report["checks"] if not check["ok"]] == []
    assert report["ok"]
    assert {check["name"].partition(": ")[0] for check in report["checks"]} == {"primary", "dr"}
    assert set(report) == {"ok", "checks"}
    assert all(set(check) == {"name", "ok", "detail"} for check in report["checks"])


def test_down_removes_everything(lab: Lab) -> None:
    there = leftovers.of(lab.deployment)
    assert there["containers"], "the lab has no container, so it can't be seen that `down` removes them"
    assert there["loop devices"], "the lab has no loop device, so it can't be seen that `down` removes them"
    done = lab.hapacs("down", lab.deployment.name, "--yes")
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    assert {kind: found for kind, found in leftovers.of(lab.deployment).items() if found} == {}
